"""The facts that conditions depend on, as the journal, the slot ledger and the settings of a project have them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from plaster_ops.domain.alarm import Alarm
from plaster_ops.domain.card import MEASURED_STATUSES
from plaster_ops.domain.conditions import Condition, Ended, Facts, Spent
from plaster_ops.domain.metrics import DATA_TO_DEPLOY_S, E2E_P99_MS, ENGINE_BYTES, INFERENCES_PER_J
from plaster_ops.domain.run import RunRecord
from plaster_ops.settings import Settings
from plaster_ops.settings_sections import Budgets
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_rows import RunRow, RunState
from plaster_ops.tracking.journal_runs import state_now
from plaster_ops.tracking.names import is_number
from plaster_ops.tracking.slots import Accounted, Pause, SlotLedger

_OF_RECORDS = {Condition.REGRESSED, Condition.DRIFTING, Condition.OVER_BUDGET}


@dataclass
class FactBook:
    """Facts as of one moment. `only`: the conditions that are asked for; records are read for some of them alone."""

    ledger: SlotLedger
    journal: Journal
    settings: Settings
    now_s: float
    only: Collection[Condition] = tuple(Condition)
    _accounted: Mapping[str, Accounted] = field(default_factory=dict)
    _pauses: Mapping[str, Pause] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.refresh()

    def refresh(self, name: str | None = None) -> None:
        """Takes what is read of all pipelines at once anew, or of that one; the rest is read for each `of`."""
        self._accounted = {**self._accounted, **self.ledger.accounted(name)}
        self._pauses = self.ledger.pauses()

    def of(self, name: str) -> Facts:
        """The facts of a pipeline of the settings."""
        pipeline, pause = self.settings.pipelines[name], self._pauses.get(name)
        runs = [self._ended(row) for row in self.journal.newest_finished(name, 2)]
        finished, before = (*runs, None, None)[:2]
        ended = self.journal.last_ended(name)
        is_one = ended is None or (finished is not None and finished.uid == ended.uid)
        return Facts(
            now_s=self.now_s,
            finished=finished,
            before=before,
            ended=finished if is_one or ended is None else self._ended(ended),
            slot=self.ledger.last_run(name),
            due=self.ledger.last_by_clock(name),
            open=self.ledger.open_slots(name),
            unaccounted_s=self._unaccounted_s(name),
            paused=None if pause is None else f"paused by {pause.by}: {pause.reason}",
            check_s=self.settings.scheduler.check_s,
            budget_s=pipeline.budgets.data_to_deploy_s,
            spent=self._spent(pipeline.budgets, finished),
        )

    def _spent(self, budgets: Budgets, finished: Ended | None) -> list[Spent]:
        """What the newest engine takes of what has a budget, as far as its card has it measured."""
        if Condition.OVER_BUDGET not in self.only or finished is None or budgets == Budgets():
            return []
        record = self.journal.record(finished.uid)
        return [] if record is None else spent_of(budgets, record.card)

    def _ended(self, row: RunRow) -> Ended:
        record = self.journal.record(row.uid) if _OF_RECORDS & set(self.only) else None
        return Ended(
            uid=row.uid,
            index=row.index or 0,
            verdict=row.verdict or "",
            exit_code=row.exit_code or 0,
            ended_s=_seconds(row.ended_at or row.started_at),
            reasons=row.reasons,
            comparison=record.comparison if record else (),
            baseline=record.baseline if record else None,
            drift=record.data.get("drift") if record else None,
            alarms=self._alarms(row.uid, record),
            data_to_deploy_s=_value(record.card, DATA_TO_DEPLOY_S.key) if record else None,
        )

    def _alarms(self, uid: str, record: RunRecord | None) -> list[Alarm] | None:
        """As they stand now; None where that retrain looked for none."""
        if record is None or record.assessment.get("alarms") is None:
            return None
        return self.journal.alarms_of_run(uid)

    def _unaccounted_s(self, name: str) -> float | None:
        """When the first slot was due after all that is known to have been seen or run; None where nothing is known."""
        cadence = self.settings.pipelines[name].cadence.cadence()
        if cadence is None:
            return None
        newest = next(iter(self.journal.history(name, 1)), None)
        if newest is not None and state_now(newest) is RunState.RUNNING:
            return None  # cron's line found it busy
        seen = [] if newest is None else [_seconds(newest.started_at)]
        known = self._accounted.get(name)
        if known is not None and known.cadence == cadence.text:
            seen.append(known.upto_s)
        slot_s = cadence.next_after(max(seen)) if seen else None
        return None if slot_s is None else cadence.due_s(name, slot_s)


def spent_of(budgets: Budgets, card: Collection[Mapping[str, Any]]) -> list[Spent]:
    """Milliseconds, bytes and joules that have a budget; what is not measured is left out."""
    per_j = _measured(card, INFERENCES_PER_J.key)
    found = (
        ("a p99 of {:.4g} ms", _measured(card, E2E_P99_MS.key), budgets.latency_p99_ms),
        ("engine files of {:.0f} bytes", _measured(card, ENGINE_BYTES.key), budgets.engine_bytes),
        ("{:.4g} J an inference", 1 / per_j if per_j else None, budgets.energy_per_inference_j),
    )
    return [
        Spent(told=words.format(value), value=value, limit=limit)
        for words, value, limit in found
        if value is not None and limit is not None
    ]


def _measured(card: Collection[Mapping[str, Any]], key: str) -> float | None:
    return _value([row for row in card if row["status"] in MEASURED_STATUSES], key)


def _seconds(instant: str) -> float:
    return datetime.fromisoformat(instant).timestamp()


def _value(card: Collection[Mapping[str, Any]], key: str) -> float | None:
    found = next((row.get("value") for row in card if row["key"] == key), None)
    return None if found is None or not is_number(found) else float(found)

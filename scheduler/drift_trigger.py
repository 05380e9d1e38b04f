"""Drift makes a retrain due: what the record of the newest one says, once a record, and not again for a while after.

The retrain that told of drift has learned what there was, so the next one waits until it finds enough to learn.
"""

from collections.abc import Callable, Container, Mapping

from plaster_ops.domain.drift import alarm_signs, drift_of
from plaster_ops.domain.slots import Cause
from plaster_ops.settings_schedule import TriggerSettings
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.slots import SlotLedger
from scheduler.asked import LastAsks


class DriftTrigger:
    """The pipelines with `on_drift`. Instants are seconds UTC."""

    def __init__(
        self,
        triggers: Mapping[str, TriggerSettings],
        ledger: SlotLedger,
        journal: Journal,
        is_ready: Callable[[str, float], bool],
    ) -> None:
        self._ledger, self._journal, self._is_ready = ledger, journal, is_ready
        self._asked = LastAsks(ledger, Cause.DRIFT)
        self.load(triggers)

    def load(self, triggers: Mapping[str, TriggerSettings]) -> None:
        """New settings: every record is looked at again."""
        self._triggers = {name: trigger for name, trigger in triggers.items() if trigger.on_drift}
        self._look_s = dict.fromkeys(self._triggers, 0.0)
        self._read: dict[str, tuple[str, tuple[str, ...]]] = {}

    def freed(self, name: str) -> None:
        """A retrain of it has ended, and may have left a record."""
        if name in self._look_s:
            self._look_s[name] = 0.0

    def set_back(self, now_s: float) -> None:
        """The clock shows an earlier instant than before: every record is looked at again."""
        self._look_s = {name: min(at_s, now_s) for name, at_s in self._look_s.items()}

    def due(self, now_s: float, busy: Container[str]) -> list[str]:
        """Pipelines to ask `reason` of."""
        return [name for name, at_s in self._look_s.items() if at_s <= now_s and name not in busy]

    def next_s(self, busy: Container[str]) -> float | None:
        """When a record is looked at next; retrains by hand and by cron leave theirs unannounced."""
        return min((at_s for name, at_s in self._look_s.items() if name not in busy), default=None)

    def reason(self, name: str, now_s: float) -> str | None:
        """Why a retrain is due now; None where it is not. It is looked at again `poll_s` later, or once it is due."""
        self._look_s[name] = now_s + self._triggers[name].poll_s
        uid, drift = self._report(name)
        last = self._asked.last(name)
        if not drift or last.about.get("run") == uid:
            return None
        cool_s = max(self._cool_s(name, now_s), (last.skipped_s or 0.0) + self._triggers[name].poll_s)
        if now_s < cool_s:
            self._look_s[name] = min(cool_s, self._look_s[name])
            return None
        return drift if self._is_ready(name, now_s) else None

    def was_asked(self, name: str, now_s: float) -> None:
        """The retrain that `reason` gave is asked for."""
        self._asked.remember(name, now_s, {"run": self._read[name][0]})

    def _report(self, name: str) -> tuple[str, str]:
        """`(uid, sentence)` of the newest finished retrain; the sentence is empty where nothing of it is drift.

        A record does not change and is read once; alarms are asked for each time, for somebody may have answered one.
        """
        row = self._journal.last_finished(name)
        if row is None:
            return "", ""
        words = self._triggers[name].on_drift
        if self._read.get(name, ("", ()))[0] != row.uid:
            record = self._journal.record(row.uid)
            self._read[name] = (row.uid, () if record is None else tuple(drift_of(record, words)))
        signs = [*self._read[name][1], *alarm_signs(self._journal.alarms_of_run(row.uid), words)]
        return row.uid, f"drift told by {row.label}: {'; '.join(signs)}" if signs else ""

    def _cool_s(self, name: str, now_s: float) -> float:
        """The end of the cool-down; the beginning of time where drift made nothing due yet. A slot that lies further
        ahead than a cool-down is of a clock that was wrong."""
        slot, cooldown_s = self._ledger.last_of(name, Cause.DRIFT), self._triggers[name].cooldown_s
        at_s = 0.0 if slot is None else slot.ended_s or slot.started_s or slot.planned_s
        return 0.0 if at_s > now_s + cooldown_s else at_s + cooldown_s

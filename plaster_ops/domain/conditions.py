"""What is wrong with a pipeline, told from plain facts: which conditions hold, and why, in words and numbers.

No clock, no file: `flow.alerting` gathers the facts and keeps what held before. A condition that the facts say nothing
of is left out, and stays as it was.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from plaster_ops.domain.alarm import Alarm
from plaster_ops.domain.gates import holds_back
from plaster_ops.domain.judgement import Judgement
from plaster_ops.domain.run import Verdict
from plaster_ops.domain.schedule import iso
from plaster_ops.domain.slots import OPEN, Slot, SlotState

LONGEST_REASON = 1000


class Condition(StrEnum):
    """What can be wrong with a pipeline."""

    REGRESSED = "regressed"
    """Its newest finished retrain was held by a gate, or its engine is worse than the one before."""
    DRIFTING = "drifting"
    """The newest retrain's record says that its inputs or its labels drifted, or that a metric is worse than in earlier
    retrains, as the one before said of it; or it raised an alarm of a metric that left its level for a worse one."""
    LATE = "late"
    """A slot that was due has not started in time, or was missed."""
    FAILING = "failing"
    """What ended last, a slot or a retrain, failed or timed out."""
    OVER_BUDGET = "over_budget"
    """The newest promotion came later after its data than the budget allows, or the newest engine takes more of what
    has a budget: milliseconds, bytes, joules."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """A retrain that ended, as far as conditions depend on it. `ended_s`: seconds UTC.

    `comparison`, `baseline` and `drift` (`data.drift`) are sections of its record, schema 1; empty where it has none.
    `alarms` are those that it raised, as the journal has them now; None where none were looked for.
    `data_to_deploy_s` is None where nothing was promoted.
    """

    uid: str
    index: int
    verdict: str
    exit_code: int
    ended_s: float
    reasons: Sequence[str] = ()
    comparison: Sequence[Mapping[str, Any]] = ()
    baseline: Mapping[str, Any] | None = None
    drift: Mapping[str, Any] | None = None
    alarms: Sequence[Alarm] | None = None
    data_to_deploy_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """What the newest engine takes of something that has a budget, in words with its unit: `p99 of 8.1 ms`."""

    told: str
    value: float
    limit: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What is known of a pipeline. Instants in seconds UTC.

    `finished`: its newest retrain with an engine, `before`: the one before that; `ended`: its newest one that finished
    or failed. `slot`: the newest
    slot that ran or failed; `due`: the newest one by its plan, whatever its state; `open`: all that wait or run.
    `unaccounted_s`: when the first slot was due that is in no ledger, None where there is none. `paused`: why it is.
    `check_s`: a slot may start so long after it was due.
    """

    now_s: float
    finished: Ended | None = None
    before: Ended | None = None
    ended: Ended | None = None
    slot: Slot | None = None
    due: Slot | None = None
    open: Sequence[Slot] = ()
    unaccounted_s: float | None = None
    paused: str | None = None
    check_s: float = 900.0
    budget_s: float | None = None
    spent: Sequence[Spent] = ()
    """Of `finished`: only what has a budget and was measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Whether a condition holds, and the sentence why or why not. `run`: the uid of the retrain that it speaks of."""

    holds: bool
    reason: str
    run: str | None = None


def find_conditions(facts: Facts) -> dict[Condition, Finding]:
    """Every condition that the facts say something of."""
    found = {
        Condition.REGRESSED: _regressed(facts),
        Condition.DRIFTING: _drifting(facts),
        Condition.LATE: _late(facts),
        Condition.FAILING: _failing(facts),
        Condition.OVER_BUDGET: _over_budget(facts),
    }
    return {condition: finding for condition, finding in found.items() if finding is not None}


def _regressed(facts: Facts) -> Finding | None:
    run = facts.finished
    if run is None:
        return None
    failed = [reason for reason in run.reasons if holds_back(reason)]
    if run.verdict == Verdict.HELD and failed:
        return _finding(True, f"#{run.index} was held: {'; '.join(failed)}", run)
    worse = [_change(row) for row in _worse(run, of_history=False)]
    if worse and run.baseline is not None:
        return _finding(True, f"#{run.index} is worse than #{run.baseline['index']}: {'; '.join(worse)}", run)
    if run.verdict == Verdict.HELD and run.exit_code == 0 and not run.reasons[0].startswith("held by"):
        return None  # held because a gate could not be decided: neither worse nor not
    return _finding(False, f"#{run.index} was {_how(run)}", run)


def _drifting(facts: Facts) -> Finding | None:
    run = facts.finished if facts.ended is None or facts.ended.drift is None else facts.ended
    if run is None:
        return None
    compared = [each for each in (run.drift or {}).get("against", {}).values() if _is_compared(each)]
    alarms = None if facts.finished is None else facts.finished.alarms
    said = [
        *_drifted_data(compared),
        *(f"{row}, against earlier retrains" for row in _drifted_metrics(facts)),
        *(alarm.sentence for alarm in alarms or () if alarm.is_open_and_worse),
    ]
    if said:
        return _finding(True, f"#{run.index}: {'; '.join(said)}", run)
    if not compared and alarms is None:
        return None
    return _finding(False, f"#{run.index}: neither its data nor a metric drifted", run)


def _is_compared(earlier: Any) -> bool:
    return isinstance(earlier, Mapping) and not earlier.get("reason")


def _drifted_data(compared: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What drifted since the last retrain, or since the champion's where that is another one."""
    for earlier in compared:
        for what, found in (("inputs", earlier), ("labels", earlier.get("labels") or {})):
            if found.get("drifted"):
                worst = next(each for each in found["worst"] if each["drifted"])
                yield (
                    f"{what} drifted since #{earlier['index']}: {found['drifted']} of {found['tested']},"
                    f" worst {worst['feature']} by {worst['distance']:.2f}"
                )


def _drifted_metrics(facts: Facts) -> list[str]:
    """Headlines that are worse than in earlier retrains twice running: once may be a night of more work, a ladder."""
    if facts.finished is None or facts.before is None:
        return []
    before = {row["key"] for row in _worse(facts.before, of_history=True)}
    return [_change(row) for row in _worse(facts.finished, of_history=True) if row["key"] in before]


def _worse(run: Ended, *, of_history: bool) -> Iterator[Mapping[str, Any]]:
    """Headlines that are worse than those of earlier retrains, or than the last run's or the champion's."""
    if run.baseline is None or (not of_history and run.baseline.get("which") not in ("last", "champion")):
        return
    for row in run.comparison:
        if row["verdict"] == Judgement.WORSE and row["headline"] and (row["how"] == "history") == of_history:
            yield row


def _change(row: Mapping[str, Any]) -> str:
    ratio, interval = row["change_ratio"], row["ci95"]

    def show(value: float) -> str:
        return f"{value:+.4f}" if ratio is None else f"{value * 100:+.1f} %"

    change = row["change_difference"] if ratio is None else ratio
    told = "worse" if change is None else show(change)
    shown = f" (95 % CI {show(interval[0])} to {show(interval[1])})" if interval else ""
    return f"{row['key']} {told}{shown}"


def _late(facts: Facts) -> Finding:
    if facts.paused is not None:
        return Finding(holds=False, reason=facts.paused)
    reason = _why_late(facts)
    if reason is not None:
        return Finding(holds=True, reason=reason)
    if facts.due is None:
        return Finding(holds=False, reason="no slot is overdue")
    return Finding(holds=False, reason=f"the slot of {iso(facts.due.planned_s)} {_state(facts.due)}")


def _why_late(facts: Facts) -> str | None:
    """Of a slot that waits too long, of one that began too late and is not over, of one missed, of one that nobody
    saw; the same words for as long as it lasts."""
    limit = f"{facts.check_s:.0f} s after it was due"
    for slot in facts.open:
        if slot.started_s is None and facts.now_s - slot.due_s > facts.check_s:
            why = f": {slot.reason}" if slot.reason else ""
            return f"the slot of {iso(slot.planned_s)} had not started {limit}{why}"
    due = facts.due
    if due is not None and due.state is SlotState.MISSED:
        return f"the slot of {iso(due.planned_s)} was missed: {due.reason}"
    if due is not None and due.state in OPEN and due.started_s is not None:
        late_s = due.started_s - due.due_s
        if late_s > facts.check_s:
            return f"the slot of {iso(due.planned_s)} started {late_s:.0f} s after it was due"
    if facts.unaccounted_s is not None and facts.now_s - facts.unaccounted_s > facts.check_s:
        return f"nothing had started {limit} at {iso(facts.unaccounted_s)}: no scheduler and no cron saw that slot"
    return None


def _failing(facts: Facts) -> Finding | None:
    run, slot = facts.ended, facts.slot
    if slot is not None and (run is None or (slot.ended_s or 0.0) >= run.ended_s):
        holds = slot.state in (SlotState.FAILED, SlotState.TIMED_OUT)
        own = run if run is not None and run.ended_s >= (slot.started_s or 0.0) else None
        told = f"the slot of {iso(slot.planned_s)} {_state(slot)}{f' (#{own.index})' if own else ''}"
        return Finding(holds=holds, reason=told[:LONGEST_REASON], run=own.uid if own else None)
    if run is None:
        return None
    if run.verdict == Verdict.FAILED:
        return _finding(True, f"#{run.index} failed with exit code {run.exit_code}: {'; '.join(run.reasons)}", run)
    return _finding(False, f"#{run.index} was {_how(run)}", run)


def _over_budget(facts: Facts) -> Finding | None:
    run, budget_s = facts.finished, facts.budget_s
    if run is None or (budget_s is None and not facts.spent):
        return Finding(holds=False, reason="no budget is set") if budget_s is None else None
    over: list[str] = []
    within: list[str] = []
    if budget_s is not None and run.data_to_deploy_s is not None:
        told = f"was deployed {run.data_to_deploy_s:.0f} s after its newest data arrived, budget {budget_s:g} s"
        (over if run.data_to_deploy_s > budget_s else within).append(told)
    for each in facts.spent:
        told = f"has {each.told}, budget {each.limit:g}"
        (over if each.value > each.limit else within).append(told)
    if not over and not within:
        return None
    return _finding(bool(over), f"#{run.index} {'; '.join(over or within)}", run)


def _finding(holds: bool, reason: str, run: Ended) -> Finding:
    return Finding(holds=holds, reason=reason[:LONGEST_REASON], run=run.uid)


def _how(run: Ended) -> str:
    return f"{run.verdict}: {run.reasons[0]}" if run.reasons else run.verdict


def _state(slot: Slot) -> str:
    """`failed with exit code 10: training failed`."""
    words = {
        SlotState.DUE: "is waiting",
        SlotState.RUNNING: "is running",
        SlotState.RAN: "ran",
        SlotState.SKIPPED: "was skipped",
        SlotState.MISSED: "was missed",
        SlotState.FAILED: "failed",
        SlotState.TIMED_OUT: "timed out",
    }
    code = f" with exit code {slot.exit_code}" if slot.state is SlotState.FAILED and slot.exit_code is not None else ""
    told = slot.reason or slot.verdict or ""
    return f"{words[slot.state]}{code}{': ' + told if told else ''}"

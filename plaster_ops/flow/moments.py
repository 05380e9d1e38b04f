"""`timeline.json`: when each thing of a retrain happened. Dates for people, monotonic offsets for durations."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from plaster_ops.domain.timeline import Instant
from plaster_ops.flow.context import Context
from plaster_ops.flow.takeover import count_resumes
from plaster_ops.plaster.learning import CLOCK_TOLERANCE_S

FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What the end of a retrain knows: `slot` as in the journal, `gate` when it was decided, `deployed` when it was
    promoted (None: it was not), `faults` of the self-test of the spans. `stage`: that of the fit whose weights count,
    `fit` its result with the target as the card has it."""

    slot: str | None
    gate: Instant
    deployed: Instant | None
    faults: tuple[str, ...]
    stage: str
    fit: Mapping[str, Any]


def first_trigger(ctx: Context) -> Instant:
    """When the retrain was asked for; of a resumed one, the first time."""
    kept = ctx.journal.stages(ctx.uid).get("baselines", {}).get("trigger")
    return Instant(**kept) if kept else ctx.timeline.trigger()


def due_s(slot: str | None) -> float | None:
    """The slot of the schedule, in seconds since the epoch; None where there is none or it is no date.

    A date without a zone is UTC, as every instant of a record is, and not of wherever the machine stands.
    """
    try:
        at = None if slot is None else datetime.fromisoformat(slot)
    except ValueError:
        return None
    return None if at is None else (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def schedule_delay(slot: str | None, trigger: Instant, *, spread_s: float = 0.0) -> tuple[float | None, str]:
    """Seconds from the slot to the trigger, or None and why: a slot ahead of its trigger was not the one that was due.

    `spread_s`: how much later than planned the slot was due by its jitter; that is no delay. Clocks that differ by less
    than a second make no such slot, and a delay of 0.
    """
    at_s = due_s(slot)
    if at_s is None or trigger.utc_s is None:
        return None, _why_not_due(slot) if at_s is None else "the time of the trigger is not known"
    delay_s = trigger.utc_s - at_s - spread_s
    if delay_s < -CLOCK_TOLERANCE_S:
        return None, f"the slot lies {-delay_s:.0f} s ahead of the trigger"
    return max(0.0, delay_s), ""


def _why_not_due(slot: str | None) -> str:
    return "the run was started for no slot" if slot is None else f"the slot {slot!r} is no date"


def document(ctx: Context, prepared: Mapping[str, Any], told: Told) -> dict[str, Any]:
    """All moments: `utc` (ISO 8601), `offset_s` since the first trigger, and where one is not known the `reason`.

    `t_event`, `t_arrival` and `t_due` lie before the trigger: their offset is the difference of two wall clocks. All
    others are monotonic.
    """
    stages = ctx.journal.stages(ctx.uid)
    trigger = first_trigger(ctx)
    times = prepared.get("times") or {}
    fit = {**stages.get(told.stage, {}), "result": told.fit}
    no_times = "the source does not say when its samples came into being"
    moments = {
        "t_event": _dated(times.get("newest"), trigger, no_times),
        "t_arrival": _dated(prepared.get("arrived_at"), trigger, "the source does not say when data arrived"),
        "t_due": _dated(due_s(told.slot), trigger, _why_not_due(told.slot)),
        "t_trigger": _timed(trigger.to_json(), ""),
        "t_start": _ended(stages, "baselines"),
        "t_data_ready": _ended(stages, "prepare"),
        "t_train_start": _timed(fit.get("began"), "the ranks did not tell"),
        "t_target": _target(fit),
        "t_train_end": _timed(fit.get("trained"), "the ranks did not tell"),
        "t_export": _ended(stages, "export"),
        "t_engine": _ended(stages, "accepted"),
        "t_gate": _timed(told.gate.to_json(), ""),
        "t_deploy": _timed(told.deployed.to_json() if told.deployed else None, "not promoted: nothing was deployed"),
    }
    return {
        "format": FORMAT,
        "moments": moments,
        "phases": ctx.timeline.to_json(),
        "faults": list(told.faults),
        "resumed": count_resumes(stages),
    }


def _target(fit: Mapping[str, Any]) -> dict[str, Any]:
    result = fit.get("result") or {}
    began, took_s = fit.get("began"), result.get("time_to_target_s")
    if took_s is None:
        set_but_missed = result.get("reached_target") is False
        return _timed(None, "the target score was not reached" if set_but_missed else "no target score was set")
    if began is None or result.get("resumed_from_epoch") is not None:
        return _timed(None, "the training was interrupted")
    utc_s = None if began["utc_s"] is None else began["utc_s"] + took_s
    return _timed({"offset_s": began["offset_s"] + took_s, "utc_s": utc_s}, "")


def _ended(stages: Mapping[str, Mapping[str, Any]], stage: str) -> dict[str, Any]:
    return _timed(stages.get(stage, {}).get("ended"), f"{stage} was done by a version that kept no moments")


def _dated(utc_s: float | None, trigger: Instant, reason: str) -> dict[str, Any]:
    if utc_s is None or trigger.utc_s is None:
        return _timed(None, reason)
    return _timed({"offset_s": utc_s - trigger.utc_s, "utc_s": utc_s}, "")


def _timed(moment: Mapping[str, Any] | None, reason: str) -> dict[str, Any]:
    if moment is None:
        return {"utc": None, "offset_s": None, "reason": reason}
    utc_s = moment["utc_s"]
    date = None if utc_s is None else datetime.fromtimestamp(utc_s, UTC).isoformat(timespec="milliseconds")
    return {"utc": date, "offset_s": round(moment["offset_s"], 6), "reason": None}

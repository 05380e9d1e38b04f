"""Whether the schedule was kept: each slot of the last days held against the one that came after it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Reading, Row, Unmeasured
from plaster_ops.domain.slots import OPEN, Slot, SlotState, was_paused
from plaster_ops.plaster.deployments import DAY_S, WEEK_S


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """The slots of a cadence up to now. Instants are seconds since the epoch.

    `rows`: those in the ledger, oldest first. `unkept_s`: later ones that have no row, as nobody was there yet.
    `mine_s`: the slot that this retrain was started for. `since_s`: when its schedule began to be kept.
    """

    rows: Sequence[Slot]
    unkept_s: Sequence[float] = ()
    mine_s: float | None = None
    since_s: float


def schedule_rows(schedule: Schedule | None, why_not: str, now_s: float) -> list[Row]:
    """Adherence and missed slots of the last 7 days. `why_not`: why there is no schedule.

    A slot is over once its retrain was decided (promoted, held by a gate, a baseline, nothing new), once it ended
    without that, or once the next one came. Slots of a pause are left out.
    """
    over = [] if schedule is None else _over(schedule, now_s)
    if schedule is None or not over:
        reason = why_not if schedule is None else "no slot of its cadence is over yet"
        return [Unmeasured(metric=each, reason=reason) for each in (m.CADENCE_ADHERENCE_RATIO, m.MISSED_SLOTS_COUNT)]
    watched_s = min(WEEK_S, now_s - schedule.since_s)
    window = f"slots of the last {watched_s / DAY_S:.1f} days"
    in_time = sum(decided_s is not None and decided_s <= next_s for decided_s, next_s in over)
    undecided = sum(decided_s is None for decided_s, _ in over)
    return [
        Reading(metric=m.CADENCE_ADHERENCE_RATIO, value=in_time / len(over), n=len(over), reason=window),
        Reading(metric=m.MISSED_SLOTS_COUNT, value=undecided, n=len(over), reason=window),
    ]


def _over(schedule: Schedule, now_s: float) -> list[tuple[float | None, float]]:
    """Of each slot of the window that is over: when it was decided, if it was, and when the next one came."""
    known = [slot for slot in schedule.rows if slot.planned_s > now_s - WEEK_S]
    planned_s = [slot.planned_s for slot in known] + [at_s for at_s in schedule.unkept_s if at_s > now_s - WEEK_S]
    next_s = [*planned_s[1:], math.inf]
    told = [
        (_decided_s(slot, schedule.mine_s, now_s), then_s)
        for slot, then_s in zip(known, next_s, strict=False)
        if not was_paused(slot) and (then_s < math.inf or slot.planned_s == schedule.mine_s or slot.state not in OPEN)
    ]
    return told + [(None, then_s) for then_s in next_s[len(known) :] if then_s < math.inf]


def _decided_s(slot: Slot, mine_s: float | None, now_s: float) -> float | None:
    if slot.planned_s == mine_s:
        return now_s
    return slot.ended_s if slot.state is SlotState.RAN else None

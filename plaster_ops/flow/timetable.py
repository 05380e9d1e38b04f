"""What the slot ledger knows of a retrain that is at its end: the slot it was for, and how its schedule was kept."""

from itertools import takewhile

from plaster_ops.domain.schedule import Cadence, parsed
from plaster_ops.domain.slots import Cause, Slot
from plaster_ops.flow.context import Context
from plaster_ops.flow.moments import due_s
from plaster_ops.plaster.adherence import Schedule
from plaster_ops.plaster.deployments import WEEK_S
from plaster_ops.tracking.slots import SlotLedger


def slot_of(ctx: Context, slot: str | None) -> Slot | None:
    """The row of the clock's slot that a retrain was started for; None where it was for none that is in the ledger."""
    at_s = due_s(slot)
    return None if at_s is None else SlotLedger(ctx.journal.file).find(ctx.name, Cause.CLOCK, at_s)


def schedule_of(ctx: Context, mine: Slot | None, now_s: float) -> tuple[Schedule | None, str]:
    """The slots of the last 7 days, or None and why there are none. `mine`: what this retrain was started for."""
    ledger = SlotLedger(ctx.journal.file)
    at = ledger.accounted().get(ctx.name)
    since_s = ledger.oldest_planned_s(ctx.name)
    if ctx.pipeline.cadence.cadence() is None and since_s is None:
        return None, "the pipeline has no cadence"
    cadence = None if at is None else parsed(at.cadence)
    if at is None or (cadence is None and since_s is None):
        return None, "nobody keeps the pipeline's schedule: it has no slot in the ledger"
    unkept_s = () if cadence is None else _unkept(ctx, cadence, max(at.upto_s, now_s - WEEK_S), now_s)
    rows = [each for each in ledger.between(ctx.name, now_s - WEEK_S, now_s) if each.cause is Cause.CLOCK]
    return Schedule(
        rows=rows,
        unkept_s=unkept_s,
        mine_s=None if mine is None else mine.planned_s,
        since_s=since_s if since_s is not None else min(unkept_s, default=now_s),
    ), ""


def _unkept(ctx: Context, cadence: Cadence, after_s: float, now_s: float) -> tuple[float, ...]:
    """Slots that are overdue and have no row: nobody was there, and they are missed so far."""
    late_s = ctx.pipeline.cadence.late_s
    return tuple(takewhile(lambda at_s: cadence.due_s(ctx.name, at_s) + late_s < now_s, cadence.after(after_s)))

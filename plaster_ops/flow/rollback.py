"""`rollback`: back to a champion of before, in one command and at once."""

from dataclasses import replace
from functools import partial

from plaster_ops.domain.lineage import PromotionKind
from plaster_ops.errors import UsageError
from plaster_ops.flow.canary import try_engine
from plaster_ops.flow.champion import Changed, crown, engine_of, next_rollback, overtaken_by, tell_tracker
from plaster_ops.flow.promote import who
from plaster_ops.flow.wiring import Ports, open_to_look
from plaster_ops.ports import EventSink
from plaster_ops.settings import Settings
from plaster_ops.tracking.journal_rows import RunRow

DEFAULT_REASON = "rolled back by hand"


def rollback(
    settings: Settings, name: str | None, *, to: str | None, reason: str, canary: bool, tell: EventSink
) -> Changed:
    """Makes the champion before this one champion again; `to`: another one of the ledger.

    Twice goes back twice: what a rollback left is not come back to, but by name. Every file of the engine is held
    against its digest, and with `canary` it is loaded and asked, too. Raises `UsageError` where there is none to go
    back to, `BuildFailed` where its files are not what was measured.
    """
    found, pipeline = settings.pipeline(name)
    with open_to_look(settings) as ports:
        champion = ports.journal.champion(found)
        row = _target(ports, found, champion, to)
        told = partial(Changed, pipeline=found, run=row, before=champion, by=who())
        record, folder = engine_of(ports, row)
        tried = try_engine(ports, found, pipeline, record, folder, tell) if canary else None
        why = reason.strip() or DEFAULT_REASON
        if not crown(ports, row, folder, expected=champion, kind=PromotionKind.ROLLBACK, reason=why, forced=False):
            return told(verdict="held", reasons=(overtaken_by(ports, found),), canary=tried)
        done = told(verdict="rolled_back", reasons=(why,), canary=tried, next_back=next_rollback(ports, found))
        return replace(done, waits=tell_tracker(ports, found, send=False))


def _target(ports: Ports, name: str, champion: RunRow | None, to: str | None) -> RunRow:
    if champion is None:
        raise UsageError(
            f"pipeline {name!r} has no champion, so there is none to go back to", "see: plaster-ops history"
        )
    if to is None:
        row = next_rollback(ports, name)
        if row is None:
            raise UsageError(
                f"#{champion.index} is the first champion of {name!r} that still stands: there is none before it",
                f"name one that an earlier rollback left: plaster-ops rollback {name} --to RUN",
            )
        return row
    row = ports.journal.find_run(name, to)
    if row.uid == champion.uid:
        raise UsageError(f"#{row.index} of {name!r} is champion now", f"see: plaster-ops promotions {name}")
    if row.uid not in {line.uid for line in ports.journal.promotions(name)}:
        raise UsageError(
            f"#{row.index} of {name!r} was never champion, so there is no way back to it",
            f"promote it: plaster-ops promote {row.index} --pipeline {name}",
        )
    return row

"""`promote RUN`: an earlier run made champion by hand, by its recorded gates, or past them with a reason."""

from dataclasses import dataclass, replace
from functools import partial

from plaster_ops.domain.gates import GateState
from plaster_ops.domain.lineage import PromotionKind
from plaster_ops.domain.run import RunRecord
from plaster_ops.errors import UsageError
from plaster_ops.flow.canary import try_engine
from plaster_ops.flow.champion import Changed, crown, engine_of, next_rollback, overtaken_by, tell_tracker
from plaster_ops.flow.promote import who
from plaster_ops.flow.wiring import Ports, open_to_look
from plaster_ops.ports import EventSink
from plaster_ops.settings import Settings
from plaster_ops.tracking.journal_rows import RunRow, RunState


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What was asked for: the run, as the user wrote it, and how."""

    run: str
    force: bool = False
    reason: str = ""
    canary: bool = True


def promote(settings: Settings, name: str | None, wish: Wish, *, tell: EventSink) -> Changed:
    """Makes a finished run champion where its recorded gates were answered against today's champion and none failed.

    Otherwise it is held, and nothing changes, unless forced with a reason. Raises `UsageError` for a run that cannot be
    promoted and for force without a reason, `BuildFailed` where its files or its answers are not what was recorded.
    """
    if wish.force and not wish.reason.strip():
        raise UsageError("--force needs a reason", "say why: --force --reason TEXT; the ledger keeps it for ever")
    found, pipeline = settings.pipeline(name)
    with open_to_look(settings) as ports:
        row = _promotable(ports, found, wish.run)
        champion = ports.journal.champion(found)
        told = partial(Changed, pipeline=found, run=row, before=champion, by=who())
        if champion is not None and champion.uid == row.uid:
            waits, back = tell_tracker(ports, found, send=True), next_rollback(ports, found)
            words = (f"#{row.index} is champion already",)
            return told(verdict="unchanged", reasons=words, waits=waits, next_back=back)
        record, folder = engine_of(ports, row)
        doubts, step = doubts_of(record, champion)
        if doubts and not wish.force:
            return told(verdict="held", reasons=doubts, next_step=step)
        tried = try_engine(ports, found, pipeline, record, folder, tell) if wish.canary else None
        reason = _reason(wish, record, doubts)
        done = told(verdict="promoted", reasons=(reason,), forced=bool(doubts), canary=tried)
        kind = PromotionKind.PROMOTE
        if not crown(ports, row, folder, expected=champion, kind=kind, reason=reason, forced=done.forced):
            return told(verdict="held", reasons=(overtaken_by(ports, found),), canary=tried)
        waits = tell_tracker(ports, found, send=True)
        return replace(done, waits=waits, next_back=next_rollback(ports, found))


def doubts_of(record: RunRecord, champion: RunRow | None) -> tuple[tuple[str, ...], str]:
    """Why the run may not replace that champion without force, one sentence each, and what to do; empty where it may.

    Gates that were waived or undecided are no doubt: whoever promotes by hand has seen them.
    """
    force = f"if it shall be: plaster-ops promote {record.index} --pipeline {record.pipeline} --force --reason TEXT"
    now = "there is no champion" if champion is None else f"#{champion.index} is champion now"
    if not record.gates:
        return (f"the record of #{record.index} does not say which champion it was held against",), force
    against = record.gates["against"]
    if (against or {}).get("uid") != (None if champion is None else champion.uid):
        then = "when there was no champion" if against is None else f"against #{against['index']}"
        compare = "" if champion is None else f"plaster-ops compare {record.index} {champion.index}; "
        return (f"#{record.index} was never compared with this champion: {now}, it was gated {then}",), compare + force
    return tuple(row["sentence"] for row in record.gates["outcomes"] if _fails(row)), force


def _fails(outcome: dict[str, object]) -> bool:
    return outcome["state"] == GateState.FAILED or (outcome["state"] == GateState.WAIVED and bool(outcome["required"]))


def _reason(wish: Wish, record: RunRecord, doubts: tuple[str, ...]) -> str:
    if doubts:
        return f"{wish.reason.strip()} (forced over: {'; '.join(doubts)})"
    outcomes = record.gates.get("outcomes") or ()
    return wish.reason.strip() or ("no gate failed" if outcomes else "no gates are declared")


def _promotable(ports: Ports, name: str, run: str) -> RunRow:
    row = ports.journal.last_finished(name) if run == "last" else ports.journal.find_run(name, run)
    if row is None or row.state is not RunState.FINISHED:
        ended = "has no finished run" if row is None else f"run #{row.index} of {name!r} {row.verdict or row.state}"
        raise UsageError(
            f"pipeline {name!r} has no finished run" if row is None else f"{ended}: it has no engine to promote",
            f"name a finished one: plaster-ops history {name}",
        )
    return row

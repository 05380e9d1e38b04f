"""One visit to the schedule of one pipeline, as cron, systemd and Kubernetes make it: what is due is accounted for,
what may run is run, and nothing stays behind."""

import os
import queue
import signal
import time
from collections.abc import Callable

from plaster_ops.domain.schedule import iso
from plaster_ops.domain.slots import Cause
from plaster_ops.errors import Busy
from plaster_ops.flow.lock import holder_of, is_held, slug, take_lock
from plaster_ops.settings import Settings
from plaster_ops.tracking.journal_file import JournalFile
from plaster_ops.tracking.slots import SlotLedger
from scheduler.jobs import Command, Job
from scheduler.keeper import Asked, Keeper
from scheduler.owner import LOCK, owner_lives, this_owner
from scheduler.planner import Planner
from scheduler.plans import plan_of

POLL_S = 1.0
"""So often a device is looked for that is free."""
WOKEN_S = 60.0
"""A first visit is for the slot that it was woken for: so far back a cadence is due that the ledger does not know."""


def visit(
    settings: Settings,
    name: str,
    *,
    trigger: str,
    ask: tuple[Cause, str] | None = None,
    say: Callable[[str], None],
    command: Command | None = None,
) -> int:
    """Runs what is due of that pipeline, and what comes due meanwhile; returns the exit code of the last retrain.

    A slot whose instant has come and that jitter makes due later is waited for: nobody wakes us for it again.
    `ask`: a slot of that cause is asked for, with the reason, whether one is due or not. Where a service keeps the
    schedule, it is left to it. Raises `Busy` where another visit to this pipeline is going on.
    """
    locks = settings.memory / "locks"
    if is_held(locks / LOCK):
        return _leave_to_service(settings, name, ask=ask, say=say)
    file = locks / f"once-{slug(name)}.lock"
    lock = take_lock(file)
    if lock is None:
        raise Busy(f"another scheduler is at work on {name!r} ({holder_of(file)})", "wait for it, then try again")
    journal = JournalFile(settings.memory)
    try:
        planner = Planner(
            ledger=SlotLedger(journal),
            owner=this_owner(os.getpid()),
            is_alive=owner_lives,
            queue_max=settings.scheduler.queue_max,
        )
        now_s = time.time()
        planner.load({name: plan_of(settings.pipelines[name])}, now_s, partial=True, since_s=now_s - WOKEN_S)
        keeper = Keeper(settings=settings, planner=planner, trigger=trigger, command=command, say=say)
        keeper.listen(signal.SIGTERM, signal.SIGINT)
        if ask is not None:
            planner.ask(name, ask[0], time.time(), ask[1])
        return _until_done(keeper, name)
    finally:
        journal.close()
        os.close(lock)


def _until_done(keeper: Keeper, name: str) -> int:
    planner = keeper.planner
    keeper.handle("tick")
    if not keeper.jobs and not planner.waiting() and not _waits_for_jitter(keeper, name):
        following = planner.upcoming().get(name)
        keeper.say(f"{name}: nothing is due" + ("" if following is None else f" before {iso(following)}"))
    while (keeper.jobs or planner.waiting() or _waits_for_jitter(keeper, name)) and not keeper.ending:
        try:
            keeper.handle(keeper.inbox.get(timeout=_patience_s(keeper)))
        except queue.Empty:
            keeper.handle("tick")
    if keeper.ending:
        return _stopped(keeper)
    return 0 if keeper.last is None else keeper.last.exit_code


def _waits_for_jitter(keeper: Keeper, name: str) -> bool:
    """Whether the instant of a slot has come that is due only later."""
    upcoming_s = keeper.planner.upcoming().get(name)
    has_jitter = keeper.settings.pipelines[name].cadence.jitter_s > 0
    return has_jitter and upcoming_s is not None and upcoming_s <= time.time()


def _patience_s(keeper: Keeper) -> float:
    """How long to wait for an event: until something is due, or a device may be free."""
    now_s = time.time()
    wake_s = keeper.planner.next_wake_s(now_s)
    if not keeper.jobs and keeper.planner.startable(now_s):
        return POLL_S
    return 60.0 if wake_s is None else min(max(wake_s - now_s, 0.01), 60.0)


def _stopped(keeper: Keeper) -> int:
    """A signal: the retrain is stopped at once, and goes on at the next visit."""
    for job in keeper.jobs.values():
        job.stop()
    until_s = time.monotonic() + keeper.settings.scheduler.stop_s
    while keeper.jobs:
        try:
            event = keeper.inbox.get(timeout=max(until_s - time.monotonic(), 0.01))
        except queue.Empty:
            for job in keeper.jobs.values():
                Job.kill(job)
            until_s = time.monotonic() + 10.0
            continue
        if not isinstance(event, Asked):
            keeper.handle(event)
    return 128 + (keeper.asked or signal.SIGTERM)


def _leave_to_service(
    settings: Settings, name: str, *, ask: tuple[Cause, str] | None, say: Callable[[str], None]
) -> int:
    who = holder_of(settings.memory / "locks" / LOCK)
    if ask is None:
        say(f"{name}: left to the service that keeps this schedule ({who})")
        return 0
    journal = JournalFile(settings.memory)
    try:
        planner = Planner(ledger=SlotLedger(journal), owner=this_owner(os.getpid()), is_alive=lambda _owner: True)
        planner.look_again()
        slot = planner.ask(name, ask[0], time.time(), ask[1])
    finally:
        journal.close()
    say(f"{name}: {'asked for' if slot is not None else 'asked for already'}; the service ({who}) runs it")
    return 0

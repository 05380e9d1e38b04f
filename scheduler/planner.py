"""From the clock and the ledger to what starts now. No thread, no process, no clock of its own: every call is told.

The ledger says what happened. What is kept here (what waits, what runs, the next slot of each cadence) is read from it,
and changed in the transaction that changes it there. Where one fails, or another process was first, all of it is read
again before anything else is done, so that nothing is lost and nothing is done twice.
"""

import heapq
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from operator import attrgetter

from plaster_ops.domain.schedule import Cadence, iso, parsed
from plaster_ops.domain.slots import (
    PAUSED,
    Cause,
    Slot,
    SlotState,
    Waiting,
    decide,
    may_start,
    next_starts,
    outcome,
    recovered,
    retried,
)
from plaster_ops.tracking.slots import Accounted, LedgerWriter, Overtaken, SlotLedger
from scheduler.clockwork import Clockwork, Plan

AHEAD_S = 86_400.0
"""A ledger further ahead of the clock than this was written by a wrong clock."""
TRIES = 5
"""So often a transaction in which another process was first is tried again, on what that one wrote."""
GONE = "the pipeline is not in the settings any more"


@dataclass
class Planner:
    """`devices`: how many retrains may run at once; `queue_max`: how many slots may wait, of all pipelines together.

    `owner`: who writes, in the rows of slots that run. `is_alive(owner)`: whether a writer of an open row still lives.
    """

    ledger: SlotLedger
    owner: str
    is_alive: Callable[[str], bool]
    devices: int = 1
    queue_max: int = 10_000
    _plans: dict[str, Plan] = field(default_factory=dict)
    _works: dict[str, Clockwork] = field(default_factory=dict)
    _heap: list[tuple[float, str]] = field(default_factory=list)
    _queues: dict[str, dict[tuple[str, str, float], Slot]] = field(default_factory=dict)
    _backing_off: dict[tuple[str, str, float], Slot] = field(default_factory=dict)
    _running: dict[str, Slot] = field(default_factory=dict)
    _handed: set[tuple[str, str, float]] = field(default_factory=set)
    _last_started: dict[str, float] = field(default_factory=dict)
    _now_s: float = -math.inf
    _is_partial: bool = False
    _is_stale: bool = True

    # ---- settings --------------------------------------------------------------------------------------------------
    def load(
        self, plans: Mapping[str, Plan], now_s: float, *, partial: bool = False, since_s: float | None = None
    ) -> None:
        """Takes the settings at the start, or new ones.

        Slots that became due by a cadence that has changed, or is gone, are accounted for first; the new one is due
        from now on, or from `since_s` on where that is given. A pipeline that is gone keeps its run until it ends, and
        what waits of it is skipped. `partial`: there are other pipelines, which others keep.
        """
        before = self._plans, self._is_partial
        self._is_partial, self._now_s = partial, now_s
        self._last_started = self._last_started or self.ledger.last_started()
        try:
            for tries_left in reversed(range(TRIES)):
                try:
                    self._switch(plans, now_s, now_s if since_s is None else since_s)
                    return
                except Overtaken:
                    if not tries_left:
                        raise
        except BaseException:
            (self._plans, self._is_partial), self._is_stale = before, True
            raise

    def _switch(self, plans: Mapping[str, Plan], now_s: float, since_s: float) -> None:
        known = {name: at for name, at in self.ledger.accounted().items() if not self._is_partial or name in plans}
        changed = {name for name, at in known.items() if name not in plans or at.cadence != _text_of(plans[name])}
        old = {name: replace(plans.get(name, Plan()), cadence=_parsed(known[name].cadence)) for name in changed}
        self._plans = {**plans, **old}
        self._read(now_s)
        with self._written() as write:
            gone = {name: GONE for name in changed if name not in plans}
            self._account(write, now_s, {**_paused(write), **gone})
            for name in gone:
                write.forget(name)
            for slot in [slot for slot in self.waiting() if slot.pipeline not in plans]:
                self._put(write, slot.ended(SlotState.SKIPPED, GONE, now_s))
            for name in plans.keys() - (known.keys() - changed):
                write.account(name, _text_of(plans[name]), since_s)
        self._plans = dict(plans)
        self._read(now_s)

    # ---- the clock -------------------------------------------------------------------------------------------------
    def tick(self, now_s: float, *, starts: bool = True) -> list[Slot]:
        """Accounts for every slot that is due, and returns those that start now; they are `running` in the ledger."""
        for tries_left in reversed(range(TRIES)):
            self._catch_up(now_s)
            is_due = bool(self._heap) and self._heap[0][0] <= now_s
            if not is_due and not (starts and self._could_start()):
                break
            try:
                with self._written() as write:
                    paused = _paused(write)
                    if is_due:
                        self._account(write, now_s, paused)
                    begun = self._start(write, now_s, paused) if starts else []
            except Overtaken:
                if not tries_left:
                    raise
                continue
            self._handed.update(slot.name for slot in begun)
            return begun
        return []

    def ask(self, pipeline: str, cause: Cause, now_s: float, reason: str) -> Slot | None:
        """A slot that data, drift or a hand made due now; None where one of that cause waits already."""
        self._catch_up(now_s)
        if any(slot.cause is cause for slot in self._queues.get(pipeline, {}).values()):
            return None
        planned_s = now_s
        while self.ledger.find(pipeline, cause, planned_s) is not None:  # the clock was set back, or stood
            planned_s += 1.0
        slot = Slot(pipeline=pipeline, planned_s=planned_s, due_s=now_s, cause=cause, reason=reason)
        with self._written() as write:
            pause = write.pauses().get(pipeline)
            if pause is not None and cause is not Cause.HAND:
                slot = slot.ended(SlotState.SKIPPED, f"{PAUSED}{pause.by}: {pause.reason}", now_s)
            elif self._room(pipeline) <= 0:
                slot = slot.ended(SlotState.SKIPPED, "the queue is full", now_s)
            write.add([slot])
            self._remember(slot)
        return slot

    def ended(
        self, slot: Slot, exit_code: int, now_s: float, *, verdict: str | None, reason: str, run: str | None = None
    ) -> Slot:
        """The row after its retrain ended with that code: at its end, or waiting for its next attempt. Where it cannot
        be written now, the slot runs on as far as the planner knows: it is to be told again."""
        plan = self._plans.get(slot.pipeline, Plan())
        slot = slot if run is None else replace(slot, run=run)
        again = retried(slot, exit_code, now_s, retries=plan.retries, backoff_s=plan.backoff_s)
        return self._close(again or outcome(slot, exit_code, verdict, reason, now_s), now_s)

    def interrupted(self, slot: Slot, reason: str) -> Slot:
        """The row of a retrain that was stopped so that it can go on later; that is no attempt."""
        told = replace(slot, state=SlotState.DUE, reason=reason, owner=None, attempts=slot.attempts - 1)
        return self._close(told, self._now_s)

    def look_again(self) -> None:
        """What others have written meanwhile is read before the next answer: slots asked for by hand, what they run."""
        self._is_stale = True

    def next_wake_s(self, now_s: float) -> float | None:
        """When the next slot is due or may be tried again, later than now; None where nothing is."""
        times = [slot.not_before_s or 0.0 for slot in self._backing_off.values() if not may_start(slot, now_s)]
        if self._heap:
            times.append(self._heap[0][0])
        return min(times, default=None)

    # ---- what people ask -------------------------------------------------------------------------------------------
    def running(self) -> list[Slot]:
        """What runs, as far as this planner knows."""
        return list(self._running.values())

    def waiting(self) -> list[Slot]:
        """What waits, oldest first."""
        found = [slot for queue in self._queues.values() for slot in queue.values()]
        return sorted(found, key=lambda slot: (slot.due_s, slot.pipeline))

    def upcoming(self) -> dict[str, float | None]:
        """The next slot of every pipeline, in seconds UTC."""
        return {name: work.upcoming_s for name, work in self._works.items()}

    def startable(self, now_s: float) -> int:
        """How many slots could start if there were devices without end; those that become due now are counted too."""
        self._catch_up(now_s)
        ready = {name for due_s, name in self._heap if due_s <= now_s}
        ready |= {name for name, queue in self._queues.items() if any(may_start(s, now_s) for s in queue.values())}
        return len(ready - self._running.keys())

    # ---- inside ----------------------------------------------------------------------------------------------------
    @contextmanager
    def _written(self) -> Iterator[LedgerWriter]:
        """A transaction. Where it fails, what is kept here may say what the ledger does not, and is read again."""
        was_stale, self._is_stale = self._is_stale, True
        with self.ledger.write() as write:
            yield write
        self._is_stale = was_stale

    def _catch_up(self, now_s: float) -> None:
        """What is kept here is as in the ledger, also after a clock that was wrong."""
        if self._is_stale or now_s < self._now_s - AHEAD_S:
            self._read(now_s)
        self._now_s = now_s

    def _read(self, now_s: float) -> None:
        """Everything from the ledger. Retrains of schedulers that are gone wait again."""
        known = self.ledger.accounted()
        self._works = {name: self._work(name, plan, known.get(name), now_s) for name, plan in self._plans.items()}
        self._heap = [(work.due_s, name) for name, work in self._works.items() if work.due_s < math.inf]
        heapq.heapify(self._heap)
        self._queues, self._backing_off, self._running, orphans = {}, {}, {}, []
        for slot in self.ledger.open_slots():
            if self._is_partial and slot.pipeline not in self._plans:
                continue
            self._remember(slot)
            if slot.state is SlotState.RUNNING and not self._is_kept(slot):
                orphans.append(slot)
        if orphans:
            told = [self._recovered(slot, now_s) for slot in orphans]
            with self._written() as write:
                for slot in told:
                    self._put(write, slot)
        self._is_stale = False

    def _recovered(self, slot: Slot, now_s: float) -> Slot:
        """A slot whose scheduler is gone: at its end where its retrain had come to its own, else waiting again."""
        done = self.ledger.run_of(slot)
        if done is None:
            return recovered(slot, now_s, retries=self._plans.get(slot.pipeline, Plan()).retries)
        run, verdict, exit_code = done
        told = outcome(slot, exit_code, verdict, "it had ended when its scheduler was found gone", now_s)
        return replace(told, run=run)

    def _work(self, name: str, plan: Plan, at: Accounted | None, now_s: float) -> Clockwork:
        """The cadence from where the ledger is. Where that is days ahead of the clock, slots that came to an end and
        never started are taken back, to be due in their time; whatever else has a row ahead keeps it."""
        upto_s, work = now_s if at is None else at.upto_s, self._works.get(name)
        if at is not None and at.upto_s > now_s + AHEAD_S:
            upto_s = now_s
            with self._written() as write:
                write.forget_ahead(name, now_s)
                write.advance(name, now_s)
        if work is not None and work.plan == plan and work.upto_s == upto_s:
            return work
        return Clockwork(name, plan, upto_s, self.ledger.planned_after(name, upto_s))

    def _is_kept(self, slot: Slot) -> bool:
        """Whether somebody lives who will tell of the end of that retrain."""
        if slot.owner == self.owner:
            return slot.name in self._handed
        return slot.owner is not None and self.is_alive(slot.owner)

    def _account(self, write: LedgerWriter, now_s: float, paused: Mapping[str, str]) -> None:
        while self._heap and self._heap[0][0] <= now_s:
            name = self._heap[0][1]
            work = self._works[name]
            told = decide(
                name,
                work.take(now_s),
                work.plan.rules,
                now_s,
                paused=paused.get(name),
                busy=self._busy(name),
                room=self._room(name),
                more=work.due_s <= now_s,
            )
            write.add(told)
            write.advance(name, work.upto_s)
            for slot in told:
                if slot.state is SlotState.DUE:
                    self._remember(slot)
            if work.due_s < math.inf:
                heapq.heapreplace(self._heap, (work.due_s, name))
            else:
                heapq.heappop(self._heap)

    def _could_start(self) -> bool:
        return len(self._running) < self.devices and not self._queues.keys() <= self._running.keys()

    def _start(self, write: LedgerWriter, now_s: float, paused: Mapping[str, str]) -> list[Slot]:
        if not self._could_start():
            return []
        candidates = [
            Waiting(
                slot=slot,
                priority=self._plans[slot.pipeline].priority if slot.pipeline in self._plans else 0,
                last_started_s=self._last_started.get(slot.pipeline, -math.inf),
            )
            for slot in self._heads(now_s, paused)
        ]
        begun = []
        for slot in next_starts(candidates, self._running, now_s, self.devices - len(self._running)):
            started = replace(
                slot,
                state=SlotState.RUNNING,
                started_s=slot.started_s or now_s,
                attempts=slot.attempts + 1,
                not_before_s=None,
                owner=self.owner,
            )
            write.take(started)
            self._remember(started)
            self._last_started[slot.pipeline] = now_s
            begun.append(started)
        return begun

    def _heads(self, now_s: float, paused: Mapping[str, str]) -> Iterator[Slot]:
        """Of each pipeline that does not run, what it would start now."""
        for name, queue in self._queues.items():
            if name not in self._running:
                ready = [slot for slot in queue.values() if slot.not_before_s is None or may_start(slot, now_s)]
                if name in paused:
                    ready = [slot for slot in ready if slot.cause is Cause.HAND]
                if ready:
                    yield min(ready, key=_due_s)

    def _close(self, told: Slot, now_s: float) -> Slot:
        """A retrain of ours is at its end."""
        self._catch_up(now_s)
        with self._written() as write:
            self._put(write, told)
        self._handed.discard(told.name)
        return told

    def _put(self, write: LedgerWriter, slot: Slot) -> None:
        write.put(slot)
        self._remember(slot)

    def _remember(self, slot: Slot) -> None:
        """What is kept here of a row that is in the ledger."""
        name, key = slot.pipeline, slot.name
        queue = self._queues.get(name)
        if queue is not None and queue.pop(key, None) is not None:
            self._backing_off.pop(key, None)
            if not queue:
                del self._queues[name]
        running = self._running.get(name)
        if running is not None and running.name == key:
            del self._running[name]
        if slot.state is SlotState.RUNNING:
            self._running[name] = slot
        elif slot.state is SlotState.DUE:
            self._queues.setdefault(name, {})[key] = slot
            if slot.not_before_s is not None:
                self._backing_off[key] = slot

    def _busy(self, name: str) -> str | None:
        """What of the pipeline runs or waits, in words."""
        running = self._running.get(name)
        if running is not None:
            return f"the slot of {iso(running.planned_s)} is running"
        queue = self._queues.get(name)
        return None if not queue else f"the slot of {iso(next(iter(queue.values())).planned_s)} is waiting"

    def _room(self, name: str) -> int:
        """How many more slots of a pipeline may wait. Each one that has none waiting finds a place, where there are
        places for all of them."""
        free = self.queue_max - sum(map(len, self._queues.values()))
        others = max(0, len(self._works) - len(self._queues) - (name not in self._queues))
        return free - others if name in self._queues else min(free, max(1, free - others))


_due_s = attrgetter("due_s")


def cadence_text(cadence: Cadence | None) -> str:
    """How a cadence stands in the ledger: another text is another cadence."""
    return "" if cadence is None else cadence.text


def _text_of(plan: Plan) -> str:
    return cadence_text(plan.cadence)


def _paused(write: LedgerWriter) -> dict[str, str]:
    """Why each paused pipeline is, as it stands in the rows of its slots."""
    return {name: f"{PAUSED}{pause.by}: {pause.reason}" for name, pause in write.pauses().items()}


def _parsed(text: str) -> Cadence | None:
    """The cadence that was written so, what it planned being due at once."""
    cadence = parsed(text)
    return None if cadence is None else replace(cadence, jitter_s=0.0)

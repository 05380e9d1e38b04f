"""From the clock and the ledger to what starts now. No thread, no process, no clock of its own: every call is told.

The ledger says what happened. What is kept here (waiting, running, the next slot of each cadence) is read from it at
the start and written to it in the same transaction that changes it here.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from plaster_ops.domain.schedule import Cadence, iso
from plaster_ops.domain.slots import (
    Cause,
    Rules,
    Slot,
    SlotState,
    Waiting,
    decide,
    next_starts,
    outcome,
    retried,
)
from plaster_ops.tracking.slots import LedgerWriter, SlotLedger


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What the settings want of one pipeline. `cadence` None: only data, drift or a hand make it due."""

    cadence: Cadence | None = None
    rules: Rules = field(default_factory=Rules)
    priority: int = 0
    retries: int = 2
    backoff_s: float = 60.0


@dataclass
class _Clockwork:
    """The cadence of a pipeline as it runs: `upcoming_s` is its first slot that is not in the ledger yet."""

    plan: Plan
    upto_s: float
    slots: Iterator[float] | None = None
    upcoming_s: float | None = None

    def __post_init__(self) -> None:
        if self.plan.cadence is not None:
            self.slots = self.plan.cadence.after(self.upto_s)
            self.upcoming_s = next(self.slots, None)

    def step(self) -> None:
        """On to the next slot."""
        assert self.slots is not None
        assert self.upcoming_s is not None
        self.upto_s = self.upcoming_s
        self.upcoming_s = next(self.slots, None)


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
    _works: dict[str, _Clockwork] = field(default_factory=dict)
    _heap: list[tuple[float, str]] = field(default_factory=list)
    _waiting: dict[tuple[str, str, float], Slot] = field(default_factory=dict)
    _running: dict[str, Slot] = field(default_factory=dict)
    _last_started: dict[str, float] = field(default_factory=dict)
    _paused: dict[str, str] = field(default_factory=dict)
    _stepped: dict[str, float] = field(default_factory=dict)

    # ---- settings --------------------------------------------------------------------------------------------------
    def load(self, plans: Mapping[str, Plan], now_s: float) -> None:
        """Takes the settings at the start, or new ones. Slots that the old ones made due are accounted for before.

        A pipeline that is new, or whose cadence has changed, is due from now on; one that is gone keeps its open rows
        until they end, and its waiting slots are skipped.
        """
        if not self._works:
            self._recover()
        else:
            with self._written() as write:
                self._decide_due(write, now_s)
        known = self.ledger.accounted()
        self._works, self._heap = {}, []
        with self.ledger.write() as write:
            for name, plan in plans.items():
                cadence, before = cadence_text(plan.cadence), known.get(name)
                upto_s = before.upto_s if before is not None and before.cadence == cadence else now_s
                if before is None or before.cadence != cadence:
                    write.account(name, cadence, upto_s)
                self._works[name] = _Clockwork(plan, upto_s)
            for slot in [slot for slot in self._waiting.values() if slot.pipeline not in plans]:
                self._put(write, slot.ended(SlotState.SKIPPED, "the pipeline is not in the settings any more", now_s))
        for name in self._works:
            self._push(name)

    def _recover(self) -> None:
        """Open rows as they were left: those of a writer that is gone wait again, once more at most."""
        self._last_started = self.ledger.last_started()
        with self.ledger.write() as write:
            for slot in self.ledger.open_slots():
                if slot.state is SlotState.RUNNING and slot.owner is not None and self.is_alive(slot.owner):
                    self._running[slot.pipeline] = slot  # of `schedule once`, or of a service that is being replaced
                elif slot.state is SlotState.RUNNING:
                    again = replace(slot, state=SlotState.DUE, owner=None, reason="its scheduler was gone; again")
                    self._put(write, again)
                else:
                    self._waiting[slot.name] = slot

    # ---- the clock -------------------------------------------------------------------------------------------------
    def tick(self, now_s: float, *, starts: bool = True) -> list[Slot]:
        """Accounts for every slot that is due, and returns those that start now; they are `running` in the ledger."""
        is_due = bool(self._heap) and self._heap[0][0] <= now_s
        could_start = starts and bool(self._waiting) and len(self._running) < self.devices
        if not is_due and not could_start:
            return []
        with self._written() as write:
            self._decide_due(write, now_s)
            return self._start(write, now_s) if starts else []

    def ask(self, pipeline: str, cause: Cause, now_s: float, reason: str) -> Slot | None:
        """A slot that data, drift or a hand made due now; None where one of that cause waits already."""
        if any(slot.pipeline == pipeline and slot.cause is cause for slot in self._waiting.values()):
            return None
        slot = Slot(pipeline=pipeline, planned_s=now_s, due_s=now_s, cause=cause, reason=reason)
        pause = self.ledger.pauses().get(pipeline)
        if pause is not None and cause is not Cause.HAND:
            slot = slot.ended(SlotState.SKIPPED, f"paused by {pause.by}: {pause.reason}", now_s)
        elif len(self._waiting) >= self.queue_max:
            slot = slot.ended(SlotState.SKIPPED, "the queue is full", now_s)
        with self.ledger.write() as write:
            write.add([slot])
        if slot.state is SlotState.DUE:
            self._waiting[slot.name] = slot
        return slot

    def ended(self, slot: Slot, exit_code: int, now_s: float, *, verdict: str | None, reason: str) -> Slot:
        """The row after its retrain ended with that code: at its end, or waiting for its next attempt."""
        plan = self._works[slot.pipeline].plan if slot.pipeline in self._works else Plan()
        again = retried(slot, exit_code, now_s, retries=plan.retries, backoff_s=plan.backoff_s)
        told = again or outcome(slot, exit_code, verdict, reason, now_s)
        with self.ledger.write() as write:
            write.put(told)
        self._remember(told)
        return told

    def interrupted(self, slot: Slot, reason: str) -> Slot:
        """The row of a retrain that was stopped so that it can go on later; that is no attempt."""
        told = replace(slot, state=SlotState.DUE, reason=reason, owner=None, attempts=slot.attempts - 1)
        with self.ledger.write() as write:
            write.put(told)
        self._remember(told)
        return told

    def next_wake_s(self, now_s: float) -> float | None:
        """When the next slot is due or may be tried again, later than now; None where nothing is."""
        times = [slot.not_before_s for slot in self._waiting.values() if (slot.not_before_s or 0.0) > now_s]
        if self._heap:
            times.append(self._heap[0][0])
        return min((at_s for at_s in times if at_s is not None), default=None)

    # ---- what people ask -------------------------------------------------------------------------------------------
    def running(self) -> list[Slot]:
        """What runs, as far as this planner knows."""
        return list(self._running.values())

    def waiting(self) -> list[Slot]:
        """What waits, oldest first."""
        return sorted(self._waiting.values(), key=lambda slot: (slot.due_s, slot.pipeline))

    def upcoming(self) -> dict[str, float | None]:
        """The next slot of every pipeline, in seconds UTC."""
        return {name: work.upcoming_s for name, work in self._works.items()}

    # ---- inside ----------------------------------------------------------------------------------------------------
    @contextmanager
    def _written(self) -> Iterator[LedgerWriter]:
        """A transaction. Where it fails, what is remembered is as it was before, so that no slot is lost."""
        before = (dict(self._waiting), dict(self._running), dict(self._last_started))
        self._stepped = {}
        try:
            with self.ledger.write() as write:
                self._paused = {name: f"paused by {pause.by}: {pause.reason}" for name, pause in write.pauses().items()}
                yield write
        except BaseException:
            self._waiting, self._running, self._last_started = before
            for name, upto_s in self._stepped.items():
                self._works[name] = _Clockwork(self._works[name].plan, upto_s)
            self._heap = []
            for name in self._works:
                self._push(name)
            raise

    def _decide_due(self, write: LedgerWriter, now_s: float) -> None:
        while self._heap and self._heap[0][0] <= now_s:
            _, name = heapq.heappop(self._heap)
            work, due = self._works[name], list[tuple[float, float]]()
            self._stepped[name] = work.upto_s
            cadence = work.plan.cadence
            assert cadence is not None
            while work.upcoming_s is not None:
                due_s = cadence.due_s(name, work.upcoming_s)
                if due_s > now_s:
                    break
                due.append((work.upcoming_s, due_s))
                work.step()
            told = decide(
                name,
                due,
                work.plan.rules,
                now_s,
                paused=self._paused.get(name),
                busy=self._busy(name),
                room=self.queue_max - len(self._waiting),
            )
            write.add(told)
            self._waiting |= {slot.name: slot for slot in told if slot.state is SlotState.DUE}
            self._push(name)

    def _start(self, write: LedgerWriter, now_s: float) -> list[Slot]:
        free = self.devices - len(self._running)
        if free <= 0 or not self._waiting:
            return []
        candidates = [
            Waiting(
                slot=slot,
                priority=self._works[slot.pipeline].plan.priority if slot.pipeline in self._works else 0,
                last_started_s=self._last_started.get(slot.pipeline, float("-inf")),
            )
            for slot in self._waiting.values()
            if slot.pipeline not in self._paused or slot.cause is Cause.HAND
        ]
        begun = []
        for slot in next_starts(candidates, self._running, now_s, free):
            started = replace(
                slot,
                state=SlotState.RUNNING,
                started_s=slot.started_s or now_s,
                attempts=slot.attempts + 1,
                not_before_s=None,
                owner=self.owner,
            )
            self._put(write, started)
            self._last_started[slot.pipeline] = now_s
            begun.append(started)
        return begun

    def _put(self, write: LedgerWriter, slot: Slot) -> None:
        write.put(slot)
        self._remember(slot)

    def _remember(self, slot: Slot) -> None:
        """What is kept in memory of a row that is in the ledger."""
        self._waiting.pop(slot.name, None)
        if self._running.get(slot.pipeline, slot).name == slot.name:
            self._running.pop(slot.pipeline, None)
        if slot.state is SlotState.RUNNING:
            self._running[slot.pipeline] = slot
        elif slot.state is SlotState.DUE:
            self._waiting[slot.name] = slot

    def _busy(self, name: str) -> str | None:
        running = self._running.get(name)
        if running is not None:
            return f"the slot of {iso(running.planned_s)} is running"
        for slot in self._waiting.values():
            if slot.pipeline == name:
                return f"the slot of {iso(slot.planned_s)} is waiting"
        return None

    def _push(self, name: str) -> None:
        work = self._works[name]
        if work.upcoming_s is not None and work.plan.cadence is not None:
            heapq.heappush(self._heap, (work.plan.cadence.due_s(name, work.upcoming_s), name))


def cadence_text(cadence: Cadence | None) -> str:
    """How a cadence stands in the ledger: another text is another cadence."""
    return "" if cadence is None else repr(cadence)

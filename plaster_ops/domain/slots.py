"""What becomes of a slot: the rows of the slot ledger, and the rules that decide on them. No clock, no file."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from plaster_ops.domain.schedule import iso

MissedPolicy = Literal["run_once", "run_all", "skip"]
OverlapPolicy = Literal["skip", "queue"]


class SlotState(StrEnum):
    """Where a slot is. The first two are open; each of the others is an end."""

    DUE = "due"
    """It waits for a device, for the run before it, or for its next attempt."""
    RUNNING = "running"
    RAN = "ran"
    """A retrain ended with a verdict: promoted, held, baseline, or skipped because nothing was new."""
    SKIPPED = "skipped"
    MISSED = "missed"
    """Nobody was there when it was due, and it was not caught up."""
    FAILED = "failed"
    TIMED_OUT = "timed_out"


OPEN = (SlotState.DUE, SlotState.RUNNING)
PAUSED = "paused by "
"""How the reason of a slot begins that was skipped because its pipeline was paused."""


class Cause(StrEnum):
    """What made a retrain due."""

    CLOCK = "clock"
    DATA = "data"
    DRIFT = "drift"
    HAND = "hand"


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """One row of the ledger; instants in seconds UTC. `pipeline`, `cause` and `planned_s` together are its name.

    `due_s`: planned and jitter. `was_missed`: it was found too late. `attempts`: how often it was started.
    `not_before_s`: when the next attempt may start. `run`: the uid of its retrain in the journal.
    """

    pipeline: str
    planned_s: float
    due_s: float
    cause: Cause = Cause.CLOCK
    state: SlotState = SlotState.DUE
    reason: str = ""
    was_missed: bool = False
    attempts: int = 0
    not_before_s: float | None = None
    started_s: float | None = None
    ended_s: float | None = None
    exit_code: int | None = None
    verdict: str | None = None
    run: str | None = None
    owner: str | None = None

    @property
    def name(self) -> tuple[str, str, float]:
        """What no two rows have in common."""
        return (self.pipeline, self.cause, self.planned_s)

    def ended(self, state: SlotState, reason: str, at_s: float) -> "Slot":
        """The row with its end."""
        return replace(self, state=state, reason=reason, ended_s=at_s)


def was_paused(slot: Slot) -> bool:
    """Whether it was skipped because somebody had paused its pipeline."""
    return slot.state is SlotState.SKIPPED and slot.reason.startswith(PAUSED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What a pipeline wants done with slots that were missed, or that come while it is still at work."""

    missed: MissedPolicy = "run_once"
    overlap: OverlapPolicy = "skip"
    late_s: float = 60.0
    """A slot found later than this was missed: nobody was there, or the clock was set forward."""


def decide(
    pipeline: str,
    due: Sequence[tuple[float, float]],
    rules: Rules,
    now_s: float,
    *,
    paused: str | None,
    busy: str | None,
    room: int,
    more: bool = False,
) -> list[Slot]:
    """Rows for the slots of one pipeline, `(planned_s, due_s)` in order: waiting, or at their end already.

    `paused`: why the pipeline is; `busy`: what of it runs or waits already, in words; `room`: how many more may wait;
    `more`: later slots of it are due too, and are decided next.
    """
    told: list[Slot] = []
    for place, (planned_s, due_s) in enumerate(due):
        late = now_s - due_s > rules.late_s
        state, reason = SlotState.SKIPPED, ""
        if paused is not None:
            reason = paused
        elif late and rules.missed == "skip":
            state, reason = SlotState.MISSED, "dropped, as missed slots of this pipeline are"
        elif late and rules.missed == "run_once" and (more or place < len(due) - 1):
            into = "a later slot" if more else f"the slot of {iso(due[-1][0])}"
            state, reason = SlotState.MISSED, f"coalesced into {into}"
        elif busy is not None and rules.overlap == "skip" and not (late and rules.missed == "run_all"):
            reason = f"overlap: {busy}"
        elif room <= 0:
            reason = "the queue is full"
        else:
            state, reason = SlotState.DUE, "caught up" if late else ""
            busy, room = f"the slot of {iso(planned_s)} is waiting", room - 1
        told.append(
            Slot(
                pipeline=pipeline,
                planned_s=planned_s,
                due_s=due_s,
                state=state,
                reason=reason,
                was_missed=late,
                ended_s=None if state is SlotState.DUE else now_s,
            )
        )
    return told


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """A slot that could start, and what its turn depends on: a larger `priority` first, then who began longest ago."""

    slot: Slot
    priority: int
    last_started_s: float


def next_starts(waiting: Iterable[Waiting], running: Container[str], now_s: float, free: int) -> list[Slot]:
    """Which slots start now on `free` devices: one a pipeline, none of a pipeline that runs."""
    ready = [each for each in waiting if each.slot.pipeline not in running and may_start(each.slot, now_s)]
    ready.sort(key=lambda each: (-each.priority, each.last_started_s, each.slot.due_s, each.slot.pipeline))
    first: dict[str, Slot] = {}
    for each in ready:
        first.setdefault(each.slot.pipeline, each.slot)
    return list(first.values())[: max(0, free)]


def may_start(slot: Slot, now_s: float) -> bool:
    """Whether its next attempt is due. One that lies further ahead than any back-off was planned by a wrong clock."""
    return slot.not_before_s is None or not now_s < slot.not_before_s <= now_s + MAX_BACKOFF_S


def outcome(slot: Slot, exit_code: int, verdict: str | None, reason: str, at_s: float) -> Slot:
    """The row at the end of its retrain, by the exit codes of docs: 124 timed out, 75 busy, 0 and 3 to 6 a verdict."""
    state = SlotState.FAILED
    if exit_code in (0, 3, 4, 5, 6):
        state = SlotState.RAN
    elif exit_code == 75:
        state, reason = SlotState.SKIPPED, f"overlap: {reason}" if reason else "overlap: another run was going on"
    elif exit_code == 124:
        state = SlotState.TIMED_OUT
    return replace(slot, state=state, reason=reason, ended_s=at_s, exit_code=exit_code, verdict=verdict)


FINAL_CODES = (0, 2, 3, 4, 5, 6, 75)
"""Exit codes after which the same slot is not tried again: a verdict, wrong settings, another run."""
MAX_BACKOFF_S = 86_400.0
"""No attempt waits longer for the next one."""


def retried(slot: Slot, exit_code: int, at_s: float, *, retries: int, backoff_s: float) -> Slot | None:
    """The row waiting for its next attempt, `backoff_s` doubled each time up to a day; None where it is not tried
    again."""
    if exit_code in FINAL_CODES or slot.attempts > retries:
        return None
    wait_s = min(MAX_BACKOFF_S, backoff_s * 2.0 ** min(slot.attempts - 1, 60))
    reason = f"attempt {slot.attempts} ended with {exit_code}; again in {wait_s:.0f} s"
    return replace(slot, state=SlotState.DUE, reason=reason, not_before_s=at_s + wait_s, owner=None)


DEATHS = 10
"""So many times a retrain goes on whose scheduler died: a machine that is started anew a few times in one night costs
no retrain, and one that takes its scheduler along each time does not do so for ever."""


def recovered(slot: Slot, at_s: float, *, retries: int) -> Slot:
    """The row of a retrain whose scheduler is gone: it waits again, `DEATHS` times more often than after a failure."""
    if slot.attempts > retries + DEATHS:
        reason = f"its scheduler was gone in the middle of each of {slot.attempts} attempts"
        return slot.ended(SlotState.FAILED, reason, at_s)
    return replace(slot, state=SlotState.DUE, owner=None, reason="its scheduler was gone; again")

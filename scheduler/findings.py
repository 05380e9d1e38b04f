"""What is wrong with a pipeline's schedule, since when, and what to do about it. Rules only: no clock, no file."""

from dataclasses import dataclass
from enum import StrEnum

from plaster_ops.domain.slots import Slot, SlotState
from plaster_ops.errors import ExitCode
from plaster_ops.tracking.slots import Pause
from scheduler.coming import Coming
from scheduler.heartbeat import Service
from scheduler.spans import instant_text, show_span

TRIED = (SlotState.RAN, SlotState.FAILED, SlotState.TIMED_OUT, SlotState.MISSED)
"""What tells whether a pipeline does well; a slot that was skipped says nothing of it."""

_START = "start the service (plaster-ops schedule start), or let cron do it (plaster-ops schedule install)"


class Kind(StrEnum):
    """`LATE`: due and not started. `FAILING`, `MISSED`: what the last slot was. `UNKEPT`: nobody goes by its cadence.

    `SERVICE`: no service was heard of, where one was asked for.
    """

    LATE = "late"
    FAILING = "failing"
    MISSED = "missed"
    UNKEPT = "unkept"
    SERVICE = "service"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is wrong. `pipeline` None: with the whole. `since_s`: seconds UTC. Both texts are sentences."""

    kind: Kind
    pipeline: str | None
    since_s: float
    message: str
    next_step: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What is known of a pipeline. `unaccounted`: its first slot that is due and in no ledger.

    `unkept`: where no scheduler goes by the cadence of the settings, its first slot that was due since they were
    changed. `is_new`: none has ever kept the pipeline. `is_orphan`: who ran what `running` says is gone. `failures`:
    how many slots failed in a row.
    """

    pipeline: str
    now_s: float
    check_s: float
    service: Service
    is_full: bool
    pause: Pause | None
    unaccounted: Coming | None
    unkept: Coming | None
    is_new: bool
    running: Slot | None
    is_orphan: bool
    waiting: tuple[Slot, ...]
    tried: Slot | None
    failures: int


def judge(facts: Facts) -> tuple[Finding, ...]:
    """What is wrong with it, most urgent first; nothing where it is paused, for then somebody knows."""
    if facts.pause is not None:
        return ()
    found = (_cut_off(facts), _late_to_start(facts), _late_to_be_seen(facts), _ended_badly(facts), _unkept(facts))
    told = [finding for finding in found if finding is not None]
    kinds = [finding.kind for finding in told]
    return tuple(finding for place, finding in enumerate(told) if finding.kind not in kinds[:place])


def service_finding(service: Service, now_s: float) -> Finding | None:
    """What is wrong where a service should be there; None where it is."""
    if service.is_alive:
        return None
    since_s = now_s if service.at_s is None else service.at_s
    return Finding(
        kind=Kind.SERVICE,
        pipeline=None,
        since_s=since_s,
        message=service.reason,
        next_step="start it: plaster-ops schedule start; if its process hangs, end it first",
    )


def _cut_off(facts: Facts) -> Finding | None:
    """A slot that ran in a scheduler that is gone, where no service is there to take it up."""
    slot = facts.running
    if slot is None or not facts.is_orphan or facts.service.is_alive:
        return None
    return Finding(
        kind=Kind.LATE,
        pipeline=facts.pipeline,
        since_s=slot.due_s,
        message=f"the slot of {instant_text(slot.planned_s)} was cut off with its scheduler, and nobody goes on with"
        f" it: {facts.service.reason}",
        next_step=_START,
    )


def _late_to_start(facts: Facts) -> Finding | None:
    """A slot that waits, and was never started."""
    for slot in facts.waiting:
        late_s = facts.now_s - slot.due_s
        if slot.attempts or late_s <= facts.check_s:
            continue
        why, step = _why_waiting(facts, slot)
        return Finding(
            kind=Kind.LATE,
            pipeline=facts.pipeline,
            since_s=slot.due_s,
            message=f"the slot of {instant_text(slot.planned_s)} has waited for {show_span(late_s)}: {why}",
            next_step=step,
        )
    return None


def _why_waiting(facts: Facts, slot: Slot) -> tuple[str, str]:
    if facts.running is not None:
        step = "let it end, or raise cadence.every; cadence.timeout_s bounds a retrain"
        return f"its slot of {instant_text(facts.running.planned_s)} is still running", step
    if not facts.service.is_alive:
        return facts.service.reason, _START
    if facts.is_full:
        return "all devices are busy", "raise scheduler.devices, or this pipeline's cadence.priority"
    return slot.reason or "the service has not taken it up", "see what the service logs, or start it again"


def _late_to_be_seen(facts: Facts) -> Finding | None:
    """A slot that is due, and that no scheduler has noticed."""
    slot = facts.unaccounted
    if slot is None or facts.now_s - slot.due_s <= facts.check_s:
        return None
    step, ago = "see what the service logs, or start it again", show_span(facts.now_s - slot.due_s)
    return Finding(
        kind=Kind.LATE,
        pipeline=facts.pipeline,
        since_s=slot.due_s,
        message=f"the slot of {instant_text(slot.planned_s)} was due {ago} ago and nobody has taken it up:"
        f" {facts.service.reason}",
        next_step=step if facts.service.is_alive else _START,
    )


def _ended_badly(facts: Facts) -> Finding | None:
    slot = facts.tried
    if slot is None or slot.state is SlotState.RAN:
        return None
    since_s = slot.planned_s if slot.ended_s is None else slot.ended_s
    why = f": {slot.reason}" if slot.reason else ""
    if slot.state is SlotState.MISSED:
        return Finding(
            kind=Kind.MISSED,
            pipeline=facts.pipeline,
            since_s=since_s,
            message=f"the slot of {instant_text(slot.planned_s)} was missed{why}",
            next_step=f'make up for it: plaster-ops retrain {facts.pipeline}; or set cadence.missed = "run_once"',
        )
    word = "timed out" if slot.state is SlotState.TIMED_OUT else "failed"
    code = "" if slot.exit_code is None else f" with exit code {slot.exit_code}"
    times = f", {facts.failures} in a row" if facts.failures > 1 else ""
    return Finding(
        kind=Kind.FAILING,
        pipeline=facts.pipeline,
        since_s=since_s,
        message=f"the retrain of {instant_text(slot.planned_s)} {word}{code}{times}{why}",
        next_step=_mend(facts.pipeline, slot),
    )


def _mend(pipeline: str, slot: Slot) -> str:
    if slot.state is SlotState.TIMED_OUT:
        return "raise cadence.timeout_s or train.timeout_s, or give it less to train"
    if slot.exit_code == ExitCode.USAGE:
        return "mend the settings or the pipeline; that code is not tried again"
    return f"see plaster-ops history {pipeline}, then try: plaster-ops retrain {pipeline}"


def _unkept(facts: Facts) -> Finding | None:
    """A slot of a cadence that no scheduler goes by. Before one is due nothing is wrong: cron comes with the slots."""
    slot = facts.unkept
    if slot is None or facts.now_s - slot.due_s <= facts.check_s:
        return None
    late = show_span(facts.now_s - slot.due_s)
    why = "no scheduler has ever kept it" if facts.is_new else "no scheduler has taken up its new cadence"
    step = f"tell the service to read its settings again: kill -HUP {facts.service.pid}"
    return Finding(
        kind=Kind.UNKEPT,
        pipeline=facts.pipeline,
        since_s=slot.due_s,
        message=f"the slot of {instant_text(slot.planned_s)} was due {late} ago and {why}",
        next_step=step if facts.service.is_alive else _START,
    )

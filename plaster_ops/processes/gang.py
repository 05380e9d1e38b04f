"""Starts one child or a gang of them, passes their events on, and leaves no process behind, whatever happens.

Raises what the child said in `error.json`; else `ChildFailed` whose `kind` is "exception" (the child's own Python
error), "signal" (killed), or "exit" (ended by itself without a result). Knows nothing of what the children do.
"""

import contextlib
import selectors
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from plaster_ops.errors import ChildFailed, Interrupted, MemoryLimit, PlasterError, TimedOut
from plaster_ops.ports import EventSink
from plaster_ops.processes import handover
from plaster_ops.processes.farewell import say_farewell
from plaster_ops.processes.member import Member, start_member
from plaster_ops.processes.signals import raise_if_stopped

_POLL_S = 0.05
_LOOK_S = 0.1
_ASK_S = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How long a stage may take: in all, without any event from any child, and between SIGTERM and SIGKILL.

    `farewell_s`: when the parent is interrupted, time before that for the children to end in order; see `farewell`.
    `memory_bytes`: resident memory of all children with everything they started, looked at ten times a second.
    `give_up` is asked about once a second; where it gives a reason the children are stopped and `ChildFailed` of kind
    "exit" is raised with it.
    """

    timeout_s: float | None
    idle_s: float | None
    grace_s: float = 3.0
    farewell_s: float = 0.0
    memory_bytes: int | None = None
    give_up: Callable[[], str | None] | None = None


def run_stage(
    stage: str,
    spec: Mapping[str, Any],
    *,
    folder: Path,
    limits: Limits,
    on_event: EventSink,
    project: Path,
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Runs one child and returns its `result.json`.

    Raises the `PlasterError` that the child described, `ChildFailed`, `TimedOut`, or `Interrupted`. When this returns
    or raises, the child and everything it started are dead. What is called `result.json` in `folder` before is gone.
    """
    places = [_Place(rank=None, spec=spec, folder=folder, env=env or {})]
    return _run(stage, places, limits=limits, on_event=on_event, project=project)[0]


def run_gang(
    stage: str,
    specs: Sequence[Mapping[str, Any]],
    *,
    folder: Path,
    limits: Limits,
    on_event: EventSink,
    project: Path,
    envs: Sequence[Mapping[str, str]],
) -> list[dict[str, Any]]:
    """Runs one child per rank, in `folder/rank{r}`, and returns their results in rank order.

    The first rank that ends badly ends all. Raises as `run_stage` does; `ChildFailed` names the rank and the signal.
    Every event carries its `rank`.
    """
    places = [
        _Place(rank=rank, spec=spec, folder=folder / f"rank{rank}", env=env)
        for rank, (spec, env) in enumerate(zip(specs, envs, strict=True))
    ]
    return _run(stage, places, limits=limits, on_event=on_event, project=project)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    rank: int | None
    spec: Mapping[str, Any]
    folder: Path
    env: Mapping[str, str]


def _run(
    stage: str, places: Sequence[_Place], *, limits: Limits, on_event: EventSink, project: Path
) -> list[dict[str, Any]]:
    members: list[Member] = []
    failed: Member | None = None
    try:
        for place in places:
            raise_if_stopped()
            members.append(
                start_member(stage, place.spec, rank=place.rank, folder=place.folder, project=project, env=place.env)
            )
        failed = _Watch(stage, members, limits, on_event).first_failure()
    except Interrupted:
        say_farewell(members, limits.farewell_s, on_event)
        raise
    finally:
        _stop(members, limits.grace_s)
    if failed is not None:
        raise explain(stage, members, failed)
    return [_result(stage, member) for member in members]


class _Watch:
    """The wait for the members: sleeps until one speaks or dies, or a limit is reached."""

    def __init__(self, stage: str, members: Sequence[Member], limits: Limits, on_event: EventSink) -> None:
        self._stage = stage
        self._members = members
        self._limits = limits
        self._on_event = on_event
        self._started_s = self._heard_s = time.monotonic()

    def first_failure(self) -> Member | None:
        """The first member that ended badly; None when all have succeeded. Raises `TimedOut` and `Interrupted`.

        Of several found dead together a killed one comes first: the others died of losing it.
        """
        running = list(self._members)
        with selectors.DefaultSelector() as selector:
            for member in running:
                selector.register(member.events_fd, selectors.EVENT_READ, member)
                if member.death_fd is not None:
                    selector.register(member.death_fd, selectors.EVENT_READ, member)
            while running:
                ready = selector.select(self._patience_s(running))
                raise_if_stopped()
                for member in {key.data for key, _ in ready}:
                    self._pass_on(member, selector)
                ended = [member for member in running if member.has_ended()]
                for member in ended:
                    running.remove(member)
                    self._pass_on(member, selector)
                    _forget(selector, member.events_fd, member.death_fd)
                if bad := [member for member in ended if not member.succeeded()]:
                    return min(bad, key=lambda member: member.ending or 0)
                self._check_limits()
                self._check_memory(running)
        return None

    def _pass_on(self, member: Member, selector: selectors.BaseSelector) -> None:
        events, closed = member.read_events()
        if closed:
            _forget(selector, member.events_fd)
        if events:
            self._heard_s = time.monotonic()
        for event in events:
            self._on_event(event)

    def _patience_s(self, running: Iterable[Member]) -> float | None:
        now_s = time.monotonic()
        waits = [_POLL_S] if any(member.death_fd is None for member in running) else []
        if self._limits.memory_bytes is not None:
            waits.append(_LOOK_S)
        if self._limits.give_up is not None:
            waits.append(_ASK_S)
        if self._limits.timeout_s is not None:
            waits.append(self._started_s + self._limits.timeout_s - now_s)
        if self._limits.idle_s is not None:
            waits.append(self._heard_s + self._limits.idle_s - now_s)
        return max(0.0, min(waits)) if waits else None

    def _check_memory(self, running: Iterable[Member]) -> None:
        allowed = self._limits.memory_bytes
        if allowed is None:
            return
        members = list(running)
        if sum(member.resident_bytes() for member in members) <= allowed:
            return
        used = sum(member.resident_bytes(shared_once=True) for member in members)
        if used > allowed:
            raise MemoryLimit(
                f"{self._stage}: took {used / 1e9:.2f} GB of memory, {allowed / 1e9:.2f} GB are allowed; stopped",
                "raise engine.memory_bytes, or leave that candidate out",
            )

    def _check_limits(self) -> None:
        now_s = time.monotonic()
        timeout_s, idle_s = self._limits.timeout_s, self._limits.idle_s
        logs = self._members[0].folder / handover.LOG
        if timeout_s is not None and now_s - self._started_s >= timeout_s:
            raise TimedOut(
                f"{self._stage}: not done after {timeout_s:g} s, stopped", f"raise the limit, or read {logs}"
            )
        if idle_s is not None and now_s - self._heard_s >= idle_s:
            raise TimedOut(
                f"{self._stage}: the no-progress watchdog heard nothing for {idle_s:g} s, stopped",
                f"read {logs}; it shows what was done last",
            )
        reason = self._limits.give_up() if self._limits.give_up is not None else None
        if reason is not None:
            raise ChildFailed(self._stage, reason, "", kind="exit")


def _forget(selector: selectors.BaseSelector, *fds: int | None) -> None:
    for fd in fds:
        with contextlib.suppress(KeyError, ValueError):
            selector.unregister(fd if fd is not None else -1)


def _stop(members: Sequence[Member], grace_s: float) -> None:
    """SIGTERM to all that run, `grace_s`, SIGKILL to every group. Interrupted on the way, it still kills."""
    try:
        running = [member for member in members if not member.has_ended()]
        for member in running:
            member.signal_group(signal.SIGTERM)
        deadline_s = time.monotonic() + grace_s
        while running and time.monotonic() < deadline_s:
            time.sleep(0.01)
            running = [member for member in running if not member.has_ended()]
    finally:
        for member in members:
            member.reap()


class Ended(Protocol):
    """A child that is over: its rank in a gang, its folder, and its exit code or minus the signal's number."""

    @property
    def rank(self) -> int | None:
        """None outside a gang."""

    @property
    def folder(self) -> Path:
        """Where its error stands."""

    @property
    def ending(self) -> int | None:
        """None where it was not waited for."""

    def describe_ending(self) -> str:
        """The same in words."""


def explain(stage: str, members: Sequence[Ended], failed: Ended) -> PlasterError:
    """The most telling of the errors: one that a child raised on purpose, else how the first one ended.

    When a rank stops on purpose its neighbours lose their connection, and may be dead before it is.
    """
    told = _told(stage, failed)
    others = [_told(stage, member) for member in members if member is not failed]
    on_purpose = [error for error in [told, *others] if error is not None and not isinstance(error, ChildFailed)]
    error = on_purpose[0] if on_purpose else told or _unexplained(stage, failed)
    if not error.next_step:
        error.next_step = f"read {failed.folder / handover.LOG}"
    return error


def _told(stage: str, member: Ended) -> PlasterError | None:
    described = handover.read_json(member.folder / handover.ERROR)
    if described is None:
        return None
    if member.rank is not None and described.get("type") == ChildFailed.__name__:
        described["message"] = f"rank {member.rank}: {described.get('message', '')}"
    return handover.rebuild_error(described, stage=stage, log_tail=handover.log_tail(member.folder))


def _unexplained(stage: str, failed: Ended) -> ChildFailed:
    kind = "signal" if (failed.ending or 0) < 0 else "exit"
    return ChildFailed(stage, failed.describe_ending(), handover.log_tail(failed.folder), kind=kind)


def _result(stage: str, member: Member) -> dict[str, Any]:
    result = handover.read_json(member.folder / handover.RESULT)
    if result is None:
        raise _unexplained(stage, member)
    return result

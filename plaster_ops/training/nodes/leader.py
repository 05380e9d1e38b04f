"""Node 0 of a fit on several nodes: waits for the others, tells them of every attempt, and notices when one is lost."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from plaster_ops import __version__
from plaster_ops.errors import ChildFailed, PlasterError, Postponed, TimedOut
from plaster_ops.ports import EventSink
from plaster_ops.processes import handover
from plaster_ops.processes.signals import raise_if_stopped
from plaster_ops.training.launchers.local import reserved_port
from plaster_ops.training.launchers.seam import STAGE, Attempt, Launcher
from plaster_ops.training.network import interface_env
from plaster_ops.training.nodes.board import LEADER, LOOK_S, LOST_S, Board, Pulse, Voice

_LAST_WORDS_S = 3.0
_VISIBLE_S = 60.0


class Nodes(Protocol):
    """The nodes of a fit, as the one that runs it sees them."""

    def run(self, launcher: Launcher, attempt: Attempt) -> list[dict[str, Any]]:
        """One attempt on all nodes; the results of all ranks in rank order. Raises as `Launcher.run` does."""


class Alone:
    """This machine, and no other."""

    def run(self, launcher: Launcher, attempt: Attempt) -> list[dict[str, Any]]:
        """See `Nodes`."""
        return launcher.run(replace(attempt, env={**attempt.env, **interface_env("127.0.0.1", os.environ)}))


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where the ranks meet: node 0's name or address, and its port (0: any free one, another for every attempt)."""

    address: str
    port: int = 0


class Leader:
    """Node 0. Use `lead`."""

    def __init__(self, board: Board, voice: Voice, *, nodes: int, place: Place, node_timeout_s: float) -> None:
        self._voice = voice
        self._place = place
        self._node_timeout_s = node_timeout_s
        self._others = {node: Pulse(board, node) for node in range(1, nodes)}

    def run(self, launcher: Launcher, attempt: Attempt) -> list[dict[str, Any]]:
        """See `Nodes`. Raises `Postponed` where a node does not come (back) within `node_timeout_s`."""
        began_s = time.monotonic()
        self._gather(attempt.limits.timeout_s, attempt.on_event)
        with self._port() as port:
            ready = self._ready(attempt, port, began_s)
            sessions = {node: pulse.said.get("session") for node, pulse in self._others.items()}
            ready = replace(ready, limits=replace(ready.limits, give_up=lambda: self._trouble(ready.key, sessions)))
            self._voice.say(attempt=_told(ready, sessions))
            try:
                mine = launcher.run(ready)
                return mine + self._their_results(ready, sessions)
            except ChildFailed as error:
                raise self._most_telling(ready, error, sessions) from error
            finally:
                self._voice.say(attempt=None)

    def _ready(self, attempt: Attempt, port: int, began_s: float) -> Attempt:
        limits = attempt.limits
        if limits.timeout_s is not None:
            limits = replace(limits, timeout_s=max(0.1, limits.timeout_s - (time.monotonic() - began_s)))
        env = {**attempt.env, **interface_env(self._place.address, os.environ)}
        return replace(attempt, address=self._place.address, port=port, limits=limits, env=env)

    @contextmanager
    def _port(self) -> Iterator[int]:
        if self._place.port:
            yield self._place.port
            return
        with reserved_port("") as port:
            yield port

    def _gather(self, timeout_s: float | None, tell: EventSink) -> None:
        """Returns once every other node is there and idle."""
        told: list[int] = []

        def missing() -> bool:
            late = [node for node, pulse in self._others.items() if not _is_ready(pulse)]
            if late and late != told:
                tell({"event": "note", "text": f"waiting for {_nodes(late)}"})
                told[:] = late
            return bool(late)

        limit_s = self._node_timeout_s if timeout_s is None else min(timeout_s, self._node_timeout_s)
        if _wait_while(missing, limit_s):
            return
        if limit_s < self._node_timeout_s:
            raise TimedOut(f"{STAGE}: not done after {limit_s:g} s", "raise train.timeout_s")
        raise Postponed(
            f"{_nodes(told)} did not come within {limit_s:g} s",
            "start the same command there with its own --node-rank, or raise train.node_timeout_s",
        )

    def _trouble(self, key: str, sessions: Mapping[int, Any]) -> str | None:
        """Why an attempt is lost, whatever its ranks on this node know of it; None where it is not."""
        for node, pulse in self._others.items():
            lost = self._lost(node, sessions[node])
            if lost is not None:
                return lost
            if pulse.said.get("failed") == key and _has_failed_for_long(pulse.said):
                return f"node {node} ({pulse.said.get('host')}): {pulse.said.get('reason')}"
        return None

    def _lost(self, node: int, session: Any) -> str | None:
        """How a node was lost since it was in that session; None where it is there."""
        pulse = self._others[node]
        said = pulse.look()
        who = f"node {node} ({said.get('host')})"
        if said.get("session") != session:
            return f"{who} was lost, and started again"
        return None if pulse.is_alive else f"{who} was lost: nothing heard of it for {LOST_S:g} s"

    def _their_results(self, attempt: Attempt, sessions: Mapping[int, Any]) -> list[dict[str, Any]]:
        found: dict[int, dict[str, Any]] = {}
        theirs = [rank for rank in range(attempt.world_size) if rank not in attempt.ranks]

        def missing() -> bool:
            for rank in theirs:
                result = handover.read_json(attempt.folder / f"rank{rank}" / handover.RESULT)
                if result is not None:
                    found[rank] = result
            trouble = self._trouble(attempt.key, sessions) if len(found) < len(theirs) else None
            if trouble is not None:
                raise ChildFailed(STAGE, trouble, "", kind="exit")
            return len(found) < len(theirs)

        if not _wait_while(missing, _VISIBLE_S):
            lacking = [rank for rank in theirs if rank not in found]
            raise ChildFailed(
                STAGE,
                f"ranks {lacking} of other nodes left no result in {attempt.folder}; is the project folder shared?",
                "",
                kind="exit",
            )
        return [found[rank] for rank in theirs]

    def _most_telling(self, attempt: Attempt, error: ChildFailed, sessions: Mapping[int, Any]) -> PlasterError:
        """That a node is gone, or what a rank of it died of, where ours only lost their connection."""
        self._hear_last_words(attempt.key)
        lost = next(filter(None, (self._lost(node, sessions[node]) for node in self._others)), None)
        if lost is not None:
            return ChildFailed(STAGE, lost, error.log_tail, kind="exit")
        failed = [pulse.said for pulse in self._others.values() if pulse.said.get("failed") == attempt.key]
        killed = [said for said in failed if said.get("kind") == "signal"]
        if killed and error.kind != "signal":
            return ChildFailed(STAGE, str(killed[0].get("reason")), "", kind="signal")
        return error if error.kind == "signal" else _first_error(attempt) or error

    def _hear_last_words(self, key: str) -> None:
        """Waits until every node has said that it failed too, or is alive some seconds later, or is lost."""
        began_s = time.monotonic()

        def unclear() -> bool:
            waited_s = time.monotonic() - began_s
            for pulse in self._others.values():
                said_it = pulse.look().get("failed") == key
                lives = waited_s > _LAST_WORDS_S and pulse.silent_s < waited_s
                if pulse.is_alive and not (said_it or lives):
                    return True
            return False

        _wait_while(unclear, LOST_S)


def _is_ready(pulse: Pulse) -> bool:
    return pulse.look().get("state") == "waiting" and pulse.is_alive


def _has_failed_for_long(said: dict[str, Any]) -> bool:
    """Whether ranks here have had the time to notice by themselves, and to say of what they died."""
    return float(said.get("failed_for_s", 0.0)) > _LAST_WORDS_S


def _first_error(attempt: Attempt) -> PlasterError | None:
    """The error of the rank that wrote its own first, by the file system's clock."""
    files = [attempt.folder / f"rank{rank}" / handover.ERROR for rank in range(attempt.world_size)]
    times = {file: file.stat().st_mtime_ns for file in files if file.exists()}
    if not times:
        return None
    folder = min(times, key=lambda file: times[file]).parent
    described = handover.read_json(folder / handover.ERROR) or {}
    if described.get("type") == ChildFailed.__name__:
        described["message"] = f"rank {folder.name.removeprefix('rank')}: {described.get('message', '')}"
    error = handover.rebuild_error(described, stage=STAGE, log_tail=handover.log_tail(folder))
    error.next_step = error.next_step or f"read {folder / handover.LOG}"
    return error


def _told(attempt: Attempt, sessions: Mapping[int, Any]) -> dict[str, Any]:
    return {
        "sessions": {str(node): session for node, session in sessions.items()},
        "key": attempt.key,
        "spec": attempt.spec.to_json(),
        "folder": str(attempt.folder),
        "address": attempt.address,
        "port": attempt.port,
        "idle_s": attempt.limits.idle_s,
        "grace_s": attempt.limits.grace_s,
    }


def _nodes(nodes: list[int]) -> str:
    return f"node{'s' if len(nodes) > 1 else ''} {', '.join(map(str, nodes))}"


def _wait_while(missing: Callable[[], bool], limit_s: float) -> bool:
    """Looks again and again; False where it is still so after `limit_s`."""
    until_s = time.monotonic() + limit_s
    while missing():
        raise_if_stopped()
        if time.monotonic() >= until_s:
            return False
        time.sleep(LOOK_S)
    return True


@contextmanager
def lead(
    folder: Path, *, project: Path, nodes: int, place: Place, node_timeout_s: float, job: str = ""
) -> Iterator[Leader]:
    """Node 0 for the length of a retrain: the other nodes see it, and see it end, with its exit code.

    `folder` holds the board. `job` is the outer launcher's name for this start, the same on all nodes; "" without one.
    """
    board = Board(folder)
    said = {"state": "running", "nodes": nodes, "project": str(project), "version": __version__, "job": job}
    with Voice(board, LEADER, {**said, "attempt": None}) as voice:
        code = 1
        try:
            yield Leader(board, voice, nodes=nodes, place=place, node_timeout_s=node_timeout_s)
            code = 0
        except PlasterError as error:
            code = int(error.exit_code)
            raise
        finally:
            voice.say(state="over", exit_code=code, attempt=None)

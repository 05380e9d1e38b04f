"""Node 1, 2, ... of a fit on several nodes: takes part in what node 0 announces, and does nothing else."""

import os
import time
from pathlib import Path
from typing import Any

from plaster_ops import __version__
from plaster_ops.errors import ChildFailed, Interrupted, PlasterError, TrainingFailed, UsageError
from plaster_ops.ports import EventSink
from plaster_ops.processes.gang import Limits
from plaster_ops.processes.signals import raise_if_stopped
from plaster_ops.training.devices import choose_devices
from plaster_ops.training.launchers.seam import Attempt, Launcher
from plaster_ops.training.messages import FitSpec
from plaster_ops.training.network import interface_env
from plaster_ops.training.nodes.board import LEADER, LOOK_S, LOST_S, Board, Pulse, Voice

_ENDING_S = 5.0
"""What ranks and agents have to end by themselves once node 0 has ended."""


def follow(
    folder: Path,
    launcher: Launcher,
    *,
    node: int,
    project: Path,
    node_timeout_s: float,
    tell: EventSink,
    job: str = "",
) -> int:
    """Follows node 0 until its run is over; returns its exit code, 0 for one that only did not promote.

    Raises `TrainingFailed` where node 0 is not there, or gone, for `node_timeout_s`; `UsageError` where it works in
    another project folder or with another release; `Interrupted`. An attempt that fails here is told to node 0.
    """
    board = Board(folder)
    pulse = Pulse(board, LEADER)
    with Voice(board, node, {"state": "waiting"}) as voice:
        return _Follower(board, launcher, voice, pulse, node, project, job, tell).follow(node_timeout_s)


class _Follower:
    def __init__(
        self,
        board: Board,
        launcher: Launcher,
        voice: Voice,
        pulse: Pulse,
        node: int,
        project: Path,
        job: str,
        tell: EventSink,
    ) -> None:
        self._launcher = launcher
        self._voice = voice
        self._pulse = pulse
        self._node = node
        self._project = project
        self._job = job
        self._tell = tell
        self._born_ns = board.written_ns(node)
        self._board = board
        self._done: set[str] = set()
        self._failed_s: float | None = None
        self._ended_s: float | None = None

    def follow(self, node_timeout_s: float) -> int:
        self._note(f"node {self._node}: following node 0 of this pipeline")
        while True:
            raise_if_stopped()
            said = self._pulse.look()
            if said.get("state") == "over" and self._is_ours(said):
                code = int(said.get("exit_code") or 0)
                self._note(f"node {self._node}: the run of node 0 is over" + (f", exit code {code}" if code else ""))
                return code
            attempt = said.get("attempt") if self._pulse.is_alive else None
            if attempt and attempt["key"] not in self._done and self._is_in(attempt):
                self._check(said)
                self._take_part(attempt)
            else:
                self._give_up_after(node_timeout_s)
            self._tell_how_long()
            time.sleep(LOOK_S)

    def _give_up_after(self, node_timeout_s: float) -> None:
        if self._pulse.silent_s > node_timeout_s:
            host = self._pulse.said.get("host")
            raise TrainingFailed(
                f"node {self._node}: nothing heard of node 0{f' ({host})' if host else ''} for {node_timeout_s:g} s",
                "start the same command there with --node-rank 0, or raise train.node_timeout_s",
            )

    def _is_ours(self, said: dict[str, Any]) -> bool:
        """Whether a run that is over is the one that this node was started for, and not the last one's leftover."""
        same_job = bool(self._job) and said.get("job") == self._job
        return same_job or self._pulse.is_alive or self._board.written_ns(LEADER) > self._born_ns

    def _is_in(self, attempt: dict[str, Any]) -> bool:
        """Whether node 0 counts on this start of this node, and not on one that it took the place of."""
        return bool(attempt["sessions"].get(str(self._node)) == self._voice.session)

    def _check(self, said: dict[str, Any]) -> None:
        if said.get("version") != __version__:
            raise UsageError(
                f"node 0 runs plaster-ops {said.get('version')}, this node {__version__}", "install the same release"
            )
        if said.get("project") != str(self._project):
            raise UsageError(
                f"node 0 works in {said.get('project')}, this node in {self._project}",
                "mount the project folder at the same place on all nodes",
            )

    def _take_part(self, told: dict[str, Any]) -> None:
        key = str(told["key"])
        self._ended_s = None
        self._done.add(key)
        self._voice.say(state="in", attempt=key)
        try:
            self._launcher.run(self._attempt(told))
        except Interrupted:
            raise
        except PlasterError as error:
            kind = error.kind if isinstance(error, ChildFailed) else "exit"
            reason = error.ending if isinstance(error, ChildFailed) else error.message
            self._note(f"node {self._node}: {reason}")
            if isinstance(error, UsageError):
                self._voice.say(failed=key, reason=reason, kind=kind, failed_for_s=LOST_S)
                raise
            self._failed_s = time.monotonic()
            self._voice.say(failed=key, reason=reason, kind=kind, failed_for_s=0.0)
        self._voice.say(state="waiting", attempt=None)

    def _tell_how_long(self) -> None:
        """Node 0 gives its own ranks some seconds to say of what they died."""
        if self._failed_s is not None and time.monotonic() - self._failed_s > LOST_S / 3:
            self._voice.say(failed_for_s=time.monotonic() - self._failed_s)
            self._failed_s = None

    def _attempt(self, told: dict[str, Any]) -> Attempt:
        spec = FitSpec.from_json(told["spec"])
        return Attempt(
            spec=spec,
            devices=choose_devices(spec.devices, spec.accelerator, os.environ),
            folder=Path(told["folder"]),
            limits=Limits(
                timeout_s=None,
                idle_s=told["idle_s"],
                grace_s=told["grace_s"],
                give_up=lambda: self._withdrawn(str(told["key"])),
            ),
            on_event=self._tell,
            node=self._node,
            address=told["address"],
            port=int(told["port"]),
            env=interface_env(told["address"], os.environ),
        )

    def _withdrawn(self, key: str) -> str | None:
        """Why this node's ranks must stop, whatever they know; None where they need not."""
        said = self._pulse.look()
        if not self._pulse.is_alive:
            return f"node 0 ({said.get('host')}) was lost: nothing heard of it for {LOST_S:g} s"
        if (said.get("attempt") or {}).get("key") == key:
            self._ended_s = None
            return None
        self._ended_s = self._ended_s or time.monotonic()
        return "node 0 has ended this attempt" if time.monotonic() - self._ended_s > _ENDING_S else None

    def _note(self, text: str) -> None:
        self._tell({"event": "note", "text": text})

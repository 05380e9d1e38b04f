"""Retrains as child processes: started, timed, stopped, and what they said at their end."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from plaster_ops.domain.schedule import iso
from plaster_ops.domain.slots import Cause, Slot
from plaster_ops.flow.lock import INHERITED, slug

TIMED_OUT = 124
LOG_MAX_BYTES = 5_000_000
LOGS = Path("mlruns/scheduler/logs")
_TRIGGERS = {Cause.DATA: "data", Cause.DRIFT: "drift", Cause.HAND: "manual"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a retrain ended. `stopped`: it was asked to, so that it can go on later. `run`: its uid in the journal."""

    slot: Slot
    exit_code: int
    verdict: str | None = None
    reason: str = ""
    run: str | None = None
    stopped: bool = False


Command = Callable[[Slot], Sequence[str]]
"""What a retrain is: arguments of plaster-ops."""


def retrain_command(project: Path, trigger: str) -> Command:
    """`retrain` of the slot's pipeline, its record on stdout as JSON."""

    def command(slot: Slot) -> Sequence[str]:
        by = _TRIGGERS.get(slot.cause, trigger)
        due = ["--slot", iso(slot.planned_s)] if slot.cause is Cause.CLOCK else []
        return ["retrain", slot.pipeline, "--project", str(project), "--trigger", by, *due, "--json", "--quiet"]

    return command


class Job:
    """A running retrain. `device`: the open, locked file that it takes over; ours is closed once it has it."""

    def __init__(
        self, slot: Slot, command: Sequence[str], *, project: Path, device: int | None, visible: str | None
    ) -> None:
        self.slot = slot
        self.started_s = time.monotonic()
        self._stopped = self._timed_out = False
        with contextlib.ExitStack() as undone, contextlib.ExitStack() as handed_over:
            if device is not None:
                handed_over.callback(os.close, device)
            self._log = undone.enter_context(_open_log(project / LOGS, slot))
            self._log_from = self._log.tell()
            self._said = undone.enter_context(tempfile.TemporaryFile())
            alive, self._alive = os.pipe()
            handed_over.callback(os.close, alive)
            undone.callback(os.close, self._alive)
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "scheduler.job", str(alive), *command],
                cwd=project,
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._log,
                start_new_session=True,
                pass_fds=[fd for fd in (alive, device) if fd is not None],
                env=_environment(device, visible),
            )
            undone.pop_all()

    def watch(self, tell: Callable[[Ended], None], *, timeout_s: float | None, stop_s: float) -> threading.Thread:
        """Calls `tell` once, from a thread of its own, when it has ended; after `timeout_s` it is stopped."""
        thread = threading.Thread(target=lambda: tell(self._watched(timeout_s, stop_s)), daemon=True)
        thread.start()
        return thread

    def _watched(self, timeout_s: float | None, stop_s: float) -> Ended:
        """How it ended; an end that cannot be read is one all the same, or its slot would run for ever."""
        try:
            return self.wait(timeout_s=timeout_s, stop_s=stop_s)
        except Exception as error:
            return Ended(slot=self.slot, exit_code=1, reason=f"its end could not be read: {error}")

    def wait(self, *, timeout_s: float | None, stop_s: float) -> Ended:
        """How it ended, in this thread."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._timed_out = True
            self._end(stop_s)
        code = self._process.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # what it left behind in its session
        os.close(self._alive)
        try:
            return self._ended(code)
        finally:
            self._log.close()
            self._said.close()

    def stop(self) -> None:
        """Asks it to end; it leaves a run that goes on at the next start."""
        self._stopped = True
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it and all that it started at once."""
        self._stopped = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _end(self, stop_s: float) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(stop_s)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _ended(self, code: int) -> Ended:
        said = self._read()
        taken_s = time.monotonic() - self.started_s
        if self._timed_out:
            return Ended(slot=self.slot, exit_code=TIMED_OUT, reason=f"stopped after {taken_s:.0f} s", run=_run(said))
        reasons = said.get("reasons") or []
        reason = str(reasons[0]) if reasons else self._last_error()
        if code < 0:
            reason, code = f"was killed by {signal.Signals(-code).name}", 128 - code
        verdict = said.get("verdict")
        return Ended(
            slot=self.slot,
            exit_code=code,
            verdict=None if verdict is None else str(verdict),
            reason=reason[:500],
            run=_run(said),
            stopped=self._stopped and code > 128,
        )

    def _read(self) -> Mapping[str, Any]:
        self._said.seek(0)
        try:
            found = json.loads(self._said.read() or b"{}")
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def _last_error(self) -> str:
        """The message of an error on stderr; it says more than an exit code."""
        with Path(self._log.name).open(encoding="utf-8", errors="replace") as log:
            log.seek(self._log_from)
            lines = log.read().splitlines()
        found = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        return found[-1] if found else ""


def _run(said: Mapping[str, Any]) -> str | None:
    run = said.get("run")
    return str(run["uid"]) if isinstance(run, dict) and run.get("uid") else None


def _environment(device: int | None, visible: str | None) -> dict[str, str]:
    env = dict(os.environ)
    env.pop(INHERITED, None)
    if device is not None:
        env[INHERITED] = str(device)
    if visible is not None:
        env["CUDA_VISIBLE_DEVICES"] = visible
    return env


def _open_log(folder: Path, slot: Slot) -> IO[bytes]:
    """The log of the slot's pipeline, opened to append; one that has grown large is put aside first."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{slug(slot.pipeline)}.log"
    if path.exists() and path.stat().st_size > LOG_MAX_BYTES:
        path.replace(path.with_suffix(".log.1"))
    log = path.open("ab")
    log.write(f"== slot {iso(slot.planned_s)} ({slot.cause}), attempt {slot.attempts}\n".encode())
    log.flush()
    return log

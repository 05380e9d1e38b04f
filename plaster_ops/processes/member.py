"""One child process as its parent sees it: started, read, signalled, reaped."""

import contextlib
import os
import signal
import site
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import plaster_ops
from plaster_ops.processes import handover
from plaster_ops.processes.child import ALIVE_FD, EVENT_FD
from plaster_ops.processes.events import EventLines

ENTRY = "plaster_ops.flow.stages"
_CHUNK = 65536


class Member:
    """A running child in its own session. `alive_fd` is the pipe whose closing kills it; see `liveness`."""

    def __init__(
        self, *, rank: int | None, folder: Path, process: subprocess.Popen[bytes], alive_fd: int, events_fd: int
    ) -> None:
        self.rank = rank
        self.folder = folder
        self.events_fd = events_fd
        self.ending: int | None = None
        self._process = process
        self._alive_fd = alive_fd
        self._lines = EventLines()
        self.death_fd = _open_pidfd(process.pid)

    @property
    def pid(self) -> int:
        """Its process, which leads a session and a group of this number."""
        return self._process.pid

    def read_events(self) -> tuple[list[dict[str, Any]], bool]:
        """The events that have arrived, and whether the child has closed its end."""
        events: list[dict[str, Any]] = []
        while True:
            try:
                chunk = os.read(self.events_fd, _CHUNK)
            except BlockingIOError:
                return events, False
            if not chunk:
                return events, True
            found = self._lines.feed(chunk)
            events += found if self.rank is None else [{**event, "rank": self.rank} for event in found]

    def has_ended(self) -> bool:
        """Whether the child is dead; then `ending` is its exit code, or minus the signal's number.

        The dead child is not reaped yet, so its group's number cannot be given to anybody else.
        """
        if self.ending is None:
            state = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if state is not None:
                self.ending = state.si_status if state.si_code == os.CLD_EXITED else -state.si_status
        return self.ending is not None

    def resident_bytes(self, *, shared_once: bool = False) -> int:
        """Resident memory of the child and of everything it started, in its session; 0 for what has ended.

        `shared_once`: a page that several processes share counts in parts that add up to one, where the system tells
        (Linux); that takes milliseconds a process. Else it counts for each of them.
        """
        import psutil

        total = 0
        for pid in psutil.pids():
            with contextlib.suppress(psutil.Error, OSError):
                if os.getsid(pid) == self._process.pid:
                    process = psutil.Process(pid)
                    full = process.memory_full_info() if shared_once else process.memory_info()
                    total += int(getattr(full, "pss", full.rss))
        return total

    def succeeded(self) -> bool:
        """Exit code 0, a result, and no error: each of them alone can lie."""
        files = self.folder
        return self.ending == 0 and (files / handover.RESULT).exists() and not (files / handover.ERROR).exists()

    def signal_group(self, number: signal.Signals) -> None:
        """Signals the child and everything it started; nothing happens where they are gone."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def ask_to_end(self) -> None:
        """SIGTERM to the child alone: what it has started, data loader workers say, it still needs."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(self._process.pid, signal.SIGTERM)

    def reap(self) -> None:
        """Kills what is left of the group, waits for the child, closes the pipes."""
        self.signal_group(signal.SIGKILL)
        code = self._process.wait()
        self.ending = code if self.ending is None else self.ending
        for fd in (self._alive_fd, self.events_fd, self.death_fd):
            if fd is not None:
                os.close(fd)

    def describe_ending(self) -> str:
        """How the child ended, in words: "was killed by SIGKILL", "ended with code 3"."""
        return describe_ending(self.rank, self.ending if self.ending is not None else 0)


def describe_ending(rank: int | None, code: int) -> str:
    """How a child ended, in words: "rank 1 was killed by SIGKILL", "ended with code 3"."""
    who = "" if rank is None else f"rank {rank} "
    if code < 0:
        return f"{who}was killed by {_signal_name(-code)}"
    return f"{who}ended with code {code}" + (" but left no result" if code == 0 else "")


def start_member(
    stage: str, spec: Mapping[str, Any], *, rank: int | None, folder: Path, project: Path, env: Mapping[str, str]
) -> Member:
    """Starts `python -m plaster_ops.flow.stages <stage> <folder>` in its own session, with `project` as its folder.

    What an earlier attempt left in `folder` is removed first. Standard output and error go to `log.txt`.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    handover.clear(folder)
    handover.write_json(folder / handover.SPEC, spec)
    alive_read, alive_write = os.pipe()
    events_read, events_write = os.pipe()
    try:
        with (folder / handover.LOG).open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", ENTRY, stage, str(folder)],
                cwd=project,
                env=_environment(project, {**env, ALIVE_FD: str(alive_read), EVENT_FD: str(events_write)}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(alive_read, events_write),
                start_new_session=True,
            )
    except BaseException:
        os.close(alive_write)
        os.close(events_read)
        raise
    finally:
        os.close(alive_read)
        os.close(events_write)
    os.set_blocking(events_read, False)
    return Member(rank=rank, folder=folder, process=process, alive_fd=alive_write, events_fd=events_read)


def _environment(project: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """The parent's environment with an import path that means the same in another working folder.

    The entries of PYTHONPATH become absolute; the folder that holds `plaster_ops` is put before them when it is a
    source checkout. (Not when it is site-packages: that would come before the standard library.)
    """
    entries = [str(Path(entry).absolute()) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    checkout = str(Path(plaster_ops.__file__).resolve().parent.parent)
    if checkout not in entries and checkout not in _site_folders():
        entries.insert(0, checkout)
    paths = {"PYTHONPATH": os.pathsep.join(entries)} if entries else {}
    return {**os.environ, **paths, "PYTHONUNBUFFERED": "1", "PLASTER_PROJECT": str(project.resolve()), **extra}


def _site_folders() -> set[str]:
    folders = [*site.getsitepackages(), site.getusersitepackages(), *map(sysconfig.get_path, ("purelib", "platlib"))]
    return {str(Path(folder).resolve()) for folder in folders}


def _open_pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

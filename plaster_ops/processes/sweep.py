"""Ends what a foreign launcher may have left behind: every process that was born with a mark in its environment.

Sessions and groups do not find them, because such a launcher makes new ones.
"""

import contextlib
import os
import signal
import time
from pathlib import Path

MARK = "PLASTER_GANG"
_PATIENCE_S = 10.0


def sweep(mark: str) -> int:
    """Kills every process of ours whose environment holds `PLASTER_GANG={mark}`; returns when none is left.

    Returns how many it had to kill. One that the kernel does not let go is waited for, for ten seconds at most.
    """
    killed: set[int] = set()
    until_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until_s:
        found = marked(mark)
        if not found:
            break
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        killed |= set(found)
        time.sleep(0.01)
    return len(killed)


def marked(mark: str) -> list[int]:
    """The living processes that were born with this mark. A dead one that nobody has reaped has no environment."""
    entry = f"{MARK}={mark}".encode()
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if entry in file.read_bytes().split(b"\0") and file.parent.name != str(os.getpid()):
                found.append(int(file.parent.name))
    return found

"""Who keeps the schedule of a project: one service at a time, and whether the writer of an open row still lives."""

import time
from pathlib import Path

from plaster_ops.errors import Busy
from plaster_ops.flow.lock import holder_of, take_lock
from plaster_ops.tracking.liveness import is_alive, started_at_s, this_host

LOCK = "scheduler.lock"
LOOKS, LOOK_S = 5, 0.05


def this_owner(pid: int) -> str:
    """Who writes, as it stands in the ledger: host, process and when that began."""
    return f"{this_host()} {pid} {started_at_s(pid) or 0.0:.2f}"


def owner_lives(owner: str, *, here: str | None = None) -> bool:
    """Whether that writer still runs. One of another host does not: who asks holds the lock of the schedule."""
    try:
        host, pid, started = owner.rsplit(" ", 2)
        return host == (here or this_host()) and is_alive(int(pid), float(started) or None)
    except ValueError:
        return False


def keep_schedule(folder: Path) -> int:
    """The open, locked `<folder>/scheduler.lock`. Raises `Busy`, naming who keeps the schedule already.

    A lock of a host that is gone is none: the kernel, or the file system's server, has released it. A visit that looks
    whether the lock is held holds it itself for that moment, so it is tried a few times.
    """
    handle = take_lock(folder / LOCK)
    for _ in range(LOOKS):
        if handle is not None:
            break
        time.sleep(LOOK_S)
        handle = take_lock(folder / LOCK)
    if handle is None:
        raise Busy(
            f"another scheduler keeps the schedule of this project ({holder_of(folder / LOCK)})",
            "stop it first; plaster-ops schedule list shows what it does",
        )
    return handle

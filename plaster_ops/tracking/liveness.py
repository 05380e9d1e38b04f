"""Whether the process that a journal row names still lives: /proc only; a reused pid is told by its start time."""

import os
import socket
from pathlib import Path

START_TOLERANCE_S = 2.0
"""Two readings of one process's start may differ by rounding and by a slewed clock."""

_PROC = Path("/proc")


def this_host() -> str:
    """The name under which runs of this machine are recorded."""
    return socket.gethostname()


def started_at_s(pid: int) -> float | None:
    """When that process started, in seconds since the epoch; None where no such process lives (zombies do not)."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        uptime_s = float((_PROC / "uptime").read_text().split()[0])
        boot_s = next(
            float(line.split()[1]) for line in (_PROC / "stat").read_text().splitlines() if line.startswith("btime")
        )
    except (OSError, ValueError, IndexError, StopIteration):
        return None
    if fields[0] in "ZXx":
        return None
    since_boot_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return boot_s + min(since_boot_s, uptime_s)


def is_alive(pid: int, pid_started_s: float | None) -> bool:
    """True while the very process lives that had this pid at that start time; without a start time the pid must do."""
    now_started_s = started_at_s(pid)
    if now_started_s is None:
        return False
    return pid_started_s is None or abs(now_started_s - pid_started_s) <= START_TOLERANCE_S

"""When this process began, so that the interpreter's own start-up belongs to the cycle."""

import time
from pathlib import Path

from plaster_ops.flow.session import Start


def process_start() -> Start:
    """The start of this process on the monotonic clock and on the wall clock; now, where /proc does not tell."""
    now_s, epoch_s = time.monotonic(), time.time()
    age_s = _age_s()
    return Start(monotonic_s=now_s - age_s, epoch_s=epoch_s - age_s)


def _age_s() -> float:
    import os

    try:
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        started_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        up_s = float(Path("/proc/uptime").read_text(encoding="utf-8").split()[0])
        return max(0.0, up_s - started_s)
    except (OSError, ValueError, IndexError):
        return 0.0

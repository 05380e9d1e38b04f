"""What a command takes as a user meets it: a Python process from its start to its end."""

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
_TIMES = 7


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """Medians of some processes. `cpu_s`: user and system; a busy machine stretches the clock, and these hardly."""

    wall_s: float
    cpu_s: float


def time_process(project: Path, *arguments: str, times: int = _TIMES) -> Taken:
    """Of `python ARGUMENTS` in that folder, with this checkout's library, seven times; raises where one fails."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    wall, cpu = [], []
    for _ in range(times):
        began_s, before = time.monotonic(), os.times()
        subprocess.run([sys.executable, *arguments], cwd=project, env=env, stdout=subprocess.DEVNULL, check=True)
        after = os.times()
        wall.append(time.monotonic() - began_s)
        cpu.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return Taken(wall_s=statistics.median(wall), cpu_s=statistics.median(cpu))

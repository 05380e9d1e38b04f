"""Holding a measuring process to a few CPUs, so that neither it nor its threads wander between queries."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from plaster_ops.plaster.machine import read_lines

_LOOK_S = 0.2
_ROOT = Path("/")


@contextmanager
def pinned(count: int | None, given: Sequence[int] | None = None, *, root: Path = _ROOT) -> Iterator[tuple[int, ...]]:
    """Holds this process to `count` CPUs until the block ends, and gives them; threads that start inside inherit it.

    None: to no fewer than it may use.

    `given`: the CPUs of the process before, so that all processes of one comparison use the same. Otherwise those that
    were least busy in the last 0.2 s, of those that it may use. Where there are no more than `count`, or the system
    refuses, nothing changes and what it may use is returned.
    """
    allowed = sorted(os.sched_getaffinity(0))
    if count is None or count >= len(allowed):
        yield tuple(allowed)
        return
    wanted = sorted(set(given or ()) & set(allowed))
    if len(wanted) != count:
        wanted = least_busy(allowed, count, root=root)
    try:
        os.sched_setaffinity(0, wanted)
    except OSError:
        wanted = allowed
    try:
        yield tuple(wanted)
    finally:
        if wanted != allowed:
            os.sched_setaffinity(0, allowed)


def least_busy(
    allowed: Sequence[int], count: int, *, root: Path = _ROOT, wait: Callable[[float], None] = time.sleep
) -> list[int]:
    """`count` of the allowed CPUs, in order: those with the least busy time over 0.2 s, of equals the highest numbers.

    CPU 0, which takes most interrupts, is so the last choice on an idle machine.
    """
    if count >= len(allowed):
        return sorted(allowed)
    before = busy_ticks(root)
    wait(_LOOK_S)
    after = busy_ticks(root)
    spent = {cpu: after.get(cpu, 0) - before.get(cpu, 0) for cpu in allowed}
    return sorted(sorted(allowed, key=lambda cpu: (spent[cpu], -cpu))[:count])


def busy_ticks(root: Path = _ROOT) -> Mapping[int, int]:
    """By CPU the clock ticks that it was not idle since boot, from /proc/stat; empty where that does not tell."""
    found = {}
    for line in read_lines(root / "proc/stat"):
        name, *fields = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and len(fields) >= 8:
            ticks = [int(field) for field in fields[:8]]
            found[int(name[3:])] = sum(ticks) - ticks[3] - ticks[4]
    return found

"""The timed loop: one query after another, host to host, and the order in which engines take turns.

The loop holds nothing but the call and two readings of the clock; what else is needed is computed before or after it.
"""

import gc
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

Query = tuple[Any, ...]
RunQuery = Callable[..., Any]
ClockNs = Callable[[], int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Timed:
    """One uninterrupted block of queries. `window_ns` runs from the first query's start to the last one's end."""

    latencies_ns: list[int]
    start_ns: int
    window_ns: int
    cpu_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One engine's turn: its `index`-th block (equal for blocks that are compared), at `position` in the order."""

    label: str
    index: int
    position: int


def process_cpu_s() -> float:
    """User + system CPU seconds of this process, all threads, and of its children that have ended."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def time_queries(
    run: RunQuery,
    queries: Sequence[Query],
    *,
    first: int,
    count: int,
    limit_ns: int,
    clock_ns: ClockNs = time.perf_counter_ns,
    cpu_s: Callable[[], float] = process_cpu_s,
    settle: int = 1,
) -> Timed:
    """Times `count` queries from position `first` on, round robin; stops early once `limit_ns` have passed.

    `settle` queries are run before and not timed, so that the turn of another engine leaves no cold first query.
    """
    available = len(queries)
    start = first % available
    sequence = (list(queries) * -(-(start + count) // available))[start : start + count]
    for i in range(settle):
        run(*queries[(first - 1 - i) % available])
    latencies_ns: list[int] = []
    keep = latencies_ns.append
    cpu_before_s = cpu_s()
    start_ns = end_ns = clock_ns()
    stop_ns = start_ns + limit_ns
    for inputs in sequence:
        begin_ns = clock_ns()
        answer = run(*inputs)
        end_ns = clock_ns()
        keep(end_ns - begin_ns)
        del answer
        if end_ns > stop_ns:
            break
    return Timed(
        latencies_ns=latencies_ns, start_ns=start_ns, window_ns=end_ns - start_ns, cpu_s=cpu_s() - cpu_before_s
    )


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Collects once, then keeps the collector off until the block ends."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()


def interleave(labels: Sequence[str], number: int) -> list[Turn]:
    """Round `number`: A B B A for two labels, A B C C B A for three, so that a steady drift cancels over the round."""
    order = [*labels, *reversed(labels)]
    half = len(labels)
    return [
        Turn(label=label, index=2 * number + place // half, position=number * len(order) + place)
        for place, label in enumerate(order)
    ]

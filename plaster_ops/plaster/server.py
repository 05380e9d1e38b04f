"""An open-loop server on one engine: queries arrive when they arrive, wait, and are answered in batches.

Latency counts from the instant a query was due, never from when the loop got round to it: a server that stalls shows
the stall in every query that was due meanwhile. One thread, so that a simulated clock runs it exactly.
"""

import time
from bisect import bisect_right
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from plaster_ops.plaster.timing import ClockNs, RunQuery
from plaster_ops.plaster.turns import Inputs

Nanoseconds = npt.NDArray[np.int64]
Answer = Callable[[Sequence[int], int, int], object]
"""`(numbers, head, size)`: answers queries `numbers[head : head + size]` as one batch; that is the service time."""
WaitUntil = Callable[[int], None]
"""Returns once the clock shows at least that many nanoseconds."""

_SPIN_NS = 300_000
_NEVER = 1 << 62


@dataclass(frozen=True, kw_only=True, slots=True)
class Batcher:
    """Batches that may be made, and how long the oldest query may wait for a full one. Nothing is ever padded.

    `sizes` rises and begins with 1, so that whatever waits can be answered.
    """

    sizes: tuple[int, ...] = (1,)
    max_queue_delay_ms: float = 0.0

    def __post_init__(self) -> None:
        if self.sizes[:1] != (1,) or list(self.sizes) != sorted(set(self.sizes)):
            raise ValueError(f"batch sizes {self.sizes} must begin with 1 and rise")

    @property
    def largest(self) -> int:
        """The batch that is answered at once."""
        return self.sizes[-1]

    def fitting(self) -> list[int]:
        """By number of waiting queries, up to the largest batch: the largest allowed batch of at most so many."""
        return [0, *(self.sizes[bisect_right(self.sizes, waiting) - 1] for waiting in range(1, self.largest + 1))]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Served:
    """What became of the queries, in the order they were due.

    `latencies_ns` count from `due_ns`, which counts from the start; a query that was never answered has waited until
    the server was stopped. `sizes`: every batch answered. `busy_ns`: time inside answers. `window_ns`: start to end.
    """

    due_ns: Nanoseconds
    latencies_ns: Nanoseconds
    answered: int
    sizes: Nanoseconds
    busy_ns: int
    window_ns: int


def poisson_arrivals_ns(rate_per_s: float, count: int, seed: Sequence[int]) -> Nanoseconds:
    """`count` instants, in nanoseconds from the start, with exponential gaps of mean 1 / `rate_per_s`."""
    gaps = np.random.default_rng(seed).exponential(1e9 / rate_per_s, count)
    return np.asarray(np.rint(np.cumsum(gaps)), dtype=np.int64)


@dataclass(frozen=True, kw_only=True, slots=True)
class RealWait:
    """Sleeps until shortly before the instant, then spins: a sleep alone ends late, by a tenth of a millisecond."""

    clock_ns: ClockNs = time.perf_counter_ns
    sleep_s: Callable[[float], None] = time.sleep
    spin_ns: int = _SPIN_NS

    def __call__(self, until_ns: int) -> None:
        """Returns at that instant of the clock or right after it."""
        clock_ns = self.clock_ns
        left_ns = until_ns - clock_ns()
        if left_ns > self.spin_ns:
            self.sleep_s((left_ns - self.spin_ns) * 1e-9)
        while clock_ns() < until_ns:
            pass


class _Lane:
    """Queries that may share a batch, first come first served. `ready_ns`: when its next batch may be taken."""

    __slots__ = ("due", "head", "numbers", "ready_ns")

    def __init__(self, instants: list[int], numbers: Sequence[int], delay_ns: int, largest: int) -> None:
        self.numbers = numbers
        self.due = [instants[number] for number in numbers] + [_NEVER] * largest
        self.head = 0
        self.ready_ns = min(self.due[0] + delay_ns, self.due[largest - 1])


def serve(
    answer: Answer,
    due_ns: Nanoseconds,
    batcher: Batcher,
    *,
    clock_ns: ClockNs = time.perf_counter_ns,
    wait_until: WaitUntil | None = None,
    lanes: Sequence[Sequence[int]] | None = None,
    patience_ns: int = _NEVER,
) -> Served:
    """Answers queries that are due at `due_ns` after now (rising), each once.

    `lanes`: rising numbers of queries that may share a batch, each query in one lane; None: all may. Of the lanes that
    are ready the one with the oldest query goes first. The server stops `patience_ns` after the last query was due:
    what is still waiting then has waited longer than that.
    """
    wait = wait_until or RealWait(clock_ns=clock_ns)
    fitting, largest, delay_ns = batcher.fitting(), batcher.largest, round(batcher.max_queue_delay_ms * 1e6)
    begins: list[int] = []
    ends: list[int] = []
    sizes: list[int] = []
    turns: list[_Lane] = []
    start_ns = clock_ns()
    instants = (due_ns + start_ns).tolist()
    stop_ns = min(_NEVER, instants[-1] + patience_ns)
    queues = [_Lane(instants, numbers, delay_ns, largest) for numbers in lanes or [range(len(instants))]]
    lane, several, more = queues[0], len(queues) > 1, largest - 1
    while True:
        now_ns = clock_ns()
        if several:
            lane = _next_lane(queues, now_ns)
        ready_ns = lane.ready_ns
        if ready_ns > now_ns:
            if ready_ns >= _NEVER:
                break
            wait(min(ready_ns, stop_ns + 1))
            now_ns = clock_ns()
        if now_ns > stop_ns:
            break
        due, head = lane.due, lane.head
        size = fitting[bisect_right(due, now_ns, head, head + largest) - head] if more else 1
        answer(lane.numbers, head, size)
        ends.append(clock_ns())
        begins.append(now_ns)
        sizes.append(size)
        if several:
            turns.append(lane)
        lane.head = head = head + size
        oldest_ns = due[head] + delay_ns
        lane.ready_ns = oldest_ns if not more or oldest_ns <= due[head + more] else due[head + more]
    done = _as_array(ends) - start_ns
    busy_ns = int((_as_array(ends) - _as_array(begins)).sum())
    return _served(due_ns, _order(queues, turns, sizes), _as_array(sizes), done, busy_ns, stop_ns - start_ns)


def _next_lane(lanes: Sequence[_Lane], now_ns: int) -> _Lane:
    ready = [lane for lane in lanes if lane.ready_ns <= now_ns]
    if ready:
        return min(ready, key=lambda lane: lane.due[lane.head])
    return min(lanes, key=lambda lane: lane.ready_ns)


def _as_array(instants: list[int]) -> Nanoseconds:
    return np.array(instants, dtype=np.int64)


def _order(queues: Sequence[_Lane], turns: Sequence[_Lane], sizes: Sequence[int]) -> Nanoseconds:
    """Numbers of the answered queries in the order of their answers."""
    if not turns:
        return np.asarray(queues[0].numbers, dtype=np.int64)[: queues[0].head]
    at = {id(lane): 0 for lane in queues}
    parts = []
    for lane, size in zip(turns, sizes, strict=True):
        head = at[id(lane)]
        parts.append(np.asarray(lane.numbers[head : head + size], dtype=np.int64))
        at[id(lane)] = head + size
    return np.concatenate(parts)


def _served(
    due_ns: Nanoseconds, order: Nanoseconds, sizes: Nanoseconds, ends: Nanoseconds, busy_ns: int, stop_ns: int
) -> Served:
    done_ns = np.full(len(due_ns), stop_ns, dtype=np.int64)
    done_ns[order] = np.repeat(ends, sizes)
    return Served(
        due_ns=due_ns,
        latencies_ns=done_ns - due_ns,
        answered=len(order),
        sizes=sizes,
        busy_ns=busy_ns,
        window_ns=int(ends[-1]) if len(ends) else 0,
    )


@dataclass(frozen=True, slots=True, eq=False)
class EngineAnswer:
    """Answers queries of one sample each, taken from the pool in turn; several are joined first, within the clock."""

    run: RunQuery
    inputs: Inputs

    def lanes(self, count: int) -> list[list[int]] | None:
        """Which of `count` queries may share a batch: those of equal shapes. None where all may."""
        pool = self.inputs.queries(1)
        kinds: dict[Hashable, int] = {}
        kind_of = [kinds.setdefault(self.inputs.shape_key(query), len(kinds)) for query in pool]
        if len(kinds) == 1:
            return None
        found: list[list[int]] = [[] for _ in kinds]
        for number in range(count):
            found[kind_of[number % len(pool)]].append(number)
        return [numbers for numbers in found if numbers]

    def __call__(self, numbers: Sequence[int], head: int, size: int) -> object:
        """Runs the engine once on those queries."""
        pool = self.inputs.queries(1)
        available = len(pool)
        if size == 1:
            return self.run(*pool[numbers[head] % available])
        return self.run(*self.inputs.join([pool[number % available] for number in numbers[head : head + size]]))

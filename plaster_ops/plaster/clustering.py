"""What queries that wait for each other are worth: slow ones come in clusters, so n of them are fewer than n.

A rule for independent queries (`percentiles.passes`) is given effective counts: both counts divided by the factor by
which clustering inflates the variance of the share of slow queries. Where a queue is empty it forgets its past, so
busy periods are independent of each other (the regenerative method, Crane and Iglehart 1975); a slow phase of the
machine spans several of them, which equal windows show. The larger of the two factors counts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from plaster_ops.plaster.percentiles import is_clearly_over, nearest_rank, passes

Nanoseconds = npt.NDArray[np.int64]
_WINDOWS = 20
_FEW_CLUSTERS = 30
_LOWER = (0.95, 0.9, 0.75, 0.5)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tail:
    """Queries of one stream against a limit. `inflation` >= 1: how many queries count as one independent one."""

    queries: int
    over: int
    inflation: float

    @property
    def effective(self) -> tuple[int, int]:
        """Independent queries that say as much, and how many of those were too slow, rounded against the server."""
        return math.floor(self.queries / self.inflation), math.ceil(self.over / self.inflation - 1e-9)

    def passes(self) -> bool:
        """99 % confident that p99 lies within the limit, clustering accounted for."""
        return passes(*self.effective)

    def is_clearly_over(self) -> bool:
        """True where a p99 within the limit would look like this less than once in a thousand times."""
        return is_clearly_over(*self.effective)

    @staticmethod
    def of_all(tails: "list[Tail]") -> "Tail":
        """Independent streams together; their inflations are averaged by queries."""
        queries = sum(tail.queries for tail in tails)
        inflation = sum(tail.inflation * tail.queries for tail in tails) / queries
        return Tail(queries=queries, over=sum(tail.over for tail in tails), inflation=inflation)


def judge_tail(due_ns: Nanoseconds, latencies_ns: Nanoseconds, limit_ns: float) -> Tail:
    """The stream's queries over the limit; both arrays in the order the queries were due, not empty."""
    return Tail(
        queries=len(latencies_ns),
        over=int((latencies_ns > limit_ns).sum()),
        inflation=inflation(due_ns, latencies_ns),
    )


def judge_turns(streams: Sequence[Nanoseconds], limit_ns: float) -> Tail:
    """Queries that were asked one after the other, a stream for each process, together; none of them empty.

    None waits for another, so slow ones come in clusters only where the machine had a slow phase or a process was slow
    as a whole. Equal windows of all streams show it, at the limit itself: without a queue what lies below says little.
    """
    slow = np.concatenate(streams) > limit_ns
    ends = np.cumsum([len(stream) for stream in streams])
    starts = [
        end - len(stream) + np.arange(parts) * len(stream) // parts
        for stream, end in zip(streams, ends, strict=True)
        for parts in (min(_WINDOWS, len(stream)),)
    ]
    over = int(slow.sum())
    found = max(1.0, _ratio(slow, np.concatenate(starts))) if over > 1 else 1.0
    return Tail(queries=len(slow), over=over, inflation=found)


def inflation(due_ns: Nanoseconds, latencies_ns: Nanoseconds, quantile: float = 0.99) -> float:
    """Variance of the share of queries above the stream's own quantile / what it were if queries were independent.

    The quantile of the stream stands in for the limit: there are always slow queries to look at, and where it matters,
    at the limit, the two are the same. Where they fall into fewer than 30 clusters, lower quantiles are asked too.
    """
    cycles = busy_periods(due_ns, latencies_ns)
    equal = np.arange(_WINDOWS) * len(latencies_ns) // _WINDOWS
    found = 1.0
    for asked in (quantile, *_LOWER):
        rank = nearest_rank(len(latencies_ns), asked) - 1
        slow = latencies_ns > np.partition(latencies_ns, rank)[rank]
        found = max(found, _ratio(slow, cycles), _ratio(slow, equal) if len(slow) >= 2 * _WINDOWS else 1.0)
        if np.count_nonzero(np.add.reduceat(slow, cycles, dtype=np.int64)) >= _FEW_CLUSTERS:
            break
    return found


def busy_periods(due_ns: Nanoseconds, latencies_ns: Nanoseconds) -> npt.NDArray[np.int64]:
    """Positions of the queries that found the server with nothing to do; the first is one of them."""
    done_ns = np.maximum.accumulate(due_ns + latencies_ns)
    return np.concatenate(([0], 1 + np.flatnonzero(due_ns[1:] >= done_ns[:-1])))


def _ratio(slow: npt.NDArray[np.bool_], starts: npt.NDArray[np.int64]) -> float:
    """Inflation from the counts in groups that begin at `starts`: a ratio estimator over unequal groups."""
    groups = len(starts)
    share = float(slow.mean())
    if groups < 2 or not 0.0 < share < 1.0:
        return 1.0
    sizes = np.diff(np.append(starts, len(slow)))
    counts = np.add.reduceat(slow, starts, dtype=np.int64)
    squares = float(np.square(counts - share * sizes).sum()) * groups / (groups - 1)
    return squares / (len(slow) * share * (1.0 - share))

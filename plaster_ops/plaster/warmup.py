"""Warm-up: queries that are not measured, until an engine answers steadily or the time for it is spent."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from plaster_ops.plaster.steadiness import WindowFigures, what_moved, window_figures
from plaster_ops.plaster.timing import ClockNs, Query, RunQuery, time_queries

_LEAST_QUERIES = 10
_WINDOWS = 5
_MOST_WINDOWS = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Warmth:
    """`p50_ns` is the median of the last window; `is_steady` where the last three windows agreed (`steadiness`)."""

    p50_ns: int
    queries: int
    seconds: float
    is_steady: bool


def warm_up(
    run: RunQuery,
    queries: Sequence[Query],
    *,
    least_s: float,
    limit_s: float,
    clock_ns: ClockNs,
    cpu_s: Callable[[], float],
) -> Warmth:
    """At least 10 queries and `least_s`, then until steady or `limit_s`.

    An engine too slow for 10 queries stops at 3 x `limit_s`.
    """
    slice_ns = max(1, round(least_s * 1e9 / _WINDOWS))
    windows: list[WindowFigures] = []
    done, spent_s = 0, 0.0
    while len(windows) < _MOST_WINDOWS:
        timed = time_queries(
            run, queries, first=done, count=4096, limit_ns=slice_ns, clock_ns=clock_ns, cpu_s=cpu_s, settle=0
        )
        windows.append(window_figures(sorted(timed.latencies_ns), timed.window_ns * 1e-9))
        done += len(timed.latencies_ns)
        spent_s += timed.window_ns * 1e-9
        if done >= _LEAST_QUERIES and spent_s >= least_s and what_moved(windows) is None:
            break
        if spent_s >= limit_s and (done >= _LEAST_QUERIES or spent_s >= 3 * limit_s):
            break
    return Warmth(
        p50_ns=round(windows[-1].figures[1]), queries=done, seconds=spent_s, is_steady=what_moved(windows) is None
    )

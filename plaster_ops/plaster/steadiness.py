"""Did an engine settle? Its last three windows must agree on rate and percentiles; a mean would hide a tail that moves.

Used on the way in (warm-up) and on what was measured (a row's status).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from plaster_ops.plaster.percentiles import fewest_for_interval, percentile

MOST_RATIO = 1.10
"""Largest / smallest of three windows that count as alike."""
LAST = 3
LEAST_QUERIES = 50
"""Below these a window's p90 is one or two of its slowest queries."""
_NAMES = ("rate", "p50", "p90", "p99")
_FEWEST = (1, 1, LEAST_QUERIES, fewest_for_interval(0.99))


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowFigures:
    """One window: queries per second, then p50, p90, p99 in ns; `queries` says which of them may be looked at."""

    queries: int
    figures: tuple[float, float, float, float]


def window_figures(ordered_ns: Sequence[int], window_s: float) -> WindowFigures:
    """Of latencies sorted upwards, at least one, and the seconds that they took together."""
    rate_per_s = len(ordered_ns) / max(window_s, 1e-9)
    p50, p90, p99 = (max(1.0, float(percentile(ordered_ns, quantile))) for quantile in (0.50, 0.90, 0.99))
    return WindowFigures(queries=len(ordered_ns), figures=(rate_per_s, p50, p90, p99))


def what_moved(windows: Sequence[WindowFigures]) -> str | None:
    """None where the last three windows are alike; else the figure that moved most, and by how much.

    Compared: rate and p50; p90 from 50 queries a window; p99 from 368. Fewer than three windows have not settled.
    """
    last = windows[-LAST:]
    if len(last) < LAST:
        return f"{len(last)} of {LAST} windows"
    fewest = min(window.queries for window in last)
    spreads = [
        (max(column) / min(column), name)
        for name, needed, column in zip(_NAMES, _FEWEST, zip(*(w.figures for w in last), strict=True), strict=True)
        if fewest >= needed
    ]
    ratio, name = max(spreads)
    return f"{name} moved by {ratio - 1.0:.0%}" if ratio > MOST_RATIO else None

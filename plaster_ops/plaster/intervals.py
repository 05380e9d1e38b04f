"""Intervals of a run's value: what its queries leave open, and what the next restart of its processes would change.

Neighbouring queries and blocks are alike, so rates are drawn again by windows: runs of consecutive blocks of one
process, at most 20 in each. Restarts differ besides, and there are two or three of them.
"""

import math
import statistics
from collections.abc import Callable, Sequence

import numpy as np

from plaster_ops.domain import student
from plaster_ops.plaster.evidence import MeasuredBlock, by_process, pooled_ns, windows
from plaster_ops.plaster.percentiles import nearest_rank, rank_interval

Interval = tuple[float, float]
_RESAMPLES = 1000
_SEED = 20261
_WINDOWS = 20
_LEAST_WINDOWS = 4
RESTART_SD = 0.015
"""How far, as a ratio, one restart of a process usually lies from the next; counts like one process more."""


def percentile_interval_ms(blocks: Sequence[MeasuredBlock], quantile: float) -> Interval | None:
    """95 % interval: order statistics of the pooled samples, and how far the processes lie apart."""
    ordered = pooled_ns(blocks)
    ranks = rank_interval(len(ordered), quantile)
    if ranks is None:
        return None
    single = [int(part[nearest_rank(len(part), quantile) - 1]) for part in map(pooled_ns, by_process(blocks))]
    value = int(ordered[nearest_rank(len(ordered), quantile) - 1])
    low, high = _with_restarts(value, int(ordered[ranks[0] - 1]), int(ordered[ranks[1] - 1]), single)
    return low * 1e-6, high * 1e-6


def total_ratio(
    blocks: Sequence[MeasuredBlock],
    over: Callable[[MeasuredBlock], float],
    under: Callable[[MeasuredBlock], float],
) -> tuple[float, Interval | None]:
    """Sum of `over` / sum of `under`, and its 95 % interval: a bootstrap over windows, and how far the processes lie
    apart. No interval below 4 windows. Raises `ZeroDivisionError` where `under` sums to zero.
    """
    parts = [window for part in by_process(blocks) for window in windows(part, _WINDOWS)]
    tops = np.array([sum(map(over, part)) for part in parts], dtype=float)
    bottoms = np.array([sum(map(under, part)) for part in parts], dtype=float)
    if not bottoms.sum() > 0:
        raise ZeroDivisionError("the blocks hold no time, samples or joules to divide by")
    value = float(tops.sum() / bottoms.sum())
    if len(parts) < _LEAST_WINDOWS or not (bottoms > 0).all():
        return value, None
    picks = np.random.default_rng(_SEED).integers(0, len(parts), (_RESAMPLES, len(parts)))
    ratios = tops[picks].sum(axis=1) / bottoms[picks].sum(axis=1)
    low, high = np.quantile(ratios, (0.025, 0.975))
    own = [sum(map(over, part)) / sum(map(under, part)) for part in by_process(blocks)]
    return value, _with_restarts(value, float(low), float(high), own)


def _with_restarts(value: float, low: float, high: float, own: Sequence[float]) -> Interval:
    """The interval `low` to `high` that speaks for these processes only, made one that holds for the next ones too.

    `own`: the processes' values, whose logs have a moderated t interval, prior `RESTART_SD` worth one process. Both
    half-widths are added as independent errors, on each side, and the result reaches to each of `own`. Values that
    are not positive have no logs: only the reach.
    """
    if min(value, low, *own) > 0.0:
        count = len(own)
        apart = statistics.variance(map(math.log, own)) if count > 1 else 0.0
        spread = student.moderated(apart, count - 1, prior=RESTART_SD, weight=1)
        half = student.half_width(student.error_of_mean(spread.variance, count), spread.freedom)
        low = value * math.exp(-math.hypot(half, math.log(value / min(low, value))))
        high = value * math.exp(math.hypot(half, math.log(max(high, value) / value)))
    return min(low, *own), max(high, *own)

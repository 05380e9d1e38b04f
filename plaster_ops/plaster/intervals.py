"""Intervals from windows and processes: neighbouring queries and blocks are alike, windows and restarts carry noise.

A window is a run of consecutive blocks of one process, at most 20 of them in each.
"""

from collections.abc import Callable, Sequence

import numpy as np

from plaster_ops.plaster.evidence import MeasuredBlock, by_process, pooled_ns, windows
from plaster_ops.plaster.percentiles import nearest_rank, rank_interval

Interval = tuple[float, float]
_RESAMPLES = 1000
_SEED = 20261
_WINDOWS = 20
_LEAST_WINDOWS = 4


def percentile_interval_ms(blocks: Sequence[MeasuredBlock], quantile: float) -> Interval | None:
    """95 % order-statistic interval of the pooled samples, widened to the percentiles of the single processes.

    The order statistics alone would speak for these processes only; the next restart differs more than that.
    """
    ordered = pooled_ns(blocks)
    ranks = rank_interval(len(ordered), quantile)
    if ranks is None:
        return None
    single = [part[nearest_rank(len(part), quantile) - 1] for part in map(pooled_ns, by_process(blocks))]
    bounds = [int(ordered[ranks[0] - 1]), int(ordered[ranks[1] - 1]), *map(int, single)]
    return min(bounds) * 1e-6, max(bounds) * 1e-6


def total_ratio(
    blocks: Sequence[MeasuredBlock],
    over: Callable[[MeasuredBlock], float],
    under: Callable[[MeasuredBlock], float],
) -> tuple[float, Interval | None]:
    """Sum of `over` / sum of `under`, and its 95 % interval from a bootstrap over windows.

    The interval is widened to the ratios of the single processes. No interval below 4 windows.
    Raises `ZeroDivisionError` where `under` sums to zero.
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
    return value, (min(float(low), *own), max(float(high), *own))

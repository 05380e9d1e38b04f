"""Percentiles with honest bounds: nearest rank, order-statistic intervals, and MLPerf LoadGen's early-stopping test.

Distribution-free: everything follows from the binomial law of how many samples lie below a quantile. Standard library
only, so that the measuring process can use it without loading scipy.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

_TAIL = 0.025
_DOUBT = 0.01
_NEGLIGIBLE = 1e-18


def binomial_cdf(successes: int, trials: int, probability: float) -> float:
    """P[Binomial(trials, probability) <= successes], summed from the nearer tail; relative error below 1e-9."""
    if successes < 0:
        return 0.0
    if successes >= trials:
        return 1.0
    if successes < trials * probability:
        return _tail_sum(successes, trials, probability)
    return 1.0 - _tail_sum(trials - successes - 1, trials, 1.0 - probability)


def _tail_sum(successes: int, trials: int, probability: float) -> float:
    log_term = (
        math.lgamma(trials + 1)
        - math.lgamma(successes + 1)
        - math.lgamma(trials - successes + 1)
        + successes * math.log(probability)
        + (trials - successes) * math.log1p(-probability)
    )
    term = total = math.exp(log_term)
    odds = (1.0 - probability) / probability
    for k in range(successes, 0, -1):
        term *= odds * k / (trials - k + 1)
        total += term
        if term <= total * _NEGLIGIBLE:  # both are zero far out in the tail
            break
    return min(total, 1.0)


def nearest_rank(count: int, quantile: float) -> int:
    """1-based rank of the nearest-rank quantile in `count` sorted samples."""
    return max(1, math.ceil(quantile * count - 1e-9))


def percentile(ordered: Sequence[int], quantile: float) -> int:
    """The nearest-rank quantile of samples sorted upwards; no interpolation."""
    return ordered[nearest_rank(len(ordered), quantile) - 1]


@lru_cache(maxsize=4096)
def rank_interval(count: int, quantile: float) -> tuple[int, int] | None:
    """1-based ranks whose samples bound the quantile with 95 % confidence; None where `count` is too small for both."""
    lowest = _first(lambda rank: binomial_cdf(rank - 1, count, quantile) > _TAIL, 1, count) - 1
    highest = _first(lambda rank: 1.0 - binomial_cdf(rank - 1, count, quantile) <= _TAIL, 1, count + 1)
    return (lowest, highest) if lowest >= 1 and highest <= count else None


def fewest_for_interval(quantile: float) -> int:
    """The smallest sample for which `rank_interval` exists: 6 for p50, 36 for p90, 72 for p95, 368 for p99."""
    tail = min(quantile, 1.0 - quantile)
    return math.ceil(math.log(_TAIL) / math.log1p(-tail) - 1e-12)


@lru_cache(maxsize=4096)
def early_stopping_rank(count: int, quantile: float) -> int | None:
    """Largest t >= 1 with P[Binomial(count, 1 - quantile) <= t] <= 0.01; None where there is none.

    The t-th largest latency is then a 99 %-confident upper estimate of the quantile (MLPerf LoadGen, d = 0, c = 0.99).
    """
    first_above = _first(lambda t: binomial_cdf(t, count, 1.0 - quantile) > _DOUBT, 0, count)
    return first_above - 1 if first_above >= 2 else None


def early_stopping_estimate(ordered: Sequence[int], quantile: float) -> int | None:
    """The 99 %-confident upper estimate of the quantile; None where there are too few samples."""
    rank = early_stopping_rank(len(ordered), quantile)
    return None if rank is None else ordered[len(ordered) - rank]


def fewest_to_pass(over_limit: int, quantile: float = 0.99) -> int:
    """Queries needed so that `passes` holds with `over_limit` of them too slow: 459 for none at p99."""
    low = over_limit + 1
    high = max(64, 2 * low)
    while not passes(high, over_limit, quantile):
        high *= 2
    return _first(lambda count: passes(count, over_limit, quantile), low, high)


def most_to_pass(queries: int, quantile: float = 0.99) -> int:
    """The most of that many queries that may be too slow so that `passes` holds; -1 where not even none may."""
    return _first(lambda over: not passes(queries, over, quantile), 0, queries) - 1


def passes(queries: int, over_limit: int, quantile: float = 0.99) -> bool:
    """LoadGen's pass rule: 99 % confident that the quantile lies within the limit."""
    return queries > 0 and binomial_cdf(over_limit, queries, 1.0 - quantile) <= _DOUBT


def is_clearly_over(queries: int, over_limit: int, quantile: float = 0.99) -> bool:
    """True where a quantile within the limit would show this many slow queries less than once in a thousand times."""
    return over_limit > 0 and 1.0 - binomial_cdf(over_limit - 1, queries, 1.0 - quantile) <= 0.001


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """Smallest value in [low, high] for which the monotone `holds` is true; high + 1 where it never is."""
    high += 1
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low

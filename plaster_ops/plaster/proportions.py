"""Proportions: Wilson's interval for one; McNemar's mid-p and Tango's score interval for two on the same samples."""

import math
from collections.abc import Callable

from plaster_ops.plaster.percentiles import binomial_cdf

Interval = tuple[float, float]
Z95, Z90 = 1.959963984540054, 1.6448536269514722


def wilson_interval(successes: int, trials: int, z: float = Z95) -> Interval:
    """Wilson's score interval of successes / trials."""
    share = successes / trials
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    centre = share + z * z / (2 * trials)
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def mcnemar_midp(gained: int, lost: int) -> float:
    """Two-sided mid-p of McNemar's exact test on the discordant counts; 1 where there are none."""
    discordant, fewer = gained + lost, min(gained, lost)
    if gained == lost:
        return 1.0
    below = binomial_cdf(fewer - 1, discordant, 0.5)
    return min(1.0, below + binomial_cdf(fewer, discordant, 0.5))


def paired_interval(gained: int, lost: int, trials: int, z: float = Z95) -> Interval:
    """Tango's score interval of the difference of two paired proportions, (gained - lost) / trials.

    It inverts the score test, so it excludes zero exactly where McNemar's z exceeds `z`; without discordant pairs its
    bounds are z^2 / (trials + z^2) on either side.
    """
    estimate = (gained - lost) / trials
    low = _cross(lambda delta: _score(gained, lost, trials, delta) - z, -1.0, estimate)
    high = _cross(lambda delta: _score(gained, lost, trials, delta) + z, estimate, 1.0)
    return low, high


def _score(gained: int, lost: int, trials: int, delta: float) -> float:
    """Score statistic of the hypothesis `delta`; falls as delta rises."""
    linear = (2 * trials - gained + lost) * delta - gained - lost
    constant = -lost * delta * (1 - delta)
    nuisance = (math.sqrt(max(0.0, linear * linear - 8 * trials * constant)) - linear) / (4 * trials)
    variance = trials * (2 * nuisance + delta * (1 - delta))
    distance = gained - lost - trials * delta
    if variance <= 0:
        return 0.0 if distance == 0 else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)


def _cross(falling: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function crosses zero, by bisection to 1e-12."""
    for _ in range(60):
        middle = (low + high) / 2
        if falling(middle) > 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2

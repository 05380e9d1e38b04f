"""Student's t for few values: intervals, p-values, and a spread that a prior steadies.

scipy.special is loaded when it is first asked for; scipy.stats, which gives the same, takes twice as long."""

import math
from dataclasses import dataclass
from functools import lru_cache

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % and 90 % interval and the two-sided p-value of zero."""

    value: float
    ci95: Interval
    ci90: Interval
    p_value: float


@dataclass(frozen=True, slots=True)
class Spread:
    """A variance and the degrees of freedom that it is known with."""

    variance: float
    freedom: int


def moderated(variance: float, freedom: int, *, prior: float, weight: int) -> Spread:
    """A variance on `freedom` steadied by the standard deviation `prior`, worth `weight` degrees of freedom.

    S^2 = (weight prior^2 + freedom variance) / (weight + freedom).
    """
    total = weight + freedom
    return Spread((weight * prior**2 + freedom * variance) / total, total)


def half_width(standard_error: float, freedom: int, confidence: float = 0.95) -> float:
    """Half of the interval's width."""
    return _quantile(freedom, (1.0 + confidence) / 2.0) * standard_error


def interval(value: float, standard_error: float, freedom: int, confidence: float = 0.95) -> Interval:
    """The interval around the value."""
    half = half_width(standard_error, freedom, confidence)
    return value - half, value + half


def two_sided_p(value: float, standard_error: float, freedom: int) -> float:
    """How often zero would look at least as far off; without any error 0, or 1 for zero itself."""
    from scipy.special import stdtr

    if standard_error == 0.0:
        return 1.0 if value == 0.0 else 0.0
    return float(2 * stdtr(freedom, -abs(value) / standard_error))


def one_sided_p(deviations: float, freedom: int) -> float:
    """How often a value lies at least so many standard errors above its mean."""
    from scipy.special import stdtr

    return float(stdtr(freedom, -deviations))


def estimate(value: float, standard_error: float, freedom: int) -> Estimate:
    """The value with all of it."""
    return Estimate(
        value,
        interval(value, standard_error, freedom, 0.95),
        interval(value, standard_error, freedom, 0.90),
        two_sided_p(value, standard_error, freedom),
    )


def error_of_mean(variance: float, count: int) -> float:
    """Standard error of the mean of that many values."""
    return math.sqrt(variance / count)


@lru_cache
def _quantile(freedom: int, probability: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, probability))

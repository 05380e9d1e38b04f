"""Where a series is most unlike itself: the largest robust two-sample t over all splits of it, in one pass of arrays.

Robust in that deviations are clipped: a spike counts for little, a level for what it is. Imports numpy; scipy is
loaded when a p-value is asked for.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

FEWEST_BEFORE, FEWEST_AFTER = 5, 3
"""Values that a split needs on either side: one value alone is no level, and two may be one bad night and the next."""

NORMAL_MAD = 1.4826
"""Standard deviations of a normal law in its median absolute deviation."""

_CLIP_LEFT, _CLIP_RIGHT = 3.0, 5.0
_SMALLEST_SPREAD = 0.5
_MOST_RHO = 0.8
_FEWEST_FOR_RHO = 8
_RHO_SHRINK = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """`at`: place of the first value of the right side. `shift`: right median - left median; `sigma`: spread around
    both. `p_value`: two-sided, of Student's t with n - 2 degrees of freedom, deflated for autocorrelation."""

    at: int
    shift: float
    sigma: float
    t: float
    p_value: float


def best_split(y: Numbers) -> Split | None:
    """The split with the largest t; None where none leaves enough on both sides, or all values are equal."""
    n = len(y)
    counts = np.arange(FEWEST_BEFORE, n - FEWEST_AFTER + 1)
    if len(counts) == 0 or np.all(y == y[0]):
        return None
    is_left = np.arange(n) < counts[:, None]
    low, high = _medians(y, is_left, counts), _medians(y, ~is_left, n - counts)
    residuals = np.sort(np.abs(y - np.where(is_left, low[:, None], high[:, None])), axis=1)
    mad = (residuals[:, (n - 1) // 2] + residuals[:, n // 2]) / 2
    sigma = np.maximum(NORMAL_MAD * mad * np.sqrt(n / (n - 3)), spread_floor(y))
    t = _t(y, is_left, counts, low, sigma)
    best = int(np.argmax(t))
    at = int(counts[best])
    deflated = float(t[best]) / inflation(y[:at])
    return Split(
        at=at,
        shift=float(high[best] - low[best]),
        sigma=float(sigma[best]),
        t=deflated,
        p_value=two_sided_p(deflated, n - 2),
    )


def spread_floor(y: Numbers) -> float:
    """Half a step of what the values are rounded to, where at most half of them are distinct; else next to nothing."""
    distinct = np.unique(y)
    if len(distinct) < 2:
        return 1e-12
    if len(distinct) <= len(y) / 2:
        return float(np.diff(distinct).min()) / 2
    return max(1e-12, float(np.ptp(distinct)) * 1e-9)


def inflation(y: Numbers) -> float:
    """By how much neighbours that are alike make a t too large: sqrt((1 + rho) / (1 - rho)), 1 where there are few."""
    n = len(y)
    if n < _FEWEST_FOR_RHO:
        return 1.0
    d = y - y.mean()
    total = float(d @ d)
    if total == 0.0:
        return 1.0
    raw = float(d[1:] @ d[:-1]) / total
    unbiased = raw + (1 + 4 * raw) / n
    rho = min(_MOST_RHO, max(0.0, unbiased * n / (n + _RHO_SHRINK)))
    return float(np.sqrt((1 + rho) / (1 - rho)))


def two_sided_p(t: float, freedom: int) -> float:
    """How often a t of that size or more comes of nothing."""
    from scipy.special import stdtr

    return float(2 * stdtr(freedom, -abs(t)))


def two_sample_t(left: Numbers, right: Numbers) -> float:
    """The same statistic of one given split, deflated by nothing."""
    y = np.concatenate([left, right])
    counts = np.array([len(left)])
    is_left = np.arange(len(y)) < counts[:, None]
    low, high = np.median(left), np.median(right)
    mad = float(np.median(np.abs(np.concatenate([left - low, right - high]))))
    sigma = np.array([max(NORMAL_MAD * mad * np.sqrt(len(y) / (len(y) - 3)), spread_floor(y))])
    return float(_t(y, is_left, counts, np.array([low]), sigma)[0])


def _medians(y: Numbers, chosen: NDArray[np.bool_], counts: NDArray[np.int64]) -> Numbers:
    """The median of the chosen values of each row, of which there are `counts`."""
    ordered = np.sort(np.where(chosen, y, np.inf), axis=1)
    rows = np.arange(len(counts))
    found: Numbers = (ordered[rows, (counts - 1) // 2] + ordered[rows, counts // 2]) / 2
    return found


def _t(y: Numbers, is_left: NDArray[np.bool_], counts: NDArray[np.int64], low: Numbers, sigma: Numbers) -> Numbers:
    """Absolute t per split, of deviations from the left median in units of sigma."""
    n = len(y)
    d = np.clip((y - low[:, None]) / sigma[:, None], -_CLIP_RIGHT, _CLIP_RIGHT)
    left, right = is_left.astype(np.float64), (~is_left).astype(np.float64)
    rest = n - counts
    mean_left = (np.clip(d, -_CLIP_LEFT, _CLIP_LEFT) * left).sum(axis=1) / counts
    mean_right = (d * right).sum(axis=1) / rest
    centre_left = (d * left).sum(axis=1) / counts
    squares = (d * d).sum(axis=1) - counts * centre_left**2 - rest * mean_right**2
    spread = np.maximum(np.sqrt(np.maximum(squares, 0.0) / (n - 2)), _SMALLEST_SPREAD)
    found: Numbers = np.abs(mean_right - mean_left) / (spread * np.sqrt(1 / counts + 1 / rest))
    return found

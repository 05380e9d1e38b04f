"""What kind of change it is: a step or a ramp, a slow loss that no single split shows, or only more noise."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from plaster_ops.domain.alarm import AlarmShape
from plaster_ops.domain.scan_splits import FEWEST_BEFORE, NORMAL_MAD, Numbers, inflation, two_sample_t, two_sided_p

BLOCK = 10
"""Values in a row whose median is a level."""

NOISE_RATIO = 2.0
"""The newest values scatter more where their MAD is so many times that of those before, and Levene's test agrees."""

_NOISE_ALPHA = 0.01
_NEWEST_FOR_NOISE = 20
_FEWEST_SLOPED = 8
_BIC_APART = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseGrew:
    """`ratio`: spread of the newest `n` values over that of the values before; `p_value`: Levene's, of medians."""

    ratio: float
    n: int
    p_value: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Creep:
    """The newest values are worse than the `best` ones of their regime. `at`: where they left that level for good."""

    at: int
    best: slice
    newest: slice
    shift: float
    p_value: float


def shape_of(y: Numbers, at: int) -> AlarmShape:
    """Two levels, or one level and a slope from some place on, which may be the first: the smaller BIC.

    Of absolute residuals; both have four numbers (two levels and a place, or a level, a slope and a place; the
    spread). A slope of a few values is a step with noise, so a ramp has eight at least and is better beyond doubt.
    """
    left, right = y[:at], y[at:]
    levels = np.concatenate([left - np.median(left), right - np.median(right)])
    places = np.arange(len(y), dtype=np.float64)
    step = float(np.abs(levels).mean())
    knees = range(len(y) - _FEWEST_SLOPED + 1)
    ramp = min(_sloped(y, np.maximum(0.0, places - knee)) for knee in knees)
    is_ramp = ramp < step * float(np.exp(-_BIC_APART / (2 * len(y))))
    return AlarmShape.RAMP if is_ramp else AlarmShape.STEP


def _sloped(y: Numbers, x: Numbers) -> float:
    """Mean absolute residual of a level that slopes along x, by least squares."""
    centred = x - x.mean()
    slope = float(centred @ y) / float(centred @ centred)
    return float(np.abs(y - y.mean() - slope * centred).mean())


def noise_grew(values: Numbers | Sequence[float]) -> NoiseGrew | None:
    """Whether the newest values, at most 20 and at most half, scatter more than the ones before."""
    y = np.asarray(values, dtype=np.float64)
    n = min(_NEWEST_FOR_NOISE, len(y) // 2)
    if n < FEWEST_BEFORE + 3:
        return None
    old, new = (np.abs(part - np.median(part)) for part in (y[:-n], y[-n:]))
    was, now = float(np.median(old)) * NORMAL_MAD, float(np.median(new)) * NORMAL_MAD
    if was == 0.0 or now / was <= NOISE_RATIO:
        return None
    p_value = _levene_p(old, new)
    return NoiseGrew(ratio=now / was, n=n, p_value=p_value) if p_value < _NOISE_ALPHA else None


def _levene_p(old: Numbers, new: Numbers) -> float:
    """Levene's test around medians (Brown and Forsythe), of two groups of absolute deviations."""
    within = float(((old - old.mean()) ** 2).sum() + ((new - new.mean()) ** 2).sum())
    if within == 0.0:
        return 0.0
    freedom = len(old) + len(new) - 2
    difference = float(new.mean() - old.mean())
    error = np.sqrt(within / freedom * (1 / len(old) + 1 / len(new)))
    return two_sided_p(difference / float(error), freedom)


def find_creep(y: Numbers, *, is_worse_higher: bool, alpha: float) -> Creep | None:
    """The newest ten values against the best ten in a row before them, in blocks from the regime's beginning.

    The first block is among them, so a loss against where the regime began is found too. Alpha is shared by the
    blocks; neighbours that are alike, around a straight line, deflate t.
    """
    blocks = (len(y) - BLOCK) // BLOCK
    if blocks < 1:
        return None
    sign = 1.0 if is_worse_higher else -1.0
    levels = np.median(y[: blocks * BLOCK].reshape(blocks, BLOCK), axis=1)
    first = int(np.argmin(sign * levels)) * BLOCK
    best, newest = slice(first, first + BLOCK), slice(len(y) - BLOCK, len(y))
    shift = float(np.median(y[newest]) - levels[first // BLOCK])
    if sign * shift <= 0:
        return None
    t = two_sample_t(y[best], y[newest]) / inflation(_around_a_line(y))
    p_value = two_sided_p(t, 2 * BLOCK - 2)
    if p_value * blocks >= alpha:
        return None
    return Creep(at=_left_at(y, first, shift), best=best, newest=newest, shift=shift, p_value=p_value * blocks)


def _around_a_line(y: Numbers) -> Numbers:
    x = np.arange(len(y), dtype=np.float64)
    x -= x.mean()
    found: Numbers = y - y.mean() - x * (float(x @ y) / float(x @ x))
    return found


def _left_at(y: Numbers, first: int, shift: float) -> int:
    """The first value of the newest stretch whose running medians of five all lie beyond half of the shift."""
    level = float(np.median(y[first : first + BLOCK]))
    beyond = [(float(np.median(y[max(0, i - 2) : i + 3])) - level) / shift > 0.5 for i in range(first, len(y))]
    at = len(beyond)
    while at > 0 and beyond[at - 1]:
        at -= 1
    return min(len(y) - 1, first + max(1, at))

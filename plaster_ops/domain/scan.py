"""Did a metric leave its level? A change-point scan of one series of retrains, newest value last.

A regime is what follows the last change that was told. Its newest values are split everywhere; the split with the
largest robust t is a change where chance would show one as large once in ten thousand looks, and where both medians
differ by more than does not matter. Deterministic, no clock, no file: the same values give the same answer.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from plaster_ops.domain.alarm import AlarmShape
from plaster_ops.domain.metric import Better, Scale
from plaster_ops.domain.scan_levels import NoiseGrew, find_creep, noise_grew, shape_of
from plaster_ops.domain.scan_splits import Numbers, best_split
from plaster_ops.domain.watch import FEWEST

ALPHA = 1e-4
"""Of one look at one metric; repeated looks are counted in: docs/benchmarks.md has what comes of it."""

_TOO_LARGE = 1e150

WINDOW = 120
"""Newest values of a regime that are looked at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangePoint:
    """`at`: place in the values given of the first one of the new level. `before`, `after`: medians, in their unit.

    `change`: after / before - 1, or after - before where the scale is a difference or `before` is 0. `p_value` is None
    where there is no test.
    """

    at: int
    before: float
    after: float
    change: float
    p_value: float | None
    shape: AlarmShape


@dataclass(frozen=True, kw_only=True, slots=True)
class Scan:
    """What one look at a regime found. `n`: its values that can be used; `level`: their median, None without any.

    `reason` says why nothing could be tested, `left_out` which values were passed over; None where there is nothing
    to say. `noise`: its newest values scatter more than those before; a note, never a change of level.
    """

    n: int
    level: float | None
    change: ChangePoint | None = None
    reason: str | None = None
    left_out: str | None = None
    noise: NoiseGrew | None = None


def scan(
    values: Sequence[float | None],
    *,
    scale: Scale = Scale.RATIO,
    start: int = 0,
    least: float = 0.0,
    margin: float | None = None,
    better: Better = Better.NEITHER,
    alpha: float = ALPHA,
) -> Scan:
    """Looks at the regime that begins at `start`. Raises nothing: values that are no numbers are left out.

    `least`: the smallest change that is told, as a part of 1, or as a difference. `margin`: the slow loss, in the
    direction opposite to `better`, that is told as `creep`; None: not looked for.
    """
    places = [place for place in range(start, len(values)) if _is_usable(values[place], scale)]
    kept = np.array([values[place] for place in places], dtype=np.float64)
    left_out = _left_out(values[start:], len(places), scale)
    if len(kept) == 0:
        return Scan(n=0, level=None, reason=_too_few(0), left_out=left_out)
    level = float(np.median(kept))
    if scale is Scale.EXACT:
        change = next(_exact(values, start, least), None)
        return Scan(n=len(kept), level=level if change is None else change.after, change=change, left_out=left_out)
    if len(kept) < FEWEST:
        return Scan(n=len(kept), level=level, reason=_too_few(len(kept)), left_out=left_out)
    if np.all(kept == kept[0]):
        return Scan(n=len(kept), level=level, reason="every value is the same", left_out=left_out)
    y = np.log(kept) if scale is Scale.RATIO else kept
    change = _tested(y, kept, places, scale, least, alpha)
    if change is None and margin is not None and better is not Better.NEITHER:
        change = _crept(y, kept, places, scale, margin, better, alpha)
    noise = noise_grew(y[-WINDOW:]) if change is None else None
    return Scan(n=len(kept), level=level, change=change, left_out=left_out, noise=noise)


def scan_all(
    values: Sequence[float | None],
    *,
    scale: Scale = Scale.RATIO,
    start: int = 0,
    least: float = 0.0,
    margin: float | None = None,
    better: Better = Better.NEITHER,
) -> list[ChangePoint]:
    """Every change after `start` that one look at the whole of it finds, each regime looked at in turn."""
    if scale is Scale.EXACT:
        return list(_exact(values, start, least))
    found: list[ChangePoint] = []
    while True:
        change = scan(values, scale=scale, start=start, least=least, margin=margin, better=better).change
        if change is None or change.at <= start:
            return found
        found.append(change)
        start = change.at


def _is_usable(value: float | None, scale: Scale) -> bool:
    """Of a difference the square must be a number too; of a ratio the logarithm is looked at."""
    if value is None or not math.isfinite(value):
        return False
    return value > 0 if scale is Scale.RATIO else abs(value) < _TOO_LARGE


def _left_out(values: Sequence[float | None], kept: int, scale: Scale) -> str | None:
    if kept == len(values):
        return None
    why = "not a positive number" if scale is Scale.RATIO else "not a number of usable size"
    return f"{len(values) - kept} of {len(values)} values left out: {why}"


def _too_few(n: int) -> str:
    return f"not enough history ({n} of {FEWEST})"


def _tested(
    y: Numbers, kept: Numbers, places: Sequence[int], scale: Scale, least: float, alpha: float
) -> ChangePoint | None:
    first = max(0, len(y) - WINDOW)
    window = y[first:]
    split = best_split(window)
    if split is None or split.p_value >= alpha or not _is_enough(split.shift, scale, least):
        return None
    at = first + split.at
    before, after = float(np.median(kept[first:at])), float(np.median(kept[at:]))
    return _change(places[at], before, after, scale, p_value=split.p_value, shape=shape_of(window, split.at))


def _crept(
    y: Numbers, kept: Numbers, places: Sequence[int], scale: Scale, margin: float, better: Better, alpha: float
) -> ChangePoint | None:
    creep = find_creep(y, is_worse_higher=better is Better.LOWER, alpha=alpha)
    if creep is None or not _is_enough(creep.shift, scale, margin):
        return None
    before, after = float(np.median(kept[creep.best])), float(np.median(kept[creep.newest]))
    return _change(places[creep.at], before, after, scale, p_value=creep.p_value, shape=AlarmShape.CREEP)


def _exact(values: Sequence[float | None], start: int, least: float) -> Iterator[ChangePoint]:
    """Each value that is off the last one told, at the beginning the regime's first; no test, one is enough."""
    reference: float | None = None
    for place in range(start, len(values)):
        value = values[place]
        if value is None or not math.isfinite(value):
            continue
        if reference is None:
            reference = float(value)
        elif _is_off(value, reference, least):
            yield _change(place, reference, float(value), Scale.EXACT, p_value=None, shape=AlarmShape.STEP)
            reference = float(value)


def _is_off(value: float, reference: float, least: float) -> bool:
    allowed = least * abs(reference)
    return abs(value - reference) >= allowed if allowed > 0 else value != reference


def _is_enough(shift: float, scale: Scale, least: float) -> bool:
    """A shift of logs is held against log(1 + least), upwards and downwards alike."""
    return abs(shift) >= (math.log1p(least) if scale is Scale.RATIO else least)


def _change(
    at: int, before: float, after: float, scale: Scale, *, p_value: float | None, shape: AlarmShape
) -> ChangePoint:
    is_difference = scale is Scale.DIFFERENCE or before == 0.0
    change = after - before if is_difference else after / before - 1
    return ChangePoint(at=at, before=before, after=after, change=change, p_value=p_value, shape=shape)

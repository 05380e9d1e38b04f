"""Histories of metrics over retrains, made by a seed; logs of ratios become values near 10."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from plaster_ops.domain.alarm import Alarm
from plaster_ops.domain.metrics import CATALOGUE, Better
from plaster_ops.domain.scan import ChangePoint, scan
from plaster_ops.domain.watch import History, Told

Numbers = NDArray[np.float64]


def values(logs: Numbers) -> list[float]:
    return [10.0 * math.exp(each) for each in logs]


def noise(rng: np.random.Generator, n: int, sd: float) -> Numbers:
    return rng.normal(0.0, sd, n)


def alike(rng: np.random.Generator, n: int, sd: float, phi: float = 0.5) -> Numbers:
    """Neighbours that are alike: AR(1)."""
    found = rng.normal(0.0, sd, n)
    for i in range(1, n):
        found[i] = phi * found[i - 1] + math.sqrt(1 - phi**2) * found[i]
    return found


def step(logs: Numbers, at: int, shift: float) -> Numbers:
    return logs + np.where(np.arange(len(logs)) >= at, shift, 0.0)


def told_online(series: Sequence[float], **given: object) -> list[tuple[ChangePoint, int]]:
    """Each change as it is told after the value at that place, the regime beginning anew at it."""
    found: list[tuple[ChangePoint, int]] = []
    start = 0
    for newest in range(len(series)):
        change = scan(series[: newest + 1], start=start, **given).change  # type: ignore[arg-type]
        if change is not None:
            found.append((change, newest))
            start = change.at
    return found


def history(key: str, series: Sequence[float], better: Better = Better.LOWER) -> History:
    """Retrains 1, 2, ... of one machine."""
    indices = range(1, len(series) + 1)
    return History(metric=CATALOGUE[key], better=better, fingerprint="f" * 16, indices=indices, values=series)


def told(*alarms: Alarm, newest: int = 40, **given: object) -> Told:
    plain: dict[str, object] = {"margins": {}, "candidates": lambda *_: ()} | given
    at = "2026-11-28T02:00:00+00:00"
    return Told(pipeline="digits", raised_index=newest, raised_at=at, alarms=alarms, **plain)  # type: ignore[arg-type]

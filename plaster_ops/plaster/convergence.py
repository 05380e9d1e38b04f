"""Does this fit need as many samples to its target as earlier ones alike did? Far fewer: a leak, or the wrong set. Far
more: the data has drifted. After the idea of MLPerf's reference convergence points.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from plaster_ops.domain.student import one_sided_p

NEEDED = 5
NEWEST = 20
_ALPHA = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Convergence:
    """What the check found. `flag`: `too_fast`, `too_slow`, or empty; `note` says it in words, and what it rests on."""

    flag: str
    note: str
    p_value: float | None = None


def check(samples: int, earlier: Sequence[float], epochs: int) -> Convergence:
    """Holds `samples` to target, reached in `epochs` epochs, against `earlier` ones of fits alike, oldest first.

    A new observation's one-sided t on logs, n - 1 degrees of freedom, 5 % on each side, over the newest 20. A target
    is only looked at when an epoch ends: one epoch more or less is no evidence, and the spread is never taken as
    smaller than what that rounding brings. Flagged fits are among `earlier`, too: without them the spread would shrink
    with every flag, and flags would breed flags.
    """
    points = [math.log(value) for value in earlier if value > 0][-NEWEST:]
    if len(points) < NEEDED or samples <= 0:
        return Convergence(flag="", note=f"convergence not checked: {len(points)} earlier fits alike, {NEEDED} needed")
    mean = sum(points) / len(points)
    apart = math.log(samples) - mean
    rounding = math.log1p(1.0 / epochs)
    moved = math.copysign(max(0.0, abs(apart) - rounding), apart)
    variance = sum((point - mean) ** 2 for point in points) / (len(points) - 1)
    spread = math.sqrt(max(variance, rounding**2 / 12.0))
    p_value = one_sided_p(abs(moved) / (spread * math.sqrt(1.0 + 1.0 / len(points))), len(points) - 1)
    usual = f"{math.exp(mean):,.0f} is usual over {len(points)} earlier fits alike (p {p_value:.2g})"
    if p_value >= _ALPHA or not moved:
        return Convergence(flag="", note=f"as usual: {usual}", p_value=p_value)
    if moved < 0:
        return Convergence(flag="too_fast", note=f"too_fast, a leak or another set? {usual}", p_value=p_value)
    return Convergence(flag="too_slow", note=f"too_slow, has the data drifted? {usual}", p_value=p_value)

"""The one verdict rule, on an interval of changes and a margin; and what many verdicts at once cost.

worse / better: the 95 % interval excludes no change and the estimate lies beyond the margin. same: the 90 % interval
lies inside the margin (two one-sided tests). Anything else is inconclusive and says what would have been seen. "same"
is never concluded from a large p-value.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TypeVar

from plaster_ops.domain.judgement import DECIDED, AgainstHistory, Comparison, Judgement, ReasonCode
from plaster_ops.domain.metrics import Better, Scale
from plaster_ops.domain.student import Estimate

FALSE_DISCOVERY_RATE = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Ruling:
    """A verdict, and where it is inconclusive why, and the smallest change that could have been shown."""

    judgement: Judgement
    reason: str | None = None
    code: ReasonCode | None = None
    detectable: float | None = None


def rule(interval: Estimate, margin: float, better: Better, scale: Scale) -> Ruling:
    """The rule, on changes: interval and margin are in the unit that is shown."""
    low, high = interval.ci95
    excludes_zero = low > 0 or high < 0
    if excludes_zero and abs(interval.value) > margin:
        return Ruling(judgement=direction(better, interval.value))
    if interval.ci90[0] >= -margin and interval.ci90[1] <= margin:
        return Ruling(judgement=Judgement.SAME)
    half = (high - low) / 2
    detectable = max(half, margin)
    if excludes_zero:
        code, reason = ReasonCode.BEYOND_ZERO_WITHIN_MARGIN, "a small change, below the margin"
    else:
        code = ReasonCode.TOO_NOISY
        reason = f"this comparison can show changes of {amount(detectable, scale)} or more"
    return Ruling(judgement=Judgement.INCONCLUSIVE, reason=f"{code}: {reason}", code=code, detectable=detectable)


def ruled_by_history(shown: Estimate, margin: float, better: Better, scale: Scale, *, n: int) -> AgainstHistory:
    """The rule's answer to a value held against `n` earlier ones; `shown` and `margin` as in `rule`."""
    ruling = rule(shown, margin, better, scale)
    return AgainstHistory(
        judgement=ruling.judgement,
        n=n,
        change=shown.value,
        ci95=shown.ci95,
        p_value=shown.p_value,
        reason=ruling.reason,
        code=ruling.code,
        detectable=ruling.detectable,
    )


def direction(better: Better, change: float) -> Judgement:
    """Better or worse, for a change that is no longer in doubt."""
    rises = change > 0
    good = rises if better is Better.HIGHER else not rises
    return Judgement.BETTER if good else Judgement.WORSE


def amount(size: float, scale: Scale) -> str:
    """`7.3%`, or `0.0120` of a score."""
    return f"{size:.4f}" if scale is Scale.DIFFERENCE else f"{size:.1%}"


def as_ratio(interval: Estimate) -> Estimate:
    """An interval of log ratios as changes: 0.05 is five per cent more."""
    low, high = (math.expm1(bound) for bound in interval.ci95)
    inner_low, inner_high = (math.expm1(bound) for bound in interval.ci90)
    return Estimate(math.expm1(interval.value), (low, high), (inner_low, inner_high), interval.p_value)


Judged = TypeVar("Judged", Comparison, AgainstHistory)


def corrected(rows: Sequence[Judged]) -> list[Judged]:
    """Benjamini-Hochberg over the rows with a p-value; a row that does not survive is no longer better or worse."""
    found = list(rows)
    tested = [i for i, row in enumerate(found) if row.p_value is not None]
    adjusted = benjamini_hochberg([found[i].p_value or 0.0 for i in tested])
    for i, p_adjusted in zip(tested, adjusted, strict=True):
        row = replace(found[i], p_adjusted=p_adjusted)
        if row.judgement in DECIDED and p_adjusted > FALSE_DISCOVERY_RATE:
            row = replace(
                row,
                judgement=Judgement.INCONCLUSIVE,
                reason=f"not significant after correction for {len(tested)} metrics (adjusted p {p_adjusted:.3f})",
                code=ReasonCode.NOT_SIGNIFICANT,
                detectable=_shown_after_correction(row),
            )
        found[i] = row
    return found


def _shown_after_correction(row: Comparison | AgainstHistory) -> float | None:
    """The change that would have survived: as many times this one as its normal quantile falls short of the needed."""
    if row.change is None or not row.p_value or row.p_adjusted is None:
        return None
    needed = FALSE_DISCOVERY_RATE * row.p_value / row.p_adjusted
    standard = NormalDist()
    return abs(row.change) * standard.inv_cdf(needed / 2) / standard.inv_cdf(row.p_value / 2)


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the given order."""
    count = len(p_values)
    lowest, found = 1.0, [1.0] * count
    order = sorted(range(count), key=lambda i: p_values[i], reverse=True)
    for place, i in enumerate(order):
        lowest = min(lowest, max(0.0, p_values[i]) * count / (count - place))
        found[i] = lowest
    return found

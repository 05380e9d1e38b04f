"""What is said of one metric of two runs: a verdict, the change, and what it rests on."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from plaster_ops.domain.metrics import Better, Metric, Scale


class Judgement(StrEnum):
    """The verdict on one metric."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "same"
    INCONCLUSIVE = "inconclusive"
    NOT_COMPARABLE = "not_comparable"


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One metric of two runs. `change` is a ratio of values minus 1 (scale RATIO, EXACT) or a difference.

    `ci95` and `limit` are in the unit of `change`. `tested` rows took part in the false-discovery correction.
    """

    metric: Metric
    judgement: Judgement
    now: float | None
    then: float | None
    change: float | None = None
    ci95: tuple[float, float] | None = None
    limit: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    reason: str | None = None
    how: str = "remeasured"
    better: Better = Better.NEITHER

    def to_json(self) -> dict[str, Any]:
        """A row of `comparison` in `--json`, schema 1."""
        ratio = self.metric.scale is not Scale.DIFFERENCE
        return {
            "letter": self.metric.letter.value,
            "key": self.metric.key,
            "unit": self.metric.unit,
            "now": self.now,
            "then": self.then,
            "change_ratio": self.change if ratio else None,
            "change_difference": None if ratio else self.change,
            "ci95": list(self.ci95) if self.ci95 else None,
            "limit": self.limit,
            "verdict": self.judgement.value,
            "reason": self.reason,
            "p_value": self.p_value,
            "p_adjusted": self.p_adjusted,
            "how": self.how,
            "better": self.better.value,
            "headline": self.metric.headline,
        }

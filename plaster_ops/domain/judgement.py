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


DECIDED = (Judgement.BETTER, Judgement.WORSE)


class ReasonCode(StrEnum):
    """Why a verdict is no clearer, or what has to be known with it; the sentence beside it says the same in words."""

    NO_HISTORY = "no_history"
    """Too few earlier retrains have the value."""
    TOO_NOISY = "too_noisy"
    """The interval is too wide for the margin, or two copies of one engine differ by more than it."""
    BEYOND_ZERO_WITHIN_MARGIN = "beyond_zero_within_margin"
    """A change, but a smaller one than the margin."""
    NOT_SIGNIFICANT = "not_significant"
    """Not after the correction for all the metrics that were tested."""
    TOO_FEW_SAMPLES = "too_few_samples"
    """A score of so few samples has no interval, or one that settles nothing."""
    WITHIN_SEED_SPREAD = "within_seed_spread"
    """The engines differ, but no more than retrains of this pipeline usually do."""
    HOLDOUT_DIFFERS = "holdout_differs"
    """The two were not scored on the same samples."""
    FINGERPRINT_DIFFERS = "fingerprint_differs"
    """Measured on another device, or with other threads or inputs."""
    METHOD_DIFFERS = "method_differs"
    """Measured by another procedure."""
    STORED = "stored"
    """Only recorded numbers: the machine's own drift is in the change."""
    NOT_MEASURED = "not_measured"
    """One side has no value."""
    ESTIMATED = "estimated"
    """A guess, which decides nothing."""
    SUSPECT = "suspect"
    """The measurement was disturbed."""
    ARCHITECTURE_CHANGED = "architecture_changed"
    """A count of the model itself: somebody changed it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AgainstHistory:
    """This retrain's value against those of the `n` retrains before it. `change`, `ci95` as in `Comparison`."""

    judgement: Judgement
    n: int
    change: float | None = None
    ci95: tuple[float, float] | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    reason: str | None = None
    code: ReasonCode | None = None
    detectable: float | None = None

    def to_json(self) -> dict[str, Any]:
        """`history` of a row of `comparison`."""
        return {
            "verdict": self.judgement.value,
            "change": self.change,
            "ci95": list(self.ci95) if self.ci95 else None,
            "n": self.n,
            "reason": self.reason,
            "reason_code": self.code.value if self.code else None,
            "p_value": self.p_value,
            "p_adjusted": self.p_adjusted,
            "detectable": self.detectable,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One metric of two runs. `change` is a ratio of values minus 1 (scale RATIO, EXACT) or a difference.

    `ci95`, `limit` and `detectable` are in the unit of `change`; `detectable` is the smallest change that this
    comparison could have shown, on rows that were tested and are inconclusive. Rows with a `p_value` took part in the
    false-discovery correction. `history`: the other question, whether the retrain is out of the ordinary; None where
    the metric has none.
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
    code: ReasonCode | None = None
    detectable: float | None = None
    how: str = "remeasured"
    better: Better = Better.NEITHER
    history: AgainstHistory | None = None

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
            "reason_code": self.code.value if self.code else None,
            "detectable": self.detectable,
            "p_value": self.p_value,
            "p_adjusted": self.p_adjusted,
            "how": self.how,
            "better": self.better.value,
            "headline": self.metric.headline,
            "history": self.history.to_json() if self.history else None,
        }

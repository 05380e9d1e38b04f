"""Does an engine keep the score of its own model? The same weights in eager FP32, on the same held-out samples, paired.

fp32 computes the same function, so its point estimate decides. Below fp32 the loss must be shown to be small: the upper
end of the 90 % interval of the paired loss stays inside what is allowed. Fewer samples prove less, never more.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from plaster_ops.domain.metrics import ROLLING_SCORE, Better
from plaster_ops.domain.sample import PairedDifference


class Kept(StrEnum):
    """`KEPT` within what is allowed, `LOST` more, `UNDECIDED` where the samples cannot tell."""

    KEPT = "kept"
    LOST = "lost"
    UNDECIDED = "undecided"


@dataclass(frozen=True, kw_only=True, slots=True)
class Retention:
    """`loss` is reference - engine in the score's better direction, `loss_ci90` its paired interval, None without one.

    `allowed` is the largest loss that passes; `needed` how many samples might decide an undecided one.
    """

    state: Kept
    engine: float
    reference: float
    loss: float
    loss_ci90: tuple[float, float] | None
    allowed: float
    n: int
    method: str
    needed: int | None = None

    @property
    def retained_ratio(self) -> float | None:
        """Share of the score that is kept; None where a score is zero or negative."""
        if self.engine <= 0 or self.reference <= 0:
            return None
        return min(self.engine, self.reference) / max(self.engine, self.reference) if self.loss > 0 else 1.0

    @property
    def sentence(self) -> str:
        """The numbers in words."""
        interval = "no interval: not defined on resamples"
        if self.loss_ci90 is not None:
            interval = f"90 % interval {self.loss_ci90[0]:.4f} to {self.loss_ci90[1]:.4f}"
        told = (
            f"score {self.engine:.4f} where eager fp32 has {self.reference:.4f}: loses {self.loss:.4f}"
            f" ({interval}, {self.n} samples, {self.method}), allowed {self.allowed:.4f}"
        )
        if self.state is not Kept.UNDECIDED:
            return told
        more = f"; about {self.needed} samples might tell" if self.needed else ""
        return f"{told}: too few samples to tell{more}"

    def to_json(self) -> dict[str, Any]:
        """A plain mapping, `sentence` and `retained_ratio` included."""
        return {
            "state": self.state.value,
            "engine": self.engine,
            "reference": self.reference,
            "loss": self.loss,
            "loss_ci90": list(self.loss_ci90) if self.loss_ci90 else None,
            "allowed": self.allowed,
            "n": self.n,
            "method": self.method,
            "needed": self.needed,
            "retained_ratio": self.retained_ratio,
            "sentence": self.sentence,
        }


def judge_retention(
    engine: float,
    reference: float,
    paired: PairedDifference,
    *,
    better: Better,
    precision: str,
    retained_ratio: float,
    max_lost_score: float,
) -> Retention:
    """`paired`: engine - reference, in the score's own sign. `retained_ratio` counts where both scores are above 0,
    `max_lost_score` where one is not."""
    sign = -1.0 if better is Better.HIGHER else 1.0
    loss = sign * paired.delta + 0.0  # which makes -0.0 a plain zero
    bounds = None
    if paired.ci90 is not None:
        low, high = sorted(sign * bound + 0.0 for bound in paired.ci90)
        bounds = (low, high)
    if engine > 0 and reference > 0:
        allowed = reference * ((1.0 - retained_ratio) if better is Better.HIGHER else (1.0 / retained_ratio - 1.0))
    else:
        allowed = max_lost_score
    rounding = 1e-12 * max(1.0, abs(reference))
    if not loss <= allowed + rounding:  # a score that is no number included
        state = Kept.LOST
    elif precision == "fp32" or (bounds is not None and bounds[1] <= allowed + rounding):
        state = Kept.KEPT
    else:
        state = Kept.UNDECIDED
    return Retention(
        state=state,
        engine=engine,
        reference=reference,
        loss=loss,
        loss_ci90=bounds,
        allowed=allowed,
        n=paired.n,
        method=paired.method,
        needed=_needed(loss, bounds[1], allowed, paired.n) if state is Kept.UNDECIDED and bounds else None,
    )


def _needed(loss: float, high: float, allowed: float, n: int) -> int | None:
    """Samples at which an interval of this kind would end inside, if the loss stayed what it is."""
    room = allowed - loss
    return math.ceil(n * ((high - loss) / room) ** 2) if room > 1e-12 else None


def retention_of(scored: Any, reference: Any, spec: Mapping[str, Any], better: Better, precision: str) -> Retention:
    """The same from two `SetScore`s of one set; `spec` holds `retained_ratio` and `max_lost_score`."""
    from plaster_ops.plaster.score_pairs import pair_scores

    return judge_retention(
        scored.value,
        reference.value,
        pair_scores(scored, reference, ROLLING_SCORE),
        better=better,
        precision=precision,
        retained_ratio=float(spec["retained_ratio"]),
        max_lost_score=float(spec["max_lost_score"]),
    )

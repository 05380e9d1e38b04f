"""Is this retrain out of the ordinary? Its value against those of the retrains before it, which seeds and days spread.

The other question, whether this engine is worse than that one, is `compare`'s; the two are never mixed.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from plaster_ops.domain import student
from plaster_ops.domain.card import MEASURED_STATUSES, Reading, Row
from plaster_ops.domain.judgement import AgainstHistory, Judgement, ReasonCode
from plaster_ops.domain.metrics import Scale
from plaster_ops.domain.rule import as_ratio, ruled_by_history
from plaster_ops.domain.student import Spread

PRIOR_WEIGHT = 4
"""Degrees of freedom of the prior variance (moderated t): two or three values do not pretend to certainty."""

MOST_EARLIER = 20
FEWEST_EARLIER = 3
"""Two values show no spread of their own."""
FEWEST_SCORES = 5
"""A score's spread over seeds is seen later: below this many earlier ones nothing is said."""
FEWEST_ALONE = 10
"""From so many on the history speaks for itself, without a prior."""
_TO_ERROR = 3.18
"""Half of a 95 % interval over a standard error, where it rests on three processes: Student's t, 3 degrees."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Earlier:
    """Values of earlier retrains, newest last, on an equal fingerprint and by the same method.

    `elsewhere`, `otherwise`: how many more there are of another fingerprint, and of another method.
    """

    values: tuple[float, ...] = ()
    elsewhere: int = 0
    otherwise: int = 0

    def to_json(self) -> dict[str, Any]:
        """A plain mapping."""
        return asdict(self) | {"values": list(self.values)}

    @classmethod
    def of(cls, found: "Earlier | Sequence[float] | Mapping[str, Any] | None") -> "Earlier":
        """What `to_json` wrote, or values alone."""
        if found is None or isinstance(found, Earlier):
            return found or cls()
        if isinstance(found, Mapping):
            return cls(
                values=tuple(found["values"]), elsewhere=int(found["elsewhere"]), otherwise=int(found["otherwise"])
            )
        return cls(values=tuple(found))


def spread_of(values: Sequence[float], margin: float, *, within: float = 0.0) -> Spread:
    """The variance of one more of these values, steadied by a prior below ten of them; at least one value.

    The prior's standard deviation is half the margin, or the run's own error `within` where that is larger.
    """
    count = len(values)
    return student.moderated(
        statistics.variance(values) if count > 1 else 0.0,
        count - 1,
        prior=max(margin / 2.0, within),
        weight=0 if count >= FEWEST_ALONE else PRIOR_WEIGHT,
    )


def error_of(row: Reading) -> float:
    """Standard error of a reading as its interval gives it, in logs for a ratio; 0 without an interval."""
    if row.ci95 is None:
        return 0.0
    low, high = row.ci95
    if row.metric.scale is Scale.DIFFERENCE:
        return (high - low) / 2 / _TO_ERROR
    return math.log(high / low) / 2 / _TO_ERROR if low > 0 else 0.0


def against_earlier(now: Row | None, earlier: Earlier, margin: float) -> AgainstHistory | None:
    """The newest twenty values' prediction interval, held against `now`; None where it is no measured value.

    Moderated t on logs, or on differences for scores: variance S^2 / m for what was, and S^2 (or the run's own error,
    where that is larger) for what is.
    """
    if not isinstance(now, Reading) or now.status not in MEASURED_STATUSES or now.metric.scale is Scale.EXACT:
        return None
    score = now.metric.scale is Scale.DIFFERENCE
    past = [value for value in earlier.values if score or value > 0][-MOST_EARLIER:]
    if not score and now.value <= 0:
        return None
    fewest = FEWEST_SCORES if score else FEWEST_EARLIER
    if len(past) < fewest:
        return _too_few(now, past, earlier, fewest)
    own = error_of(now)
    seen = past if score else [math.log(value) for value in past]
    spread = spread_of(seen, margin if score else math.log1p(margin), within=own)
    error = math.sqrt(spread.variance / len(past) + max(spread.variance, own**2))
    value = now.value if score else math.log(now.value)
    interval = student.estimate(value - statistics.fmean(seen), error, spread.freedom)
    shown = interval if score else as_ratio(interval)
    return ruled_by_history(shown, margin, now.direction, now.metric.scale, n=len(past))


def _too_few(now: Reading, past: Sequence[float], earlier: Earlier, fewest: int) -> AgainstHistory:
    change = None
    if past:
        score = now.metric.scale is Scale.DIFFERENCE
        change = now.value - past[-1] if score else now.value / past[-1] - 1.0
    code, more = ReasonCode.NO_HISTORY, ""
    if earlier.elsewhere and len(past) + earlier.elsewhere >= fewest:
        code, more = ReasonCode.FINGERPRINT_DIFFERS, f"; {earlier.elsewhere} more were measured on another machine"
    elif earlier.otherwise and len(past) + earlier.otherwise >= fewest:
        code, more = ReasonCode.METHOD_DIFFERS, f"; {earlier.otherwise} more were measured by another method"
    have = "retrain has" if len(past) == 1 else "retrains have"
    reason = f"{code}: {len(past)} earlier {have} this value, {fewest} are needed{more}"
    return AgainstHistory(judgement=Judgement.INCONCLUSIVE, n=len(past), change=change, reason=reason, code=code)

"""Where a watched metric stands since the last change of its level: plain arithmetic, so that a question is instant."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from plaster_ops.domain.alarm import Alarm
from plaster_ops.domain.metrics import Metric, Scale
from plaster_ops.domain.watch import FEWEST, History

_LOOKED_AT, _NEWEST, _SHOWN = 120, 20, 24


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """`since`: number of the first retrain of the regime; `level`: median of its `n` values; `newest`: up to 24 values
    of the metric, over regimes. `reason`: why nothing can be said yet; `noise_ratio`: the spread of its newest values
    over that of those before, where they scatter more; None otherwise."""

    metric: Metric
    since: int
    n: int
    level: float
    newest: Sequence[float]
    reason: str | None = None
    noise_ratio: float | None = None

    def to_json(self) -> dict[str, Any]:
        """A row of `watched` in `drift --json`."""
        return {
            "letter": self.metric.letter.value,
            "key": self.metric.key,
            "unit": self.metric.unit,
            "since": self.since,
            "n": self.n,
            "level": self.level,
            "newest": list(self.newest),
            "reason": self.reason,
            "noise_ratio": self.noise_ratio,
        }


def standing_of(history: History, told: Iterable[Alarm]) -> Standing:
    """Of a history with at least one value."""
    start = history.start(told)
    values = [float(value) for value in history.values[start:] if value is not None]
    n, is_tested = len(values), history.metric.scale is not Scale.EXACT
    return Standing(
        metric=history.metric,
        since=history.indices[start],
        n=n,
        level=statistics.median(values),
        newest=[float(value) for value in history.values[-_SHOWN:] if value is not None],
        reason=f"not enough history ({n} of {FEWEST})" if is_tested and n < FEWEST else None,
        noise_ratio=_noise(values[-_LOOKED_AT:], history.metric.scale) if is_tested else None,
    )


def _noise(values: Sequence[float], scale: Scale) -> float | None:
    """The ratio of spreads where the newest values scatter twice as much; only then is Levene's test asked."""
    if scale is Scale.RATIO:
        values = [math.log(value) for value in values if value > 0]
    n = min(_NEWEST, len(values) // 2)
    if n < FEWEST or _mad(values[-n:]) <= 2 * _mad(values[:-n]):
        return None
    from plaster_ops.domain.scan_levels import noise_grew

    grew = noise_grew(values)
    return None if grew is None else grew.ratio


def _mad(values: Sequence[float]) -> float:
    middle = statistics.median(values)
    return statistics.median(abs(value - middle) for value in values)

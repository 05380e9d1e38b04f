"""What a metric is: its letter, unit, direction, and how two of its values are compared."""

from dataclasses import dataclass
from enum import StrEnum


class Letter(StrEnum):
    """The seven letters of PLASTER, in order."""

    PROGRAMMABILITY = "P"
    LATENCY = "L"
    ACCURACY = "A"
    SIZE = "S"
    THROUGHPUT = "T"
    ENERGY = "E"
    LEARNING = "R"


class Better(StrEnum):
    """Which way a metric improves. `DECLARED` is resolved by the pipeline's own score."""

    HIGHER = "higher"
    LOWER = "lower"
    DECLARED = "declared"
    NEITHER = "info"


class Scale(StrEnum):
    """How two values are compared: as a ratio of logs, as a difference, or exactly."""

    RATIO = "ratio"
    DIFFERENCE = "difference"
    EXACT = "exact"


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One declared number. `method` is the versioned id of the procedure that measures it (docs/metrics.md)."""

    key: str
    letter: Letter
    unit: str
    better: Better
    meaning: str
    method: str
    headline: bool = False
    scale: Scale = Scale.RATIO
    margin: float | None = None
    """Default margin of the verdict rule, in the metric's scale; None: shown, never judged."""
    from_history: bool = False
    """True where one retrain yields one value, so its interval comes from earlier retrains."""

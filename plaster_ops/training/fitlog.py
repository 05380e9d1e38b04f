"""What one rank has counted of its fit: samples, seconds, curves. Standard library only; the callbacks fill it."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from plaster_ops.ports import Clock

MOST_POINTS = 1000


class FitLog:
    """Counts of a fit, continued from a checkpoint's if `before` is given. Durations are of the clock's monotonic."""

    def __init__(self, clock: Clock, before: Mapping[str, Any] | None = None) -> None:
        before = before or {}
        self._clock = clock
        self._carried_s = float(before.get("fit_s", 0.0))
        self._started_s: float | None = None
        self._ended_s: float | None = None
        self.samples: int | None = before.get("samples", 0)
        self.unsummed: int | None = 0
        self.last_loss: float | None = before.get("last_loss")
        self.time_to_target_s: float | None = before.get("time_to_target_s")
        self.target_seen: bool = bool(before.get("target_seen", False))
        self.curves: list[dict[str, Any]] = list(before.get("curves", ()))

    def start(self) -> None:
        """Training begins now."""
        self._started_s = self._clock.monotonic_s()

    def end(self) -> None:
        """Training ends now."""
        self._ended_s = self._clock.monotonic_s()

    @property
    def attempt_s(self) -> float:
        """Seconds of training in this process so far."""
        if self._started_s is None:
            return 0.0
        return (self._clock.monotonic_s() if self._ended_s is None else self._ended_s) - self._started_s

    @property
    def fit_s(self) -> float:
        """Seconds of training behind the present weights, of earlier processes too."""
        return self._carried_s + self.attempt_s

    def count(self, samples: int | None) -> None:
        """Adds one batch of this rank; None (a batch that does not tell its size) makes the sum unknown."""
        self.unsummed = None if samples is None or self.unsummed is None else self.unsummed + samples

    def sum_up(self, over_ranks: int | None) -> None:
        """Takes the sum over all ranks of `unsummed` into `samples`, and starts `unsummed` again."""
        self.samples = None if over_ranks is None or self.samples is None else self.samples + over_ranks
        self.unsummed = 0

    def draw(self, step: int, values: Mapping[str, float]) -> None:
        """One point for every finite value."""
        now_ms = int(self._clock.now_utc() * 1000)
        self.curves += [
            {"key": key, "step": step, "value": value, "timestamp_ms": now_ms}
            for key, value in values.items()
            if math.isfinite(value)
        ]

    def reach(self, *, reached: bool) -> None:
        """The target's metric was logged, and by now it is reached or not."""
        self.target_seen = True
        if reached and self.time_to_target_s is None:
            self.time_to_target_s = self.fit_s

    def to_json(self) -> dict[str, Any]:
        """What a checkpoint must carry to continue the counts."""
        return {
            "fit_s": self.fit_s,
            "samples": self.samples,
            "last_loss": self.last_loss,
            "time_to_target_s": self.time_to_target_s,
            "target_seen": self.target_seen,
            "curves": thin_out(self.curves),
        }


def thin_out(curves: list[dict[str, Any]], most: int = MOST_POINTS) -> list[dict[str, Any]]:
    """At most about `most` points, evenly spaced along each curve; the first and the last of each stay."""
    keys = list(dict.fromkeys(point["key"] for point in curves))
    if len(curves) <= most:
        return curves
    each = max(2, most // len(keys))
    kept: list[dict[str, Any]] = []
    for key in keys:
        points = [point for point in curves if point["key"] == key]
        last = len(points) - 1
        places = sorted({round(place * last / (each - 1)) for place in range(each)})
        kept += [points[place] for place in places]
    return kept


class Throttle:
    """Lets one call through every `every_s` seconds."""

    def __init__(self, every_s: float, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._every_s = every_s
        self._monotonic_s = monotonic_s
        self._last_s: float | None = None

    def opens(self) -> bool:
        """Whether the time has come; then the wait starts anew."""
        now_s = self._monotonic_s()
        if self._last_s is not None and now_s - self._last_s < self._every_s:
            return False
        self._last_s = now_s
        return True

"""What one rank has counted of its fit: samples, seconds, curves. Standard library only; the callbacks fill it."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plaster_ops.ports import Clock

MOST_POINTS = 1000


class FitLog:
    """Counts of a fit, continued from a checkpoint's if `before` is given. Durations are of the clock's monotonic.

    `samples` are real batch sizes summed over ranks: work done, repeats included. `learned` counts each sample of an
    epoch once, summed over ranks and epochs; None where repeats cannot be told apart, and `learned_reason` says why.
    `steady_samples` are those of `samples` that came after `settle`, in `steady_s` seconds.
    """

    def __init__(self, clock: Clock, before: Mapping[str, Any] | None = None) -> None:
        before = before or {}
        self._clock = clock
        self._epoch_s = clock.now_utc() - clock.monotonic_s()
        self._carried_s = float(before.get("fit_s", 0.0))
        self._steady_carried_s = float(before.get("steady_s", 0.0))
        self._started_s: float | None = None
        self._steady_from_s: float | None = None
        self._stepped_s: float | None = None
        self._free_s: float | None = None
        self._ended_s: float | None = None
        self._unsummed = _Unsummed()
        self._own: int | None = None
        self.counted = 0
        """Samples of this rank in the present epoch that are in the sums."""
        self.samples: int | None = before.get("samples", 0)
        self.learned: int | None = before.get("learned", None if before else 0)
        self.learned_reason: str = str(before.get("learned_reason", ""))
        self.steady_samples: int | None = before.get("steady_samples", 0)
        self.largest_batch: int = int(before.get("largest_batch", 0))
        self.last_loss: float | None = before.get("last_loss")
        self.time_to_target_s: float | None = before.get("time_to_target_s")
        self.epochs_to_target: int | None = before.get("epochs_to_target")
        self.samples_to_target: int | None = before.get("samples_to_target")
        self.target_seen: bool = bool(before.get("target_seen", False))
        self.work_s = 0.0
        self.curves: list[dict[str, Any]] = list(before.get("curves", ()))

    def start(self) -> None:
        """Training begins now."""
        self._started_s = self._clock.monotonic_s()
        self.step()

    def begin_epoch(self, own: int | None, reason: str = "") -> None:
        """An epoch begins, of which the first `own` samples of this rank are no repeats; None: none is a repeat.

        `reason`: why that cannot be told; `learned` is then unknown from here on.
        """
        self._own = own
        self.counted = 0
        self.learned_reason = self.learned_reason or reason
        self.set_free()

    def go_on(self, counted: int) -> None:
        """The present epoch was begun by an earlier process, which summed up so many samples of this rank."""
        self.counted = counted

    def end(self) -> None:
        """Training ends now."""
        self._ended_s = self._clock.monotonic_s()

    @property
    def is_settled(self) -> bool:
        """Whether the steady part of this process's training has begun."""
        return self._steady_from_s is not None

    def settle(self) -> None:
        """The steady part begins now: start-up costs of the first steps are behind. The first call counts."""
        if self._steady_from_s is None:
            self._steady_from_s = self._clock.monotonic_s()

    @property
    def attempt_s(self) -> float:
        """Seconds of training in this process so far."""
        return self._since(self._started_s)

    @property
    def fit_s(self) -> float:
        """Seconds of training behind the present weights, of earlier processes too."""
        return self._carried_s + self.attempt_s

    @property
    def weights_s(self) -> float:
        """Seconds of training up to the last training step: when the present weights came to be."""
        return self.fit_s - (0.0 if self._stepped_s is None else self._since(self._stepped_s))

    @property
    def steady_s(self) -> float:
        """Seconds in which `steady_samples` were trained on, of earlier processes too."""
        return self._steady_carried_s + self._since(self._steady_from_s)

    def _since(self, began_s: float | None) -> float:
        if began_s is None:
            return 0.0
        return (self._clock.monotonic_s() if self._ended_s is None else self._ended_s) - began_s

    def worked(self) -> None:
        """The part of a step that a rank does by itself, its data and its forward, ends now."""
        if self._free_s is not None:
            self.work_s += self._clock.monotonic_s() - self._free_s

    def step(self) -> None:
        """A training step ends now: the weights of this moment exist."""
        self._stepped_s = self._clock.monotonic_s()
        self.set_free()

    def set_free(self) -> None:
        """A validation, a checkpoint or a step is over: the rank goes for its next batch now."""
        self._free_s = self._clock.monotonic_s()

    def count(self, samples: int | None) -> None:
        """Adds one batch of this rank; None (a batch that does not tell its size) makes the sums unknown."""
        self._unsummed.add(samples, steady=self.is_settled)
        self.largest_batch = max(self.largest_batch, samples or 0)

    def unsummed(self) -> list[int]:
        """Counts of this rank since `sum_up`: processed, of unknown size (0 or 1), steady, learned, not known (0 or 1).

        One list of whole numbers, so that ranks can add theirs up place by place.
        """
        mine = self._unsummed
        own = mine.samples if self._own is None else max(0, min(mine.samples, self._own - self.counted))
        return [mine.samples, int(mine.is_unknown), mine.steady, own, int(mine.is_unknown or bool(self.learned_reason))]

    def sum_up(self, over_ranks: Sequence[int]) -> None:
        """Takes the sums over all ranks of `unsummed`, and starts that again."""
        processed, unknown, steady, learned, unshared = over_ranks
        if unknown:
            self.learned_reason = self.learned_reason or "a batch does not tell its size"
        elif unshared:
            self.learned_reason = self.learned_reason or "another rank cannot tell its samples from repeats"
        self.samples = None if unknown or self.samples is None else self.samples + processed
        self.steady_samples = None if unknown or self.steady_samples is None else self.steady_samples + steady
        self.learned = None if unshared or self.learned is None else self.learned + learned
        self.counted += self._unsummed.samples
        self._unsummed = _Unsummed()

    def draw(self, step: int, values: Mapping[str, float]) -> None:
        """One point for every finite value."""
        now_ms = int((self._epoch_s + self._clock.monotonic_s()) * 1000)
        self.curves += [
            {"key": key, "step": step, "value": value, "timestamp_ms": now_ms}
            for key, value in values.items()
            if math.isfinite(value)
        ]

    def reach(self, *, reached: bool, epochs: int) -> None:
        """After `epochs` epochs the target's metric was logged, and by now it is reached or not.

        The time is that of the last training step before: evaluating the weights was not needed to make them.
        """
        self.target_seen = True
        if not reached or self.time_to_target_s is not None:
            return
        self.time_to_target_s = self.weights_s
        self.epochs_to_target = epochs
        self.samples_to_target = self.learned

    def to_json(self) -> dict[str, Any]:
        """What a checkpoint must carry to continue the counts."""
        return {
            "fit_s": self.fit_s,
            "samples": self.samples,
            "learned": self.learned,
            "learned_reason": self.learned_reason,
            "steady_s": self.steady_s,
            "steady_samples": self.steady_samples,
            "largest_batch": self.largest_batch,
            "last_loss": self.last_loss,
            "time_to_target_s": self.time_to_target_s,
            "epochs_to_target": self.epochs_to_target,
            "samples_to_target": self.samples_to_target,
            "target_seen": self.target_seen,
            "curves": thin_out(self.curves),
        }


@dataclass(slots=True)
class _Unsummed:
    """Counts of one rank in one epoch."""

    samples: int = 0
    steady: int = 0
    is_unknown: bool = False

    def add(self, samples: int | None, *, steady: bool) -> None:
        self.is_unknown = self.is_unknown or samples is None
        self.samples += samples or 0
        self.steady += (samples or 0) if steady else 0


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

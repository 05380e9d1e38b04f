"""Where the seconds of one retrain went. Spans are exhaustive: at any moment exactly one phase is open.

Durations come from the monotonic clock that is handed in, so a stepped wall clock changes none of them.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum


class Phase(StrEnum):
    """The phases of a retrain in the order of the walk. What no phase claims is `OTHER`."""

    WAIT = "wait_s"
    DATA = "data_s"
    LAUNCH = "launch_s"
    FIT = "fit_s"
    EVAL = "eval_s"
    EXPORT = "export_s"
    BUILD = "build_s"
    PARITY = "parity_s"
    MEASURE = "measure_s"
    LOG = "log_s"
    OTHER = "other_s"


class Timeline:
    """Sums seconds per phase from `start_s` (a reading of `monotonic_s`) on."""

    def __init__(
        self, monotonic_s: Callable[[], float], start_s: float, earlier: Mapping[str, float] | None = None
    ) -> None:
        self._now_s = monotonic_s
        self._start_s = start_s
        self._spent_s = dict.fromkeys(Phase, 0.0)
        for name, seconds in (earlier or {}).items():
            if name != "cycle_s":
                self._spent_s[Phase(name)] += seconds
        self._earlier_s = sum(self._spent_s.values())

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """Everything inside the block is `phase`. Phases do not nest."""
        began_s = self._now_s()
        try:
            yield
        finally:
            self.claim(phase, self._now_s() - began_s)

    def claim(self, phase: Phase, seconds: float) -> None:
        """Adds seconds that were measured elsewhere to a phase."""
        self._spent_s[phase] += seconds

    def move(self, source: Phase, target: Phase, seconds: float) -> None:
        """Attributes part of `source` to `target`, where a worker knows what it did; never more than there is."""
        moved = min(max(seconds, 0.0), self._spent_s[source])
        self._spent_s[source] -= moved
        self._spent_s[target] += moved

    def spent_s(self, phase: Phase) -> float:
        """Seconds of one phase so far."""
        return self._spent_s[phase]

    def cycle_s(self) -> float:
        """Seconds since the trigger, earlier attempts of a resumed run included."""
        return self._earlier_s + self._now_s() - self._start_s

    def to_json(self) -> dict[str, float]:
        """All phases, `other_s` and `cycle_s`; the phases sum to `cycle_s`."""
        cycle_s = self.cycle_s()
        spent = dict(self._spent_s)
        spent[Phase.OTHER] += max(0.0, cycle_s - sum(spent.values()))
        return {phase.value: round(seconds, 6) for phase, seconds in spent.items()} | {
            "cycle_s": round(sum(spent.values()), 6)
        }

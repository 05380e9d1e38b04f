"""Where the seconds of one retrain went. Spans are exhaustive: at any moment exactly one phase is open.

Durations come from the monotonic clock that is handed in, so a stepped wall clock changes none of them. The wall clock
is read once, at the trigger; every later date is that one plus monotonic seconds.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum

TOLERANCE = 0.01
"""Spans may miss the cycle by this part of it, and no more than this part may be in no phase."""


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
    DEPLOY = "deploy_s"
    LOG = "log_s"
    OTHER = "other_s"


@dataclass(frozen=True, kw_only=True, slots=True)
class Instant:
    """A moment of a retrain. `offset_s`: monotonic seconds since the trigger, earlier attempts of a resumed run
    included and the time between them not. `utc_s`: its date, seconds since the epoch; None where no date was given."""

    offset_s: float
    utc_s: float | None

    def to_json(self) -> dict[str, float | None]:
        """A plain mapping."""
        return asdict(self)


class Timeline:
    """Sums seconds per phase from `start_s` (a reading of `monotonic_s`) on. `start_utc_s`: what the wall clock said
    at that moment, in seconds since the epoch."""

    def __init__(
        self,
        monotonic_s: Callable[[], float],
        start_s: float,
        earlier: Mapping[str, float] | None = None,
        *,
        start_utc_s: float | None = None,
    ) -> None:
        self._now_s = monotonic_s
        self._start_s = start_s
        self._start_utc_s = start_utc_s
        self._open: tuple[Phase, float] | None = None
        self._spent_s = dict.fromkeys(Phase, 0.0)
        for name, seconds in (earlier or {}).items():
            if name != "cycle_s":
                self._spent_s[Phase(name)] += seconds
        self._earlier_s = sum(self._spent_s.values())

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """Everything inside the block is `phase`. Phases do not nest."""
        began_s = self._now_s()
        self._open = (phase, began_s)
        try:
            yield
        finally:
            self._open = None
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

    def now(self) -> Instant:
        """This moment."""
        return self.at(self._now_s())

    def trigger(self) -> Instant:
        """The moment at which this attempt was asked for."""
        return self.at(self._start_s)

    def at(self, monotonic_s: float) -> Instant:
        """The moment at which the monotonic clock said that."""
        since_s = monotonic_s - self._start_s
        utc_s = None if self._start_utc_s is None else self._start_utc_s + since_s
        return Instant(offset_s=self._earlier_s + since_s, utc_s=utc_s)

    def faults(self) -> tuple[str, ...]:
        """The self-test: a sentence for each way in which the spans do not account for the cycle; empty where they do.

        Spans are clocked one by one and the cycle by itself.
        """
        cycle_s, spent_s = self.cycle_s(), self._so_far_s()
        claimed_s = sum(spent_s.values())
        other_s = spent_s[Phase.OTHER] + max(0.0, cycle_s - claimed_s)
        found = []
        if claimed_s - cycle_s > TOLERANCE * cycle_s:
            found.append(f"the phases sum to {claimed_s:.2f} s, but the cycle took {cycle_s:.2f} s")
        if other_s > TOLERANCE * cycle_s:
            share = f"{other_s:.2f} s of {cycle_s:.2f} s are in no phase"
            found.append(f"{share}, more than {TOLERANCE:.0%}")
        return tuple(found)

    def to_json(self) -> dict[str, float]:
        """All phases, `other_s` with what no phase claims, and `cycle_s`; within `faults`, the phases sum to it."""
        cycle_s, spent = self.cycle_s(), self._so_far_s()
        spent[Phase.OTHER] += max(0.0, cycle_s - sum(spent.values()))
        return {phase.value: round(seconds, 6) for phase, seconds in spent.items()} | {"cycle_s": round(cycle_s, 6)}

    def _so_far_s(self) -> dict[Phase, float]:
        """Seconds of every phase, with those of the one that is open."""
        spent = dict(self._spent_s)
        if self._open is not None:
            phase, began_s = self._open
            spent[phase] += self._now_s() - began_s
        return spent

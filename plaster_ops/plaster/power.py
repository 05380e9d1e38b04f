"""What an energy counter is, and the null object that says why there is none.

Nothing here estimates: where no hardware counter can be read there are no joules. The counters themselves are in
`nvml` (GPU boards) and `rapl` (CPU packages, DRAM).
"""

import math
from dataclasses import dataclass
from typing import Protocol

SLOW_TICK_S = 0.0025
"""A counter that ticks less often than this is read at its own ticks, not at the edges of a block (5 ms or more)."""

_SURE_SHARE = 1 / 16
_HARDEST_W = 2000.0
"""No board and no package draws more; a counter that would need more has not counted joules."""
_OFTENEST_S = 0.25
_LEAP_J = 1e6
"""What a leap forward must exceed beside that: a flipped high bit of a counter in millijoules is 2 MJ and more."""
_LONGEST_TICK_S = 1.0
"""A step of a slow counter holds what was drawn since the step before, however short ago the last reading was."""


class CounterLost(Exception):
    """The joules since the last reading are not known; the message says why. The counter is of no more use."""


class EnergyCounter(Protocol):
    """Joules since some origin. `reason` is empty only where `read_j` may be called.

    `scope` says what is counted, `source` who counts, `tick_s` how often the counter moves, `notes` what else to know.
    It must be read once in `keep_s`, or a counter that comes round may be lost.
    """

    scope: str
    source: str
    tick_s: float
    keep_s: float
    reason: str
    notes: tuple[str, ...]

    def read_j(self) -> float:
        """Joules since the origin; raises `CounterLost`."""
        ...

    def rebase(self) -> None:
        """What was counted since the last reading does not matter: goes on from here. Raises `CounterLost`."""
        ...

    def close(self) -> None:
        """Gives back what is open."""
        ...


class NoCounter:
    """There is no energy counter here; `reason` says why."""

    scope = ""
    source = "none"
    tick_s = 0.0
    keep_s = math.inf
    notes: tuple[str, ...] = ()

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def read_j(self) -> float:
        """Raises: the caller looks at `reason` first."""
        raise RuntimeError(f"no energy counter: {self.reason}")

    def rebase(self) -> None:
        """Nothing is counted."""

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PowerSample:
    """What a sensor said at `at_ns` of the caller's clock; None for what it does not know.

    `is_instant` is False where the power is an average over the driver's own window. `braked`: the clocks are held down
    by heat or by a hardware brake; `slowed`: by these or by the power limit.
    """

    at_ns: int
    power_w: float | None = None
    is_instant: bool = True
    temp_c: float | None = None
    clock_mhz: float | None = None
    slowed: bool | None = None
    braked: bool | None = None


class Sensor(Protocol):
    """Reads power, temperature and clocks beside a counter."""

    def sample(self, at_ns: int) -> PowerSample: ...


class Unwrapped:
    """A counter of raw units that only rises, out of one that starts again at 0 when it has reached `ranges`.

    No step is believed that 2 kW could not have drawn in the time between, forward or over the edge, and a step back is
    a wrap only where it adds at most a sixteenth of a range: whoever reads once in `keep_s` loses none. Any other step
    back is a reset, and after a pause in which the counter may have come round unseen nothing is known: `CounterLost`.
    `tick_s`: the longest that the counter stands still under load.
    """

    def __init__(
        self, first: int, at_s: float, *, ranges: tuple[int, ...], unit_j: float, tick_s: float = _LONGEST_TICK_S
    ) -> None:
        self._tick_s = tick_s
        self._ranges = tuple(size for size in ranges if size > 0)
        self._unit_j = unit_j
        self._last, self._last_s = first, at_s
        self._total = 0
        smallest_j = min(self._ranges, default=math.inf) * unit_j
        self.keep_s = max(_OFTENEST_S, smallest_j * _SURE_SHARE / _HARDEST_W - tick_s)

    def advance(self, now: int, at_s: float) -> int:
        """Units counted since the first reading. `at_s` is a monotonic clock."""
        delta, pause_s = now - self._last, max(0.0, at_s - self._last_s)
        most = _HARDEST_W * (pause_s + self._tick_s) / self._unit_j
        if self._ranges and most > max(self._ranges):
            raise CounterLost(f"not read for {pause_s:.0f} s, in which the counter may have come round")
        if delta < 0:
            delta = self._over_the_edge(now, most, pause_s)
        elif delta > most + _LEAP_J / self._unit_j:
            told = f"{delta * self._unit_j:.0f} J in {pause_s:.3g} s"
            raise CounterLost(f"the counter leapt by {told}, more than {_HARDEST_W:.0f} W can draw")
        self._total += delta
        self.rebase(now, at_s)
        return self._total

    def rebase(self, now: int, at_s: float) -> None:
        """Goes on from this reading; what lies before it is not added."""
        self._last, self._last_s = now, at_s

    def _over_the_edge(self, now: int, most: float, pause_s: float) -> int:
        for size in self._ranges:
            delta = now - self._last + size
            if self._last < size and 0 <= delta <= most:
                if delta <= size * _SURE_SHARE:
                    return delta
                told = f"the counter went back after {pause_s:.0f} s unread"
                raise CounterLost(f"{told}, too long to tell a wrap from a reset")
        raise CounterLost("the counter went back: its driver was loaded again or the device was reset")

"""Joules of one block under load: at the block's edges for a fast counter, at the counter's ticks for a slow one."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from plaster_ops.plaster.power import SLOW_TICK_S, EnergyCounter
from plaster_ops.plaster.timing import Timed

Tick = tuple[int, float]
"""A clock reading in ns and the joules counted by then."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EnergyWindow:
    """`inferences` samples were finished while `joules` were counted, in `window_s` and `updates` counter steps."""

    joules: float
    window_s: float
    inferences: int
    updates: int


class Meter(Protocol):
    """Brackets a block: `begin`, then the block, then `end`."""

    def begin(self) -> None: ...

    def end(self, timed: Timed, batch: int) -> EnergyWindow | None: ...


class NoMeter:
    """Measures nothing."""

    def begin(self) -> None:
        """Nothing to read."""

    def end(self, timed: Timed, batch: int) -> None:
        """No window."""


class EdgeMeter:
    """Reads a counter that is finer than a block right before and after it."""

    def __init__(self, counter: EnergyCounter, clock_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        self._counter = counter
        self._clock_ns = clock_ns
        self._begin: Tick = (0, 0.0)

    def begin(self) -> None:
        """First edge."""
        self._begin = (self._clock_ns(), self._counter.read_j())

    def end(self, timed: Timed, batch: int) -> EnergyWindow | None:
        """Second edge; the settling query before the block lies inside and is counted with it."""
        end_ns, end_j = self._clock_ns(), self._counter.read_j()
        begin_ns, begin_j = self._begin
        return EnergyWindow(
            joules=end_j - begin_j,
            window_s=(end_ns - begin_ns) * 1e-9,
            inferences=(len(timed.latencies_ns) + 1) * batch,
            updates=max(1, round((end_ns - begin_ns) * 1e-9 / self._counter.tick_s)),
        )


class TickMeter:
    """Polls a slow counter from a side thread and uses whole ticks only, both of them under load."""

    def __init__(
        self, counter: EnergyCounter, *, period_s: float = 0.01, clock_ns: Callable[[], int] = time.perf_counter_ns
    ) -> None:
        self._counter = counter
        self._period_s = period_s
        self._clock_ns = clock_ns
        self._stop = threading.Event()
        self._ticks: list[Tick] = []
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Starts polling."""
        self._stop.clear()
        self._ticks = []
        self._thread = threading.Thread(target=self._poll, name="energy-ticks", daemon=True)
        self._thread.start()

    def end(self, timed: Timed, batch: int) -> EnergyWindow | None:
        """Stops polling; None where fewer than two ticks fell into the block."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        return tick_window(self._ticks, timed, batch)

    def _poll(self) -> None:
        last_j = self._counter.read_j()
        while not self._stop.wait(self._period_s):
            now_j = self._counter.read_j()
            if now_j != last_j:
                self._ticks.append((self._clock_ns(), now_j))
                last_j = now_j


def tick_window(ticks: Sequence[Tick], timed: Timed, batch: int) -> EnergyWindow | None:
    """Energy and finished inferences between the first and the last tick inside the block; None under two ticks."""
    inside = [tick for tick in ticks if timed.start_ns <= tick[0] <= timed.start_ns + timed.window_ns]
    if len(inside) < 2:
        return None
    (first_ns, first_j), (last_ns, last_j) = inside[0], inside[-1]
    return EnergyWindow(
        joules=last_j - first_j,
        window_s=(last_ns - first_ns) * 1e-9,
        inferences=batch * sum(1 for end_ns in _ends_ns(timed) if first_ns < end_ns <= last_ns),
        updates=len(inside) - 1,
    )


def _ends_ns(timed: Timed) -> list[float]:
    """When each query ended: latencies laid end to end, the loop's own time spread evenly between them."""
    gap_ns = (timed.window_ns - sum(timed.latencies_ns)) / max(1, len(timed.latencies_ns))
    ends, now_ns = [], float(timed.start_ns)
    for latency_ns in timed.latencies_ns:
        now_ns += gap_ns + latency_ns
        ends.append(now_ns)
    return ends


def meter_for(counter: EnergyCounter) -> Meter:
    """The meter that suits the counter's tick."""
    if counter.reason:
        return NoMeter()
    return TickMeter(counter) if counter.tick_s > SLOW_TICK_S else EdgeMeter(counter)

"""Joules of one block under load: at the block's edges for a fast counter, at the counter's ticks for a slow one."""

import random
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

import numpy as np

from plaster_ops.plaster.power import SLOW_TICK_S, CounterLost, EnergyCounter, NoCounter, PowerSample, Sensor
from plaster_ops.plaster.sensing import Sensed, sum_up
from plaster_ops.plaster.timing import Timed

Tick = tuple[int, float]
"""A clock reading in ns and the joules counted by then."""

_LOOK_NS = 250_000_000
_LOOK_STEPS = 32
_SENSOR_EVERY_NS = 30_000_000
"""On average: more than 20 times a second, at irregular instants, so that no rhythm of the load hides from it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EnergyWindow:
    """`inferences` samples were answered while `joules` were counted, in `window_s` and `updates` counter steps.

    A query across an edge counts with its share inside. `dram_j`: the memory's own joules, None where it has no
    counter. `sensed`: what the power sensor said meanwhile.
    """

    joules: float
    window_s: float
    inferences: float
    updates: int
    dram_j: float | None = None
    sensed: Sensed = field(default_factory=Sensed)


class Meter(Protocol):
    """Brackets a block: `begin`, then the block, then `end`.

    `is_fine`: blocks of milliseconds can be metered. `lost` says why the counter is of no more use; empty while it is.
    `sensor_lost`: the same of the sensor beside it. `load`: CPU seconds that the meter itself took of each second of
    the last block.
    """

    is_fine: bool
    lost: str
    sensor_lost: str
    load: float

    def begin(self, longest_s: float = 0.0) -> None:
        """`longest_s`: how long the block may take at most."""
        ...

    def end(self, timed: Timed, batch: int) -> EnergyWindow | None: ...


class NoMeter:
    """Measures nothing."""

    is_fine = False
    lost = sensor_lost = ""
    load = 0.0

    def begin(self, longest_s: float = 0.0) -> None:
        """Nothing to read."""

    def end(self, timed: Timed, batch: int) -> None:
        """No window."""


class EdgeMeter:
    """Reads a counter that is finer than a block right before and after it, and the memory's where there is one.

    In a block that may outlast the counters' `keep_s` a side thread reads them as well, so that no wrap is missed.
    """

    is_fine = True
    sensor_lost = ""
    load = 0.0

    def __init__(
        self,
        counter: EnergyCounter,
        clock_ns: Callable[[], int] = time.perf_counter_ns,
        *,
        memory: EnergyCounter | None = None,
        tick_s: float | None = None,
    ) -> None:
        self._counter = counter
        self._tick_s = tick_s or counter.tick_s
        self._memory = memory or NoCounter("none was asked for")
        self._clock_ns = clock_ns
        self._keep_s = min(counter.keep_s, self._memory.keep_s)
        self._begin: tuple[int, float, float | None] = (0, 0.0, None)
        self._over = threading.Event()
        self._keeper: threading.Thread | None = None
        self.lost = ""

    def begin(self, longest_s: float = 0.0) -> None:
        """First edge."""
        if self.lost:
            return
        try:
            self._counter.rebase()
            self._memory.rebase()
            self._begin = (self._clock_ns(), self._counter.read_j(), self._memory_j())
        except CounterLost as error:
            self.lost = str(error)
            return
        if longest_s > self._keep_s:
            self._over.clear()
            self._keeper = threading.Thread(target=self._keep, name="energy-edges", daemon=True)
            self._keeper.start()

    def end(self, timed: Timed, batch: int) -> EnergyWindow | None:
        """Second edge; the settling query before the block lies inside and is counted with it."""
        if self._keeper is not None:
            self._over.set()
            self._keeper.join()
            self._keeper = None
        if self.lost:
            return None
        try:
            end_ns, end_j, end_dram_j = self._clock_ns(), self._counter.read_j(), self._memory_j()
        except CounterLost as error:
            self.lost = str(error)
            return None
        begin_ns, begin_j, begin_dram_j = self._begin
        return EnergyWindow(
            joules=end_j - begin_j,
            window_s=(end_ns - begin_ns) * 1e-9,
            inferences=(len(timed.latencies_ns) + 1) * batch,
            updates=max(1, round((end_ns - begin_ns) * 1e-9 / self._tick_s)),
            dram_j=None if end_dram_j is None or begin_dram_j is None else end_dram_j - begin_dram_j,
        )

    def _keep(self) -> None:
        try:
            while not self._over.wait(self._keep_s):
                self._counter.read_j()
                self._memory_j()
        except CounterLost as error:
            self.lost = str(error)

    def _memory_j(self) -> float | None:
        return None if self._memory.reason else self._memory.read_j()


class TickMeter:
    """Polls a slow counter from a side thread and uses whole ticks only, both of them under load.

    The same thread asks the sensor, at irregular instants. `wait(seconds)` is True once the block is over; it is the
    thread's only pause.
    """

    is_fine = False

    def __init__(
        self,
        counter: EnergyCounter,
        *,
        sensor: Sensor | None = None,
        period_s: float = 0.01,
        clock_ns: Callable[[], int] = time.perf_counter_ns,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self._counter = counter
        self._sensor = sensor
        self._period_s = period_s
        self._clock_ns = clock_ns
        self._stop = threading.Event()
        self._wait = wait or self._stop.wait
        self._random = random.Random(20261)
        self._ticks: list[Tick] = []
        self._samples: list[PowerSample] = []
        self._thread: threading.Thread | None = None
        self.lost = self.sensor_lost = ""
        self.load = 0.0

    def begin(self, longest_s: float = 0.0) -> None:
        """Starts polling, however long the block is."""
        del longest_s
        if self.lost:
            return
        self._stop.clear()
        self._ticks, self._samples = [], []
        self._thread = threading.Thread(target=self._watch, name="energy-ticks", daemon=True)
        self._thread.start()

    def end(self, timed: Timed, batch: int) -> EnergyWindow | None:
        """Stops polling; None where fewer than two ticks fell into the block, or the counter is lost."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        return None if self.lost else tick_window(self._ticks, timed, batch, self._samples)

    def _watch(self) -> None:
        begun_s, spent_s = time.perf_counter(), time.thread_time()
        try:
            self._poll()
        except CounterLost as error:
            self.lost = str(error)
        except Exception as error:
            self.lost = f"the meter broke off ({type(error).__name__}: {error})"
        self.load = (time.thread_time() - spent_s) / max(time.perf_counter() - begun_s, 1e-9)

    def _poll(self) -> None:
        self._counter.rebase()
        last_j = self._counter.read_j()
        ask_ns = self._clock_ns()
        while not self._wait(self._period_s):
            now_j, now_ns = self._counter.read_j(), self._clock_ns()
            if now_j != last_j:
                self._ticks.append((now_ns, now_j))
                last_j = now_j
            if self._sensor is not None and now_ns >= ask_ns:
                self._ask(self._sensor, now_ns)
                ask_ns = now_ns + round(_SENSOR_EVERY_NS * self._random.uniform(0.5, 1.5))

    def _ask(self, sensor: Sensor, now_ns: int) -> None:
        """One sample; a sensor that fails is not asked again, and this block has no samples."""
        try:
            self._samples.append(sensor.sample(now_ns))
        except Exception as error:
            self._sensor, self._samples = None, []
            self.sensor_lost = f"the sensor broke off ({type(error).__name__}: {error})"


def tick_window(
    ticks: Sequence[Tick], timed: Timed, batch: int, samples: Sequence[PowerSample] = ()
) -> EnergyWindow | None:
    """Energy and inferences between the first and the last tick inside the block; None under two ticks."""
    inside = [tick for tick in ticks if timed.start_ns <= tick[0] <= timed.start_ns + timed.window_ns]
    if len(inside) < 2:
        return None
    (first_ns, first_j), (last_ns, last_j) = inside[0], inside[-1]
    return EnergyWindow(
        joules=last_j - first_j,
        window_s=(last_ns - first_ns) * 1e-9,
        inferences=batch * _answered(timed, first_ns, last_ns),
        updates=len(inside) - 1,
        sensed=sum_up(samples, first_ns, last_ns),
    )


def _answered(timed: Timed, first_ns: int, last_ns: int) -> float:
    """Queries between the two instants; one that lies across an edge counts with the share of it that is inside.

    Latencies are laid end to end, the loop's own time spread evenly between them.
    """
    gap_ns = (timed.window_ns - sum(timed.latencies_ns)) / max(1, len(timed.latencies_ns))
    spans_ns = np.asarray(timed.latencies_ns, dtype=float) + gap_ns
    ends_ns = timed.start_ns + np.cumsum(spans_ns)
    inside_ns = np.minimum(ends_ns, last_ns) - np.maximum(ends_ns - spans_ns, first_ns)
    return float((np.maximum(inside_ns, 0.0) / spans_ns).sum())


def meter_for(counter: EnergyCounter, *, sensor: Sensor | None = None, memory: EnergyCounter | None = None) -> Meter:
    """The meter that suits the counter's tick, which is looked at for a quarter of a second at most."""
    if counter.reason:
        return NoMeter()
    tick_s = watched_tick_s(counter)
    if tick_s > SLOW_TICK_S:
        return TickMeter(counter, sensor=sensor)
    return EdgeMeter(counter, memory=memory, tick_s=tick_s)


def watched_tick_s(counter: EnergyCounter, clock_ns: Callable[[], int] = time.perf_counter_ns) -> float:
    """Seconds between two steps of the counter as it moves now, where it is said to be fine; never less than said."""
    if counter.tick_s > SLOW_TICK_S:
        return counter.tick_s
    steps: list[int] = []
    stop_ns = clock_ns() + _LOOK_NS
    try:
        counter.rebase()
        last_j = counter.read_j()
        while len(steps) <= _LOOK_STEPS and (now_ns := clock_ns()) < stop_ns:
            now_j = counter.read_j()
            if now_j != last_j:
                steps.append(now_ns)
                last_j = now_j
    except CounterLost:
        return counter.tick_s
    gaps_ns = [later - earlier for earlier, later in pairwise(steps)]
    return max(counter.tick_s, (statistics.median(gaps_ns) if gaps_ns else _LOOK_NS) * 1e-9)

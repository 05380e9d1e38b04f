"""Windows of energy: whole ticks of a slow counter, edges of a fast one."""

import threading
import time

import pytest

from plaster_ops.domain import metrics as m
from plaster_ops.plaster import energy
from plaster_ops.plaster import meter as meters
from plaster_ops.plaster.meter import (
    EdgeMeter,
    EnergyWindow,
    NoMeter,
    TickMeter,
    meter_for,
    tick_window,
    watched_tick_s,
)
from plaster_ops.plaster.power import CounterLost, NoCounter, PowerSample
from plaster_ops.plaster.sensing import integral_j, sum_up
from plaster_ops.plaster.timing import Timed, Turn
from plaster_ops.plaster.turns import THROUGHPUT, Bench
from tests.plaster.doubles import HandClock, KnownEngine, NumberedInputs, block, evidence, row_of, value_of
from tests.plaster.test_energy import RAPL


def timed(start_ns: int, *latencies_ns: int) -> Timed:
    return Timed(latencies_ns=list(latencies_ns), start_ns=start_ns, window_ns=sum(latencies_ns), cpu_s=0.0)


def test_a_tick_window_counts_what_ended_between_its_ticks() -> None:
    ticks = [(50, 0.5), (120, 1.0), (220, 3.0), (320, 6.0), (450, 9.0)]
    window = tick_window(ticks, timed(100, *[50] * 6), batch=4)
    assert window is not None
    assert window.joules == 5.0
    assert window.window_s == pytest.approx(200e-9)
    assert window.inferences == 4 * 4
    assert window.updates == 2


@pytest.mark.parametrize("query_ms", [90, 150, 300, 1000])
def test_queries_longer_than_a_tick_are_charged_what_they_draw(query_ms: int) -> None:
    """400 W throughout, a step every 100 ms: a query of t seconds draws 400 t joules."""
    ms = 1_000_000
    ticks = [(37 * ms + 100 * ms * k, 40.0 * k) for k in range(200)]
    window = tick_window(ticks, timed(200 * ms, *[query_ms * ms] * max(3, 3500 // query_ms)), batch=2)
    assert window is not None
    assert window.joules / window.inferences == pytest.approx(400.0 * query_ms * 1e-3 / 2, rel=1e-6)


def test_fewer_than_two_ticks_inside_a_block_give_no_window() -> None:
    assert tick_window([(50, 1.0), (150, 2.0)], timed(100, 100), batch=1) is None


class SteppedCounter:
    """Rises by one joule each time it is read; `fails_at` is the reading that finds it lost."""

    scope, source, tick_s, keep_s, reason, notes = "gpu", "nvml", 0.1, 100.0, "", ()

    def __init__(self, tick_s: float = 0.1, fails_at: int = 0) -> None:
        self.joules = 0.0
        self.tick_s, self.fails_at = tick_s, fails_at
        self.enough = threading.Event()

    def read_j(self) -> float:
        self.joules += 1.0
        if self.joules >= 5:
            self.enough.set()
        if self.joules == self.fails_at:
            raise CounterLost("it went back")
        return self.joules

    def rebase(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_a_tick_meter_polls_while_a_block_runs_and_then_stops() -> None:
    counter = SteppedCounter()
    meter = TickMeter(counter, period_s=0.001)
    start_ns = time.perf_counter_ns()
    meter.begin()
    assert counter.enough.wait(20)
    spent_ns = time.perf_counter_ns() - start_ns
    window = meter.end(timed(start_ns, spent_ns), batch=1)
    assert window is not None
    assert window.updates >= 1
    stopped_at = counter.joules
    assert not [thread for thread in threading.enumerate() if thread.name == "energy-ticks"]
    assert counter.joules == stopped_at


def test_an_edge_meter_counts_the_settling_query_with_the_block() -> None:
    clock = HandClock()
    meter = EdgeMeter(SteppedCounter(0.001), clock, memory=SteppedCounter(0.001))
    meter.begin()
    clock.now_ns = 500_000_000
    window = meter.end(timed(0, *[1] * 9), batch=2)
    assert window is not None
    assert (window.joules, window.inferences, window.window_s, window.dram_j) == (1.0, 20, 0.5, 1.0)


def test_an_edge_meter_reads_within_a_block_that_may_outlast_its_counter() -> None:
    counter = SteppedCounter(0.001)
    counter.keep_s = 0.01
    meter = EdgeMeter(counter)
    meter.begin(5.0)
    assert counter.enough.wait(20)
    assert meter.end(timed(0, 1), batch=1) is not None
    assert not [thread for thread in threading.enumerate() if thread.name == "energy-edges"]
    short = SteppedCounter(0.001)
    meter = EdgeMeter(short)
    meter.begin(5.0)
    assert not [thread for thread in threading.enumerate() if thread.name == "energy-edges"]


@pytest.mark.parametrize("fails_at", [1, 2])
def test_an_edge_meter_without_its_counter_has_no_window_and_says_why(fails_at: int) -> None:
    meter = EdgeMeter(SteppedCounter(0.001, fails_at), HandClock())
    meter.begin()
    assert meter.end(timed(0, 1), batch=1) is None
    assert meter.lost == "it went back"
    meter.begin()
    assert meter.end(timed(0, 1), batch=1) is None


def test_a_tick_meter_without_its_counter_has_no_window_and_says_why() -> None:
    meter = TickMeter(SteppedCounter(fails_at=3), period_s=0.0, wait=lambda _: False)
    meter.begin()
    assert meter.end(timed(0, 10**18), batch=1) is None
    assert meter.lost == "it went back"
    meter.begin()
    assert meter.end(timed(0, 10**18), batch=1) is None


class BrokenCounter(SteppedCounter):
    """Fails as no counter should."""

    def read_j(self) -> float:
        raise ValueError("seven")


def test_a_meter_that_breaks_off_for_any_reason_says_so() -> None:
    meter = TickMeter(BrokenCounter(), period_s=0.0)
    meter.begin()
    assert meter.end(timed(0, 10**18), batch=1) is None
    assert meter.lost == "the meter broke off (ValueError: seven)"


def test_a_sensor_that_breaks_off_takes_no_joules_with_it() -> None:
    class Broken:
        def sample(self, at_ns: int) -> PowerSample:
            del at_ns
            raise ValueError("eight")

    counter = SteppedCounter()
    meter = TickMeter(counter, sensor=Broken(), period_s=0.001)
    meter.begin()
    assert counter.enough.wait(20)
    window = meter.end(timed(0, 10**18), batch=1)
    assert window is not None
    assert window.sensed.power_j is None
    assert (meter.lost, meter.sensor_lost) == ("", "the sensor broke off (ValueError: eight)")


class PacedCounter(SteppedCounter):
    """Draws 20 W by a clock that every reading moves by 10 us, and tells it once in `true_s`."""

    def __init__(self, clock: HandClock, true_s: float) -> None:
        super().__init__(0.001)
        self.clock, self.true_s = clock, true_s

    def read_j(self) -> float:
        self.clock.now_ns += 10_000
        return 20.0 * self.true_s * (self.clock.now_ns // round(self.true_s * 1e9))


@pytest.mark.parametrize(("true_s", "told_s"), [(0.0002, 0.001), (0.001, 0.001), (0.01, 0.01), (10.0, 0.25)])
def test_the_tick_of_a_counter_is_watched(true_s: float, told_s: float) -> None:
    clock = HandClock()
    assert watched_tick_s(PacedCounter(clock, true_s), clock) == pytest.approx(told_s, rel=0.02)


def test_blocks_in_which_a_counter_did_not_move_are_counted_with_the_others() -> None:
    """A counter of 10 ms over blocks of 5 ms: 40 inferences a joule, where the moving blocks alone tell 20."""
    clock = HandClock()
    meter = EdgeMeter(PacedCounter(clock, 0.01), clock, tick_s=0.01)
    blocks = []
    for number in range(400):
        meter.begin()
        clock.now_ns += 4_990_000
        window = meter.end(timed(0, *[1] * 3), batch=1)
        assert window is not None
        blocks.append(block("now", number, [1] * 3, kind=THROUGHPUT, energy=window))
    rows = energy.read(evidence(blocks, energy=RAPL), "now")
    assert value_of(rows, m.INFERENCES_PER_J) == pytest.approx(40.0, rel=0.05)
    still = [block("now", 0, [1], kind=THROUGHPUT, energy=EnergyWindow(joules=0, window_s=1, inferences=1, updates=9))]
    assert "did not move" in str(row_of(energy.read(evidence(still, energy=RAPL), "now"), m.INFERENCES_PER_J).reason)


def test_what_the_meter_itself_took_is_not_the_engines() -> None:
    class Busy(NoMeter):
        is_fine, load = True, 0.25

    clock = HandClock()
    runs = {"a": KnownEngine(clock, lambda *_: 1_000_000).run}
    bench = Bench(runs=runs, inputs=NumberedInputs(), meter=Busy(), clock_ns=clock, cpu_s=clock.cpu_s)
    bench.take(THROUGHPUT, Turn(label="a", index=0, position=0), batch=1, count=10, limit_s=1.0)
    assert bench.blocks[0].timed.cpu_s == pytest.approx(0.0075)


def test_a_polling_meter_knows_what_it_takes() -> None:
    def spin(_: float) -> bool:
        return time.thread_time() > 0.05

    meter = TickMeter(SteppedCounter(), wait=spin)
    meter.begin()
    meter.end(timed(0, 10**18), batch=1)
    assert 0.0 < meter.load <= 1.05


def test_the_meter_follows_the_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    slow, fast = SteppedCounter(), SteppedCounter(0.001)
    assert isinstance(meter_for(slow), TickMeter)
    assert isinstance(meter_for(fast), EdgeMeter)
    assert isinstance(meter_for(NoCounter("none")), NoMeter)
    monkeypatch.setattr(meters, "watched_tick_s", lambda _: 0.01)
    assert isinstance(meter_for(fast), TickMeter)
    assert NoMeter().end(timed(0, 1), 1) is None


def samples(*watts: float | None) -> list[PowerSample]:
    return [PowerSample(at_ns=i * 10**9, power_w=w) for i, w in enumerate(watts)]


def test_the_integral_of_power_is_that_of_the_trapezoids_with_its_ends_held() -> None:
    assert integral_j(samples(10, 20, 20, 10), 0, 3 * 10**9) == pytest.approx(50.0)
    assert integral_j(samples(10, 20, 20, 10), -(10**9), 4 * 10**9) == pytest.approx(70.0)
    assert integral_j(samples(10, None, 20, 10), 0, 3 * 10**9) is None


def test_samples_outside_a_window_do_not_count() -> None:
    inside = sum_up(samples(1000, 10, 10, 10, 10, 1000), 10**9, 4 * 10**9)
    assert inside.power_j == pytest.approx(30.0)
    assert sum_up([], 0, 1).temp_start_c is None

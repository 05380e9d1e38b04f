"""The counts of a fit, stepped by a clock of our own."""

import json
from dataclasses import dataclass

from plaster_ops.training.fitlog import FitLog, Throttle, thin_out


@dataclass
class SteppedClock:
    now_s: float = 0.0

    def now_utc(self) -> float:
        return 1000.0 + self.now_s

    def monotonic_s(self) -> float:
        return self.now_s


def test_counts_go_on_from_a_checkpoint() -> None:
    clock = SteppedClock()
    before = FitLog(clock)
    before.start()
    clock.now_s = 4.0
    before.count(16)
    before.count(10)
    before.sum_up(before.unsummed)
    before.draw(2, {"loss": 0.5, "broken": float("nan")})
    after = FitLog(clock, json.loads(json.dumps(before.to_json())))
    clock.now_s = 10.0
    after.start()
    clock.now_s = 11.0
    after.count(16)
    after.sum_up(after.unsummed)
    after.end()
    clock.now_s = 99.0
    assert (after.fit_s, after.attempt_s, after.samples) == (5.0, 1.0, 42)
    assert after.curves == [{"key": "loss", "step": 2, "value": 0.5, "timestamp_ms": 1_004_000}]


def test_one_batch_of_unknown_size_makes_the_sum_unknown() -> None:
    log = FitLog(SteppedClock())
    log.count(16)
    log.count(None)
    log.count(16)
    assert log.unsummed is None
    log.sum_up(None)
    log.sum_up(32)
    assert log.samples is None


def test_the_time_to_target_is_that_of_the_first_time() -> None:
    clock = SteppedClock()
    log = FitLog(clock)
    log.start()
    log.reach(reached=False)
    clock.now_s = 3.0
    log.reach(reached=True)
    clock.now_s = 5.0
    log.reach(reached=True)
    assert log.time_to_target_s == 3.0


def test_long_curves_are_thinned_evenly_with_both_ends_kept() -> None:
    curves = [{"key": key, "step": step, "value": 0.0} for step in range(2000) for key in ("a", "b")]
    kept = thin_out(curves, most=100)
    steps = [point["step"] for point in kept if point["key"] == "a"]
    assert len(kept) == 100
    assert (steps[0], steps[-1], steps) == (0, 1999, sorted(steps))
    assert thin_out(curves[:10]) == curves[:10]


def test_a_throttle_opens_once_a_while() -> None:
    clock = SteppedClock()
    throttle = Throttle(1.0, clock.monotonic_s)
    opened = []
    for now_s in (0.0, 0.5, 1.0, 1.9, 2.1):
        clock.now_s = now_s
        opened.append(throttle.opens())
    assert opened == [True, False, True, False, True]

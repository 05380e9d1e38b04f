"""The counts of a fit, stepped by a clock of our own."""

import json
from dataclasses import dataclass

from plaster_ops.training.fitlog import FitLog, Throttle, thin_out


@dataclass
class SteppedClock:
    now_s: float = 0.0
    set_by_s: float = 0.0

    def now_utc(self) -> float:
        return 1000.0 + self.now_s + self.set_by_s

    def monotonic_s(self) -> float:
        return self.now_s


def test_counts_go_on_from_a_checkpoint() -> None:
    clock = SteppedClock()
    before = FitLog(clock)
    before.start()
    clock.now_s = 4.0
    before.begin_epoch(25)
    before.count(16)
    before.settle()
    before.count(10)
    before.sum_up(before.unsummed())
    before.draw(2, {"loss": 0.5, "broken": float("nan")})
    after = FitLog(clock, json.loads(json.dumps(before.to_json())))
    clock.now_s = 10.0
    after.start()
    clock.now_s = 11.0
    after.begin_epoch(None)
    after.count(16)
    after.sum_up(after.unsummed())
    after.end()
    clock.now_s = 99.0
    assert (after.fit_s, after.attempt_s, after.samples, after.learned) == (5.0, 1.0, 42, 41)
    assert (after.steady_samples, after.largest_batch) == (10, 16)
    assert after.curves == [{"key": "loss", "step": 2, "value": 0.5, "timestamp_ms": 1_004_000}]


def test_a_wall_clock_that_is_set_bends_no_curve() -> None:
    clock = SteppedClock()
    log = FitLog(clock)
    log.draw(1, {"loss": 0.5})
    clock.now_s, clock.set_by_s = 2.0, -3600.0
    log.draw(2, {"loss": 0.4})
    assert [point["timestamp_ms"] for point in log.curves] == [1_000_000, 1_002_000]


def test_one_batch_of_unknown_size_makes_the_sum_unknown() -> None:
    log = FitLog(SteppedClock())
    log.count(16)
    log.count(None)
    log.count(16)
    assert log.unsummed() == [32, 1, 0, 32, 1]
    log.sum_up(log.unsummed())
    log.sum_up([32, 0, 0, 32, 0])
    assert (log.samples, log.learned, log.steady_samples) == (None, None, None)
    assert log.learned_reason == "a batch does not tell its size"


def test_an_epoch_whose_repeats_cannot_be_told_apart_makes_only_what_was_learned_unknown() -> None:
    log = FitLog(SteppedClock())
    for reason in ("", "nobody knows"):
        log.begin_epoch(None, reason)
        log.count(16)
        log.sum_up(log.unsummed())
    assert (log.samples, log.learned, log.learned_reason) == (32, None, "nobody knows")


def test_the_rank_works_alone_from_the_end_of_a_step_to_its_backward() -> None:
    clock = SteppedClock()
    log = FitLog(clock)
    log.start()
    for forward_s, backward_s, validation_s in ((1.0, 4.0, 0.0), (2.0, 4.0, 8.0), (0.5, 4.0, 0.0)):
        clock.now_s += forward_s
        log.worked()
        clock.now_s += backward_s
        log.step()
        clock.now_s += validation_s
        log.set_free()
    assert log.work_s == 3.5


def test_the_time_to_target_is_that_of_the_first_time_without_its_evaluation() -> None:
    clock = SteppedClock()
    log = FitLog(clock)
    log.start()
    log.reach(reached=False, epochs=1)
    clock.now_s = 3.0
    log.count(8)
    log.step()
    log.sum_up(log.unsummed())
    clock.now_s = 3.5
    log.reach(reached=True, epochs=2)
    clock.now_s = 5.0
    log.reach(reached=True, epochs=3)
    assert (log.time_to_target_s, log.epochs_to_target, log.samples_to_target) == (3.0, 2, 8)


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

"""The change-point scan: what it finds, what it leaves alone, and what it says where it cannot look."""

import math
import time

import numpy as np
import pytest

from plaster_ops.domain.alarm import AlarmShape
from plaster_ops.domain.metric import Better, Scale
from plaster_ops.domain.scan import scan, scan_all
from plaster_ops.domain.watch import FEWEST
from tests.domain.histories import noise, step, told_online, values


def test_a_step_is_found_three_runs_after_it_with_both_levels_and_its_size() -> None:
    series = values(step(noise(np.random.default_rng(1), 43, 0.01), 40, 0.1))
    change = scan(series).change
    assert change is not None
    assert (change.at, change.shape) == (40, AlarmShape.STEP)
    assert change.before == pytest.approx(10.0, rel=0.01)
    assert change.after == pytest.approx(10.0 * math.exp(0.1), rel=0.02)
    assert change.change == pytest.approx(change.after / change.before - 1)
    assert change.p_value is not None
    assert change.p_value < 1e-4
    assert scan(series[:41]).change is None


def test_the_same_history_gives_the_same_answer() -> None:
    series = values(step(noise(np.random.default_rng(2), 60, 0.03), 40, 0.2))
    assert scan(series) == scan(list(series))


def test_one_spike_is_no_level() -> None:
    series = values(noise(np.random.default_rng(3), 60, 0.01))
    series[50] *= 1.8
    assert scan(series).change is None
    assert all(scan(series[:n]).change is None for n in range(8, 60))


def test_the_regime_begins_anew_at_a_change_and_the_way_back_is_another_one() -> None:
    logs = noise(np.random.default_rng(4), 60, 0.01)
    logs[30:45] += 0.2
    found = told_online(values(logs))
    assert [change.at for change, _ in found] == [30, 45]
    assert [newest - change.at for change, newest in found] == [2, 2]
    assert scan_all(values(logs))[-1].at == 45


def test_a_change_below_what_matters_is_not_told() -> None:
    series = values(step(noise(np.random.default_rng(5), 60, 0.002), 40, 0.02))
    assert scan(series, least=0.01).change is not None
    assert scan(series, least=0.05).change is None


def test_a_score_is_scanned_as_it_is() -> None:
    rng = np.random.default_rng(6)
    series = [*(rng.binomial(2000, 0.93, 40) / 2000), *(rng.binomial(2000, 0.90, 4) / 2000)]
    change = scan(series, scale=Scale.DIFFERENCE, least=0.0025).change
    assert change is not None
    assert change.at == 40
    assert change.change == pytest.approx(change.after - change.before)
    lower = [value - 2.0 for value in series]
    assert scan(lower, scale=Scale.DIFFERENCE, least=0.0025).change is not None


def test_a_ramp_is_called_one_and_a_step_is_not() -> None:
    rng = np.random.default_rng(7)
    slope = 0.3 * np.clip((np.arange(60) - 30) / 30, 0, 1)
    ramp = scan(values(noise(rng, 60, 0.02) + slope)).change
    late = scan(values(step(noise(rng, 60, 0.02), 30, 0.3))).change
    assert ramp is not None
    assert late is not None
    assert (ramp.shape, late.shape) == (AlarmShape.RAMP, AlarmShape.STEP)


def test_an_exact_metric_needs_no_test_and_one_value() -> None:
    change = scan([5, 5, 6], scale=Scale.EXACT).change
    assert change is not None
    assert (change.at, change.before, change.after, change.p_value) == (2, 5.0, 6.0, None)
    assert scan([7, 8], scale=Scale.EXACT).change is not None
    assert scan([7, 7], scale=Scale.EXACT).change is None
    assert scan([100.0, 100.2, 101.0], scale=Scale.EXACT, least=0.005).change.at == 2  # type: ignore[union-attr]


def test_an_exact_metric_that_was_zero_changes_by_a_difference() -> None:
    change = scan([0, 0, 2], scale=Scale.EXACT).change
    assert change is not None
    assert change.change == 2.0


def test_a_creep_below_every_step_is_told_once_it_is_beyond_the_margin() -> None:
    logs = noise(np.random.default_rng(8), 300, 0.01) + 0.08 * np.arange(300) / 300
    found = told_online(values(logs), least=0.05, margin=0.05, better=Better.LOWER)
    assert found
    assert found[0][0].shape is AlarmShape.CREEP
    assert found[0][0].change >= 0.05
    assert not told_online(values(-logs), least=0.05, margin=0.05, better=Better.LOWER), "better is no creep"
    assert not told_online(values(logs), least=0.05, margin=None, better=Better.LOWER)


def test_noise_that_grows_is_a_note_and_no_change() -> None:
    rng = np.random.default_rng(9)
    found = scan(values(np.concatenate([noise(rng, 60, 0.01), noise(rng, 20, 0.04)])))
    assert found.change is None
    assert found.noise is not None
    assert found.noise.ratio > 2
    assert scan(values(noise(rng, 80, 0.01))).noise is None


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, -1.0, 0.0])
def test_values_that_are_no_numbers_are_left_out_and_said_so(value: float | None) -> None:
    series: list[float | None] = [*values(step(noise(np.random.default_rng(10), 44, 0.01), 40, 0.2))]
    series.insert(20, value)
    found = scan(series)
    assert found.change is not None
    assert found.change.at == 41
    assert found.left_out == "1 of 45 values left out: not a positive number"
    empty = scan([value] * 20)
    assert (empty.n, empty.level, empty.reason) == (0, None, "not enough history (0 of 8)")
    assert empty.left_out == "20 of 20 values left out: not a positive number"


@pytest.mark.parametrize("scale", list(Scale))
def test_values_of_any_size_end_in_an_answer(scale: Scale) -> None:
    series = [1e300, 1e-300, 5e-324, 1e308] * 10
    assert scan(series, scale=scale).n in (20, 40)


@pytest.mark.parametrize("n", range(FEWEST))
def test_too_few_runs_are_told_by_number(n: int) -> None:
    assert scan([10.0 + place for place in range(n)]).reason == f"not enough history ({n} of 8)"


@pytest.mark.parametrize("scale", list(Scale))
def test_one_value_repeated_is_no_change(scale: Scale) -> None:
    found = scan([3.0] * 200, scale=scale)
    assert (found.change, found.n, found.level) == (None, 200, 3.0)


def test_rounded_values_are_not_taken_for_levels() -> None:
    rng = np.random.default_rng(11)
    rounded = [float(round(13.4 + each)) for each in noise(rng, 150, 0.3)]
    assert set(rounded) == {13.0, 14.0}
    assert len(told_online(rounded)) <= 1


@pytest.mark.parametrize(("n", "limit_s"), [(500, 0.005), (5000, 0.05)])
def test_one_more_run_costs_milliseconds(n: int, limit_s: float) -> None:
    series = values(noise(np.random.default_rng(12), n, 0.03))
    scan(series, margin=0.05, better=Better.LOWER)
    tried = []
    for _ in range(7):
        start_s = time.perf_counter()
        scan(series, margin=0.05, better=Better.LOWER)
        tried.append(time.perf_counter() - start_s)
    assert min(tried) <= limit_s

"""The statistic of a split, held against its definition by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from plaster_ops.domain.metric import Scale
from plaster_ops.domain.scan import scan
from plaster_ops.domain.scan_splits import NORMAL_MAD, spread_floor, two_sample_t, two_sided_p
from tests.domain.histories import noise, step, values


def clipped(value: float, most: float) -> float:
    return max(-most, min(most, value))


def test_t_is_of_deviations_clipped_at_three_on_the_left_and_at_five_on_the_right() -> None:
    left, right = [0.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 40.0], [9.0, 11.0, 10.0, 10.0]
    low, high = float(np.median(left)), float(np.median(right))
    n = len(left) + len(right)
    deviations = [abs(each - low) for each in left] + [abs(each - high) for each in right]
    sigma = NORMAL_MAD * float(np.median(deviations)) * math.sqrt(n / (n - 3))
    mean_left = sum(clipped((each - low) / sigma, 3.0) for each in left) / len(left)
    wide = [clipped((each - low) / sigma, 5.0) for each in (*left, *right)]
    mean_right = sum(wide[len(left) :]) / len(right)
    centre = sum(wide[: len(left)]) / len(left)
    squares = sum(each**2 for each in wide) - len(left) * centre**2 - len(right) * mean_right**2
    spread = max(math.sqrt(squares / (n - 2)), 0.5)
    expected = abs(mean_right - mean_left) / (spread * math.sqrt(1 / len(left) + 1 / len(right)))
    assert two_sample_t(np.array(left), np.array(right)) == pytest.approx(expected)


def test_a_p_value_is_two_sided() -> None:
    assert two_sided_p(2.5, 12) == pytest.approx(2 * stats.t.sf(2.5, 12))
    assert two_sided_p(-2.5, 12) == two_sided_p(2.5, 12)


def test_the_spread_is_never_below_what_floats_of_that_size_round_to() -> None:
    assert spread_floor(np.array([0.0, 1e6, 3e6, 2e6])) == pytest.approx(3e-3)
    assert spread_floor(np.array([1.0, 1.0])) == 1e-12


def test_a_change_far_back_in_a_long_regime_has_its_own_place() -> None:
    series = values(step(noise(np.random.default_rng(1), 200, 0.01), 190, 0.1))
    change = scan(series).change
    assert change is not None
    assert change.at == 190
    assert change.before == pytest.approx(10.0, rel=0.01)


def test_an_exact_value_that_moved_by_just_what_is_told_is_told() -> None:
    assert scan([100.0, 100.0, 101.0], scale=Scale.EXACT, least=0.01).change is not None
    assert scan([100.0, 100.0, 100.5], scale=Scale.EXACT, least=0.01).change is None

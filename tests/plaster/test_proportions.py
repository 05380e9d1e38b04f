"""Wilson, McNemar and Tango against values worked out by hand."""

import math

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from plaster_ops.plaster.proportions import Z90, Z95, mcnemar_midp, paired_interval, wilson_interval


def test_wilson_bounds_are_the_roots_of_the_score_equation() -> None:
    low, high = wilson_interval(90, 100)
    for bound in (low, high):
        assert abs(0.9 - bound) == pytest.approx(Z95 * math.sqrt(bound * (1 - bound) / 100), rel=1e-9)
    assert (round(low, 4), round(high, 4)) == (0.8256, 0.9448)


def test_wilson_never_leaves_0_to_1() -> None:
    assert wilson_interval(0, 10) == (0.0, pytest.approx(Z95**2 / (10 + Z95**2)))
    assert 0.7 < wilson_interval(10, 10)[0] < wilson_interval(10, 10)[1] <= 1.0


@pytest.mark.parametrize(
    ("gained", "lost", "p_value"),
    [(1, 7, 10 / 256), (7, 1, 10 / 256), (0, 5, 1 / 32), (3, 3, 1.0), (0, 0, 1.0), (2, 4, 2 * (7 + 7.5) / 64)],
)
def test_mcnemars_midp_by_hand(gained: int, lost: int, p_value: float) -> None:
    assert mcnemar_midp(gained, lost) == pytest.approx(p_value)


def test_without_discordant_pairs_the_interval_is_z2_over_n_plus_z2() -> None:
    low, high = paired_interval(0, 0, 360)
    assert high == pytest.approx(Z95**2 / (360 + Z95**2), abs=1e-9)
    assert low == pytest.approx(-high, abs=1e-9)
    assert paired_interval(0, 0, 360, Z90)[1] < high


@pytest.mark.parametrize(("gained", "lost", "excludes"), [(12, 2, True), (10, 4, False), (4, 10, False), (2, 12, True)])
def test_the_interval_excludes_zero_exactly_where_mcnemars_z_does(gained: int, lost: int, excludes: bool) -> None:
    assert (abs(gained - lost) / math.sqrt(gained + lost) > Z95) is excludes
    low, high = paired_interval(gained, lost, 50)
    assert (low > 0 or high < 0) is excludes
    assert low < (gained - lost) / 50 < high


def test_swapping_the_engines_mirrors_the_interval() -> None:
    low, high = paired_interval(9, 3, 80)
    assert paired_interval(3, 9, 80) == (pytest.approx(-high, abs=1e-9), pytest.approx(-low, abs=1e-9))


def test_everything_gained_is_a_difference_of_one() -> None:
    low, high = paired_interval(20, 0, 20)
    assert high == pytest.approx(1.0)
    assert 0.5 < low < 1.0


def test_the_interval_covers_a_true_difference_of_3_points_in_about_95_of_100_sets() -> None:
    generator = np.random.default_rng(3)
    covered = 0
    for _ in range(400):
        gained, lost, _same = generator.multinomial(300, [0.06, 0.03, 0.91])
        low, high = paired_interval(int(gained), int(lost), 300)
        covered += low <= 0.03 <= high
    assert 0.92 <= covered / 400 <= 0.98


@pytest.mark.parametrize(("right", "n"), [(0, 1), (1, 1), (0, 30), (30, 30), (1, 2), (213, 221), (4_269 - 9, 4_269)])
def test_wilson_is_scipys_down_to_one_sample_and_out_to_all_right_and_all_wrong(right: int, n: int) -> None:
    theirs = binomtest(right, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(right, n) == (pytest.approx(theirs.low, abs=1e-9), pytest.approx(theirs.high, abs=1e-9))


def test_one_sample_says_next_to_nothing() -> None:
    share = Z95**2 / (1 + Z95**2)
    assert wilson_interval(0, 1) == (0.0, pytest.approx(share))
    assert wilson_interval(1, 1) == (pytest.approx(1 - share), 1.0)
    low, high = paired_interval(1, 0, 1)
    assert low < 0 < high <= 1.0
    assert mcnemar_midp(1, 0) == 0.5


@pytest.mark.parametrize(("gained", "lost"), [(0, 1), (0, 6), (9, 2), (40, 60), (0, 200)])
def test_mid_p_is_the_exact_binomial_test_with_half_of_what_was_seen(gained: int, lost: int) -> None:
    n, fewer = gained + lost, min(gained, lost)
    exact = binomtest(fewer, n, 0.5).pvalue
    assert mcnemar_midp(gained, lost) == pytest.approx(exact - binom.pmf(fewer, n, 0.5), rel=1e-9)


def test_nothing_lost_of_all_pairs_discordant_and_all_lost_are_the_ends() -> None:
    assert paired_interval(0, 30, 30)[0] == pytest.approx(-1.0)
    assert paired_interval(15, 15, 30) == (pytest.approx(-0.3367, abs=2e-2), pytest.approx(0.3367, abs=2e-2))

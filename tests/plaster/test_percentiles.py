"""Percentiles: METRICS.md's table of ranks and the early-stopping vectors that LoadGen publishes."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plaster_ops.plaster import percentiles as p

RANKS = {
    100: {0.50: (40, 61), 0.90: (84, 96), 0.95: (90, 100), 0.99: None},
    500: {0.50: (228, 273), 0.90: (436, 464), 0.95: (465, 485), 0.99: (490, 500)},
    1_000: {0.50: (469, 532), 0.90: (881, 919), 0.95: (936, 964), 0.99: (983, 997)},
    2_000: {0.50: (956, 1045), 0.90: (1773, 1827), 0.95: (1880, 1920), 0.99: (1971, 1989)},
    10_000: {0.50: (4902, 5099), 0.90: (8941, 9059), 0.95: (9457, 9543), 0.99: (9880, 9920)},
}
EARLY = {
    1_000: (78, 34, 2),
    2_000: (168, 77, 9),
    5_000: (450, 214, 33),
    10_000: (930, 449, 77),
    24_576: (2348, 1149, 209),
}


@pytest.mark.parametrize(("count", "quantile"), [(n, q) for n, row in RANKS.items() for q in row])
def test_ranks_of_the_95_percent_interval_are_those_of_the_table(count: int, quantile: float) -> None:
    assert p.rank_interval(count, quantile) == RANKS[count][quantile]


@pytest.mark.parametrize(("quantile", "fewest"), [(0.5, 6), (0.9, 36), (0.95, 72), (0.99, 368)])
def test_an_interval_first_exists_at_the_stated_number_of_samples(quantile: float, fewest: int) -> None:
    assert p.fewest_for_interval(quantile) == fewest
    assert p.rank_interval(fewest, quantile) is not None
    assert p.rank_interval(fewest - 1, quantile) is None


@pytest.mark.parametrize("count", EARLY)
def test_early_stopping_drops_as_many_as_loadgen(count: int) -> None:
    assert tuple(p.early_stopping_rank(count, q) for q in (0.90, 0.95, 0.99)) == EARLY[count]


@pytest.mark.parametrize(("quantile", "fewest"), [(0.5, 11), (0.9, 64), (0.95, 130), (0.99, 662), (0.999, 6636)])
def test_an_early_stopping_estimate_first_exists_at_loadgens_minimum(quantile: float, fewest: int) -> None:
    assert p.early_stopping_rank(fewest, quantile) == 1
    assert p.early_stopping_rank(fewest - 1, quantile) is None
    assert p.fewest_to_pass(1, quantile) == fewest


def test_the_estimate_is_the_tth_largest_latency() -> None:
    assert p.early_stopping_estimate(list(range(1, 1001)), 0.99) == 999
    assert p.early_stopping_estimate(list(range(1, 2001)), 0.99) == 1992
    assert p.early_stopping_estimate(list(range(100)), 0.99) is None


def test_a_limit_is_passed_without_a_slow_query_from_459_on() -> None:
    assert p.fewest_to_pass(0) == 459
    assert p.fewest_to_pass(1) == 662
    assert not p.passes(458, 0)
    assert p.passes(459, 0)
    assert not p.passes(459, 1)
    assert not p.passes(0, 0)


def test_clearly_over_needs_more_than_one_unlucky_query() -> None:
    assert not p.is_clearly_over(20, 1)
    assert not p.is_clearly_over(20, 0)
    assert p.is_clearly_over(20, 4)
    assert not p.is_clearly_over(1000, 15)
    assert p.is_clearly_over(1000, 25)


def test_percentiles_are_nearest_rank_not_interpolated() -> None:
    assert p.percentile([1, 2, 3, 4], 0.5) == 2
    assert p.percentile([1, 2, 3, 4, 5], 0.5) == 3
    assert p.percentile(list(range(1, 101)), 0.99) == 99
    assert p.percentile([7], 0.01) == 7


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3000), st.data(), st.sampled_from([0.01, 0.1, 0.5, 0.9, 0.99]))
def test_the_binomial_law_agrees_with_scipy(trials: int, data: st.DataObject, probability: float) -> None:
    from scipy.stats import binom

    successes = data.draw(st.integers(-1, trials))
    assert math.isclose(
        p.binomial_cdf(successes, trials, probability), binom.cdf(successes, trials, probability), abs_tol=1e-10
    )


def test_far_out_in_the_tail_nothing_is_summed() -> None:
    """Every term is 0 there; one by one, 40 thousand million of them would outlast this test's time."""
    assert p.binomial_cdf(40_000_000_000, 100_000_000_000, 0.5) == 0.0


def test_the_early_stopping_estimate_is_an_upper_bound_in_at_least_97_of_100_seeds() -> None:
    truth = -math.log(0.01)
    above = sum(
        p.early_stopping_estimate(sorted(np.random.default_rng(seed).exponential(1, 1500)), 0.99) >= truth  # type: ignore[arg-type, operator]
        for seed in range(100)
    )
    assert above >= 97


def test_the_most_that_may_be_slow_is_one_less_than_what_fails() -> None:
    for queries in (459, 662, 2_000, 50_000):
        most = p.most_to_pass(queries)
        assert p.passes(queries, most)
        assert not p.passes(queries, most + 1)
    assert p.most_to_pass(458) == -1
    assert p.most_to_pass(459) == 0

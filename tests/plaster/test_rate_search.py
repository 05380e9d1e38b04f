"""The largest rate that is certified, on queues whose largest rate is known; the long study is in benchmarks/."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from plaster_ops.plaster.clustering import Tail, busy_periods, inflation, judge_tail
from plaster_ops.plaster.percentiles import passes
from plaster_ops.plaster.rate_search import FoundRate, Trial, find_rate
from tests.plaster.queues import CAPACITY_PER_S, LAWS, certified_load, is_over_ms, limit_ms, recursed_ns, simulate

LOAD = 0.9
NEVER: Callable[[], bool] = lambda: False  # noqa: E731


# ---- against the truth -----------------------------------------------------------------------------------------------
def test_what_theory_says_is_what_the_queues_do() -> None:
    for law in LAWS:
        slo_ms = limit_ms(law, 0.5)
        served = simulate(law, 0.5, 200_000, [5])
        assert is_over_ms(law, 0.5, slo_ms) == pytest.approx(0.01)
        assert np.mean(served.latencies_ns > slo_ms * 1e6) == pytest.approx(0.01, rel=0.15)


@pytest.mark.parametrize(("law", "queries"), [("M/D/1", 400_000), ("M/M/1", 600_000)])
def test_a_certified_rate_is_within_3_percent_of_the_truth_and_keeps_the_limit(law: str, queries: int) -> None:
    slo_ms = limit_ms(law, LOAD)
    for seed in range(2):
        rate = certified_load(law, slo_ms, queries, seed, by_recursion=True).rate_per_s
        assert rate is not None
        assert rate == pytest.approx(CAPACITY_PER_S * LOAD, rel=0.03)
        assert is_over_ms(law, rate / CAPACITY_PER_S, slo_ms) <= 0.01


def test_the_server_itself_is_certified_as_its_recursion_is() -> None:
    slo_ms = limit_ms("M/D/1", 0.7)
    found = [certified_load("M/D/1", slo_ms, 20_000, 1, by_recursion=given) for given in (False, True)]
    assert found[0].rate_per_s is not None
    assert found[0].rate_per_s == pytest.approx(found[1].rate_per_s, rel=0.03)
    assert is_over_ms("M/D/1", found[0].rate_per_s / CAPACITY_PER_S, slo_ms) <= 0.01


@pytest.mark.parametrize(("law", "load"), [("M/M/1", 0.5), ("M/M/1", 0.9), ("M/D/1", 0.8)])
def test_where_p99_is_the_limit_raw_counts_pass_far_too_often_and_effective_ones_do_not(law: str, load: float) -> None:
    """A rule with 99 % confidence may pass once in a hundred times: 5 of 150 are beyond chance."""
    slo_ns, queries = limit_ms(law, load) * 1e6, 10_000
    raw = corrected = 0
    for seed in range(150):
        tail = judge_tail(*recursed_ns(law, load, queries, [seed]), slo_ns)
        raw += passes(tail.queries, tail.over)
        corrected += tail.passes()
    assert raw > 15
    assert corrected <= 5


# ---- clusters --------------------------------------------------------------------------------------------------------
def test_a_busy_period_begins_where_a_query_finds_nothing_to_do() -> None:
    due, latencies = np.array([0, 5, 12, 30, 31]), np.array([10, 9, 4, 1, 1])
    assert busy_periods(due, latencies).tolist() == [0, 3, 4]


def test_independent_queries_count_fully() -> None:
    latencies = np.random.default_rng(1).integers(1, 1_000_000, 20_000)
    due = np.arange(20_000) * 2_000_000
    assert inflation(due, latencies) == pytest.approx(1.0, abs=0.6)


def test_slow_queries_in_clusters_count_as_one_each() -> None:
    latencies = np.full(20_000, 1_000_000)
    latencies[np.arange(20_000) % 2_000 < 20] = 9_000_000
    due = np.arange(20_000) * 2_000_000
    assert inflation(due, latencies) >= 15
    tail = judge_tail(due, latencies, 5e6)
    assert (tail.queries, tail.over) == (20_000, 200)


def test_effective_counts_are_rounded_against_the_server() -> None:
    tail = Tail(queries=1000, over=3, inflation=2.0)
    assert tail.effective == (500, 2)
    assert not Tail(queries=900, over=0, inflation=2.0).passes()
    assert Tail(queries=920, over=0, inflation=2.0).passes()
    assert Tail(queries=920, over=60, inflation=2.0).is_clearly_over()


def test_streams_together_keep_the_mean_inflation() -> None:
    pooled = Tail.of_all([Tail(queries=100, over=1, inflation=2.0), Tail(queries=300, over=2, inflation=6.0)])
    assert (pooled.queries, pooled.over, pooled.inflation) == (400, 3, 5.0)


# ---- the search ------------------------------------------------------------------------------------------------------
def searched(
    over_of: Callable[[float, int], float], queries: int = 100_000, is_time_up: Callable[[], bool] = NEVER
) -> FoundRate:
    """A search where the share of slow queries depends on rate and number of the run."""
    trials = 0

    def try_rate(rate_per_s: float, certifies: bool) -> Trial:
        nonlocal trials
        trials += 1
        tail = Tail(queries=queries, over=round(queries * over_of(rate_per_s, trials)), inflation=1.0)
        return Trial(number=trials, rate_per_s=rate_per_s, certifies=certifies, tail=tail, p99_ms=rate_per_s)

    return find_rate(try_rate, capacity_per_s=1000.0, is_search_over=NEVER, is_time_up=is_time_up)


def test_the_search_ends_within_1_percent_and_certifies_with_two_fresh_runs() -> None:
    found = searched(lambda rate, _number: 0.0 if rate <= 700 else 0.5)
    assert found.rate_per_s is not None
    assert 0.99 * 700 <= found.rate_per_s <= 700
    last = found.trials[-2:]
    assert [trial.certifies for trial in last] == [True, True]
    assert {trial.rate_per_s for trial in last} == {found.rate_per_s}
    assert len({trial.number for trial in found.trials}) == len(found.trials)


def test_a_rate_that_fails_its_second_run_is_stepped_down_a_little() -> None:
    first = searched(lambda rate, _number: 0.0 if rate <= 700 else 0.5)
    second = len(first.trials)
    found = searched(lambda rate, number: 0.0 if rate <= 700 and number != second else 0.5)
    assert found.rate_per_s == pytest.approx(0.99 * (first.rate_per_s or 0.0))
    assert len(found.trials) == second + 2


def test_a_capacity_that_was_guessed_too_low_is_left_behind() -> None:
    found = searched(lambda rate, _number: 0.0 if rate <= 3000 else 0.5)
    assert found.rate_per_s == pytest.approx(3000, rel=0.01)


def test_a_limit_that_no_rate_keeps_gives_no_rate_and_the_best_p99() -> None:
    found = searched(lambda _rate, _number: 0.5)
    assert found.rate_per_s is None
    assert found.best_p99_ms == min(trial.rate_per_s for trial in found.trials)
    assert found.best_p99_ms == pytest.approx(1000 / 64)


def test_too_few_queries_certify_nothing_and_lower_rates_which_have_fewer_are_not_tried() -> None:
    found = searched(lambda _rate, _number: 0.0, queries=200)
    assert found.rate_per_s is None
    assert sum(trial.certifies for trial in found.trials) == 1


def test_when_the_time_is_up_no_lower_rate_is_tried() -> None:
    found = searched(lambda _rate, number: 0.02 if number > 9 else 0.0, is_time_up=lambda: True)
    assert found.rate_per_s is None
    assert sum(trial.certifies for trial in found.trials) == 1


def test_where_no_run_could_pass_the_step_is_larger() -> None:
    """At 600 queries worth 300 nothing passes, however few are slow."""
    rates = []

    def try_rate(rate_per_s: float, certifies: bool) -> Trial:
        if certifies:
            rates.append(rate_per_s)
        tail = Tail(queries=600, over=0, inflation=2.0 if rate_per_s > 350 else 1.0)
        return Trial(number=0, rate_per_s=rate_per_s, certifies=certifies, tail=tail, p99_ms=1.0)

    find_rate(try_rate, capacity_per_s=1000.0, is_search_over=lambda: True, is_time_up=NEVER)
    cut = (300 / 459) ** 0.5
    assert rates == pytest.approx([500.0, 500.0 * cut, 500.0 * cut**2, 500.0 * cut**2])


def test_what_certifies_is_tried_where_the_tail_says_that_it_will_pass() -> None:
    """The share that is too slow grows by a third of a per cent for each query more; those that certify are unlucky."""
    trials: list[Trial] = []

    def run(rate: float, certifies: bool) -> Trial:
        queries = 32_000 if certifies else 8_000
        share = 0.01 * math.exp((rate - 1000.0) / 300.0) * (1.1 if certifies else 1.0)
        over = min(queries, round(share * queries))
        tail = Tail(queries=queries, over=over, inflation=1.0)
        trials.append(Trial(number=len(trials), rate_per_s=rate, certifies=certifies, tail=tail, p99_ms=1.0))
        return trials[-1]

    found = find_rate(run, capacity_per_s=1200.0, is_search_over=lambda: False, is_time_up=lambda: False)
    assert found.rate_per_s is not None
    assert 0.9 * 1000.0 < found.rate_per_s < 1000.0
    assert sum(trial.certifies for trial in trials) <= 3  # by steps of a per cent it takes five

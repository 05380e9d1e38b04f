"""Which batch is chosen."""

from collections.abc import Sequence

import pytest

from plaster_ops.plaster.search import Fit, Found, Probe, choose_batches, judge_probe, search_batches, step_down
from plaster_ops.plaster.timing import Timed


def probe(batch: int, rate: float, fit: Fit = Fit.INSIDE) -> Probe:
    return Probe(batch=batch, rate_per_s=rate, total_per_s=rate, p90_ms=1.0, queries=20, over_limit=0, fit=fit)


def timed(*latencies_ms: float) -> Timed:
    taken = [round(ms * 1e6) for ms in latencies_ms]
    return Timed(latencies_ns=taken, start_ns=0, window_ns=sum(taken), cpu_s=0.0)


def test_equal_engines_get_the_same_batch_though_chance_favours_another_for_each() -> None:
    now = [probe(8, 90), probe(16, 100), probe(32, 101)]
    then = [probe(8, 91), probe(16, 102), probe(32, 98)]
    assert choose_batches({"now": now, "then": then}) == {"now": 16, "then": 16}


def test_equal_engines_with_noisy_probes_still_share_a_batch() -> None:
    now = [probe(32, 93), probe(64, 100)]
    then = [probe(32, 100), probe(64, 92)]
    assert choose_batches({"now": now, "then": then}) == {"now": 32, "then": 32}


def test_an_engine_that_seems_flat_is_probed_on_until_the_other_is() -> None:
    def run(labels: Sequence[str], batch: int) -> dict[str, Probe | None]:
        rates = {"now": {1: 100.0, 2: 101.0, 4: 102.0}.get(batch, 50.0 * batch), "then": 50.0 * batch}
        return {label: probe(batch, rates[label]) for label in labels}

    found = search_batches(["now", "then"], [1, 2, 4, 8, 16], run, lambda: False)
    assert found.chosen == {"now": 16, "then": 16}


def test_engines_that_truly_differ_get_their_own_batch() -> None:
    now = [probe(1, 100), probe(2, 60), probe(4, 50)]
    then = [probe(1, 50), probe(2, 70), probe(4, 100)]
    assert choose_batches({"now": now, "then": then}) == {"now": 1, "then": 4}


def test_a_batch_at_the_edge_for_one_is_used_by_none() -> None:
    now = [probe(1, 50), probe(2, 100)]
    then = [probe(1, 50), probe(2, 100, Fit.EDGE)]
    assert choose_batches({"now": now, "then": then}) == {"now": 1, "then": 1}


def test_an_engine_over_the_limit_does_not_hold_back_the_other() -> None:
    now = [probe(1, 50), probe(2, 100)]
    then = [probe(1, 50), probe(2, 60, Fit.OVER)]
    assert choose_batches({"now": now, "then": then}) == {"now": 2, "then": 1}


def test_without_any_batch_inside_the_limit_the_smallest_is_measured() -> None:
    assert choose_batches({"now": [probe(1, 50, Fit.OVER), probe(2, 60, Fit.OVER)]}) == {"now": 1}
    assert choose_batches({"now": []}) == {"now": 1}


def test_the_smallest_batch_near_the_best_wins() -> None:
    assert choose_batches({"now": [probe(1, 10), probe(8, 97), probe(64, 100)]}) == {"now": 8}


def test_the_search_ends_after_two_gains_below_5_percent() -> None:
    rates = {1: 100.0, 2: 150.0, 4: 152.0, 8: 153.0, 16: 400.0}
    tried: list[int] = []

    def run(labels: Sequence[str], batch: int) -> dict[str, Probe | None]:
        tried.append(batch)
        return {label: probe(batch, rates[batch]) for label in labels}

    found = search_batches(["now"], [1, 2, 4, 8, 16], run, lambda: False)
    assert tried == [1, 2, 4, 8]
    assert found.ended == {"now": "gain"}
    assert found.chosen == {"now": 2}


def test_an_engine_that_cannot_run_a_batch_leaves_and_the_other_goes_on() -> None:
    def run(labels: Sequence[str], batch: int) -> dict[str, Probe | None]:
        return {label: None if label == "now" and batch > 1 else probe(batch, 100.0 * batch) for label in labels}

    found = search_batches(["now", "then"], [1, 2, 4], run, lambda: False)
    assert found.ended == {"now": "failed", "then": "batches"}
    assert found.chosen == {"now": 1, "then": 4}


def test_time_may_run_out_but_never_before_the_first_batch() -> None:
    found = search_batches(["now"], [1, 2, 4], lambda labels, b: {x: probe(b, 10.0 * b) for x in labels}, lambda: True)
    assert [p.batch for p in found.probes["now"]] == [1]
    assert found.ended == {"now": "time"}


@pytest.mark.parametrize(
    ("latencies_ms", "fit"),
    [
        ([1.0] * 10, Fit.INSIDE),
        ([8.0] * 10, Fit.OVER),
        ([1.0] * 8 + [6.5] * 2, Fit.EDGE),
        ([6.0] * 8 + [6.2] * 2, Fit.NEAR),
        ([6.0] * 8 + [6.8] * 2, Fit.EDGE),
        ([1.0] * 45 + [30.0] * 5, Fit.EDGE),
        ([1.0] * 39 + [30.0], Fit.INSIDE),
    ],
)
def test_a_probe_is_judged_by_its_median_and_its_tail(latencies_ms: list[float], fit: Fit) -> None:
    assert judge_probe([timed(*latencies_ms)], 4, 7.0).fit is fit


def test_a_probe_taken_in_turns_counts_all_of_them() -> None:
    judged = judge_probe([timed(1.0, 1.0), timed(2.0, 8.0)], 8, 7.0)
    assert (judged.queries, judged.over_limit) == (4, 1)
    assert judged.rate_per_s == pytest.approx(8000)
    assert judged.total_per_s == pytest.approx(8 * 4 / 0.012)


def test_stepping_down_takes_a_quarter_and_ends_at_the_smallest() -> None:
    probes = {"now": [probe(b, 1.0) for b in (1, 2, 4, 8, 16, 32)], "then": [probe(1, 1.0)]}
    assert step_down(probes, {"now": 32}) == {"now": 8}
    assert step_down(probes, {"now": 2}) == {"now": 1}
    assert step_down(probes, {"now": 1, "then": 1}) == {}


def test_from_a_batch_near_the_limit_it_is_one_step_for_all() -> None:
    tried = [probe(b, 1.0) for b in (1, 2, 4, 8, 16)]
    probes = {"now": [*tried, probe(32, 1.0, Fit.NEAR)], "then": [*tried, probe(32, 1.0)]}
    assert step_down(probes, {"now": 32, "then": 32}) == {"now": 16, "then": 16}


def test_a_batch_near_the_limit_is_tried_like_another() -> None:
    assert choose_batches({"now": [probe(1, 50), probe(2, 100, Fit.NEAR)]}) == {"now": 2}


def test_the_fastest_batch_ignores_the_limit_and_is_unknown_where_time_ran_out() -> None:
    tried = {"now": (probe(1, 50), probe(8, 90, Fit.OVER)), "then": (probe(1, 50), probe(8, 90))}
    found = Found(probes=tried, chosen={"now": 1, "then": 1}, ended={"now": "gain", "then": "time"})
    assert found.fastest() == {"now": 8}

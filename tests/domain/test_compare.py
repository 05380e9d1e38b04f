"""The one verdict rule: better, worse, same, inconclusive, not comparable - each with what it rests on."""

import json
import math

import pytest

from plaster_ops.domain.card import Card, Reading, Status, Unmeasured
from plaster_ops.domain.compare import Evidence, compare_cards, interval_of_processes
from plaster_ops.domain.judgement import Judgement, ReasonCode
from plaster_ops.domain.metrics import (
    AUTOCORR1_RATIO,
    E2E_P50_MS,
    E2E_P90_MS,
    ENGINE_BYTES,
    ENGINE_FLOPS_RATIO,
    ENGINE_SCORE,
    INFERENCES_PER_J,
    ROLLING_SCORE,
    SLO_SAMPLES_PER_S,
    Better,
    Metric,
)
from plaster_ops.domain.rule import benjamini_hochberg
from tests.domain.cards import NO_EVIDENCE, difference, evidence, judge, ratios, reading

P50 = reading(E2E_P50_MS)
SLOWER, FASTER = math.log(1.2), math.log(0.8)


# ---- measured side by side -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("metric", "shift", "word"),
    [
        (E2E_P50_MS, SLOWER, Judgement.WORSE),
        (E2E_P50_MS, FASTER, Judgement.BETTER),
        (SLO_SAMPLES_PER_S, SLOWER, Judgement.BETTER),
        (SLO_SAMPLES_PER_S, FASTER, Judgement.WORSE),
        (INFERENCES_PER_J, FASTER, Judgement.WORSE),
    ],
)
def test_a_clear_change_is_told_in_the_direction_of_its_metric(metric: Metric, shift: float, word: Judgement) -> None:
    seen = evidence(ratios(metric, shift, shift + 0.01, shift - 0.01))
    row = judge(reading(metric), reading(metric), seen)
    assert row.judgement is word
    assert row.change == pytest.approx(math.exp(shift) - 1)
    assert row.ci95 is not None
    assert row.ci95[0] < row.change < row.ci95[1]


def test_same_is_concluded_from_an_interval_inside_the_margin_never_from_a_large_p() -> None:
    tight = judge(P50, P50, evidence(ratios(E2E_P50_MS, 0.001, -0.002, 0.001)))
    assert (tight.judgement, tight.reason) == (Judgement.SAME, None)
    wide = judge(P50, P50, evidence(ratios(E2E_P50_MS, 0.09, -0.10, 0.01)))
    assert wide.judgement is Judgement.INCONCLUSIVE
    assert wide.p_value is not None
    assert wide.p_value > 0.5
    assert str(wide.reason).startswith("too_noisy: this comparison can show changes of ")


def test_a_real_but_small_change_is_no_verdict() -> None:
    row = judge(P50, P50, evidence(ratios(E2E_P50_MS, 0.045, 0.045, 0.045)))
    assert row.judgement is Judgement.INCONCLUSIVE
    assert str(row.reason).startswith("beyond_zero_within_margin")


def test_a_large_estimate_with_an_interval_over_zero_is_no_verdict() -> None:
    row = judge(P50, P50, evidence(ratios(E2E_P50_MS, 0.3, -0.1, 0.1)))
    assert row.judgement is Judgement.INCONCLUSIVE
    assert row.change is not None
    assert row.change > 0.05


def test_the_margin_of_the_settings_takes_the_place_of_the_default() -> None:
    seen = evidence(ratios(E2E_P50_MS, 0.10, 0.10, 0.10))
    assert judge(P50, P50, seen).judgement is Judgement.WORSE
    loose = judge(P50, P50, seen, margins={E2E_P50_MS.key: 0.5})
    assert (loose.judgement, loose.limit) == (Judgement.SAME, 0.5)


def test_on_a_machine_whose_own_copies_differ_by_more_than_the_margin_what_they_may_show_decides_nothing() -> None:
    seen = evidence(ratios(E2E_P50_MS, 0.10, 0.10, 0.10), noise={E2E_P50_MS.key: 0.12})
    row = judge(P50, P50, seen)
    assert (row.judgement, row.code, row.p_value) == (Judgement.INCONCLUSIVE, ReasonCode.TOO_NOISY, None)
    assert row.reason == "too_noisy: two copies of one engine differ by up to 12.0% here, more than the margin 5.0%"
    assert row.detectable == 0.12
    quiet = Evidence(ratios=seen.ratios, differences={}, noise={E2E_P50_MS.key: 0.04})
    assert judge(P50, P50, quiet).judgement is Judgement.WORSE
    still = evidence(ratios(E2E_P50_MS, 0.0, 0.0, 0.0), noise={E2E_P50_MS.key: 0.0504})
    hardly = judge(P50, P50, still)
    assert hardly.judgement is Judgement.INCONCLUSIVE, "inside the margin, and the noise is not"
    assert str(hardly.reason).endswith("differ by up to 5.04% here, more than the margin 5.00%")


def test_a_change_beyond_the_noise_of_two_copies_is_told() -> None:
    seen = evidence(ratios(E2E_P50_MS, *[math.log(1.25)] * 3), noise={E2E_P50_MS.key: 0.10})
    assert judge(P50, P50, seen).judgement is Judgement.WORSE
    faster = evidence(ratios(E2E_P50_MS, *[math.log(0.75)] * 3), noise={E2E_P50_MS.key: 0.10})
    assert judge(P50, P50, faster).judgement is Judgement.BETTER


def test_numbers_from_the_store_alone_are_no_verdict_however_far_apart() -> None:
    row = judge(reading(E2E_P50_MS, 9.0), reading(E2E_P50_MS, 1.0))
    assert (row.judgement, row.change, row.ci95, row.p_value) == (Judgement.INCONCLUSIVE, 8.0, None, None)
    assert str(row.reason).startswith("stored: ")


def test_a_stored_zero_gives_no_ratio_rather_than_an_infinite_one() -> None:
    row = judge(reading(E2E_P50_MS, 1.0), reading(E2E_P50_MS, 0.0))
    assert (row.judgement, row.change) == (Judgement.INCONCLUSIVE, None)


def test_another_device_is_named_and_timed_rows_are_not_compared() -> None:
    seen = evidence(ratios(E2E_P50_MS, SLOWER, SLOWER))
    row = judge(P50, P50, seen, differing=["device: A against B", "threads: 1 against 2"])
    assert row.judgement is Judgement.NOT_COMPARABLE
    assert row.reason == "not comparable: device: A against B; threads: 1 against 2"


def test_another_device_does_not_stop_bytes_and_scores_from_being_compared() -> None:
    same = judge(reading(ENGINE_BYTES, 100), reading(ENGINE_BYTES, 100), differing=["device: A against B"])
    assert same.judgement is Judgement.SAME
    seen = evidence(difference(ENGINE_SCORE, 0.0, 0.001, 0.9))
    score = judge(reading(ENGINE_SCORE, 0.9), reading(ENGINE_SCORE, 0.9), seen, differing=["device: A against B"])
    assert score.judgement is Judgement.SAME


# ---- gaps ----------------------------------------------------------------------------------------------------------
def test_what_one_side_did_not_measure_is_not_comparable_and_says_which_side() -> None:
    gap = Unmeasured(metric=E2E_P50_MS, reason="--no-measure")
    seen = evidence(ratios(E2E_P50_MS, SLOWER, SLOWER))
    assert judge(gap, P50, seen).reason == "not measured now: --no-measure"
    assert judge(P50, gap, seen).reason == "not measured then: --no-measure"
    assert judge(P50, None, seen).reason == "not measured then: that run's card does not hold it"
    for row in (judge(gap, P50, seen), judge(P50, gap, seen), judge(P50, None, seen)):
        assert row.judgement is Judgement.NOT_COMPARABLE
        assert (row.change, row.p_value) == (None, None)


def test_numbers_of_two_methods_are_not_compared() -> None:
    from dataclasses import replace

    older = Reading(metric=replace(E2E_P50_MS, method="latency.singlestream.v0"), value=1.0)
    row = judge(P50, older, evidence(ratios(E2E_P50_MS, SLOWER, SLOWER)))
    assert row.judgement is Judgement.NOT_COMPARABLE
    assert row.reason == "method latency.singlestream.v2 against latency.singlestream.v0"


def test_an_estimate_decides_nothing() -> None:
    guess = Reading(metric=INFERENCES_PER_J, value=1.0, status=Status.ESTIMATED, reason="from TDP")
    seen = evidence(ratios(INFERENCES_PER_J, SLOWER, SLOWER, SLOWER))
    for now, then in ((guess, reading(INFERENCES_PER_J)), (reading(INFERENCES_PER_J), guess)):
        row = judge(now, then, seen)
        assert row.judgement is Judgement.INCONCLUSIVE
        assert "estimate" in str(row.reason)


def test_what_is_only_shown_is_not_judged() -> None:
    card = Card((reading(AUTOCORR1_RATIO), P50))
    assert [row.metric for row in compare_cards(card, card, NO_EVIDENCE)] == [E2E_P50_MS]


# ---- exact ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("metric", "now", "then", "word"),
    [
        (ENGINE_BYTES, 1000, 1000, Judgement.SAME),
        (ENGINE_BYTES, 1009, 1000, Judgement.SAME),
        (ENGINE_BYTES, 1011, 1000, Judgement.WORSE),
        (ENGINE_BYTES, 900, 1000, Judgement.BETTER),
        (ENGINE_FLOPS_RATIO, 0.999, 1.0, Judgement.WORSE),
        (ENGINE_FLOPS_RATIO, 1.0, 0.999, Judgement.BETTER),
        (ENGINE_FLOPS_RATIO, 0.5, 0.0, Judgement.BETTER),
    ],
)
def test_what_is_counted_is_compared_exactly(metric: Metric, now: float, then: float, word: Judgement) -> None:
    row = judge(reading(metric, now), reading(metric, then))
    assert row.judgement is word
    assert (row.p_value, row.ci95) == (None, None)


# ---- scores --------------------------------------------------------------------------------------------------------
def score(delta: float, half95: float, p_value: float, better: Better = Better.HIGHER) -> object:
    now = Reading(metric=ROLLING_SCORE, value=0.9 + delta, better=better)
    then = Reading(metric=ROLLING_SCORE, value=0.9, better=better)
    return judge(now, then, evidence(difference(ROLLING_SCORE, delta, half95, p_value))).judgement


def test_a_score_is_judged_by_its_paired_difference() -> None:
    assert score(-0.02, 0.01, 0.001) is Judgement.WORSE
    assert score(+0.02, 0.01, 0.001) is Judgement.BETTER
    assert score(0.001, 0.002, 0.4) is Judgement.SAME
    assert score(-0.02, 0.03, 0.2) is Judgement.INCONCLUSIVE
    assert score(-0.004, 0.003, 0.001) is Judgement.INCONCLUSIVE


def test_a_score_where_less_is_better_turns_the_words_round() -> None:
    assert score(-0.02, 0.01, 0.001, Better.LOWER) is Judgement.BETTER
    assert score(+0.02, 0.01, 0.001, Better.LOWER) is Judgement.WORSE


def test_scores_of_other_samples_are_not_paired() -> None:
    row = judge(reading(ROLLING_SCORE, 0.5), reading(ROLLING_SCORE, 0.9))
    assert row.judgement is Judgement.INCONCLUSIVE
    assert row.change == pytest.approx(-0.4)
    assert str(row.reason).startswith("holdout_differs")


def test_identical_answers_are_the_same_with_an_interval_of_no_width() -> None:
    row = judge(
        reading(ROLLING_SCORE, 0.9), reading(ROLLING_SCORE, 0.9), evidence(difference(ROLLING_SCORE, 0, 0, 1.0))
    )
    assert (row.judgement, row.change, row.ci95) == (Judgement.SAME, 0.0, (0.0, 0.0))


# ---- the interval --------------------------------------------------------------------------------------------------
def test_one_process_has_an_interval_because_the_prior_carries_it() -> None:
    found = interval_of_processes(ratios(E2E_P50_MS, 0.0, within=0.0), 0.05)
    half = found.ci95[1]
    assert half == pytest.approx(2.776 * math.log(1.05) / 4, rel=1e-3)


def test_more_processes_and_less_spread_make_a_narrower_interval() -> None:
    def width(*values: float, within: float = 0.002) -> float:
        low, high = interval_of_processes(ratios(E2E_P50_MS, *values, within=within), 0.05).ci95
        return high - low

    assert width(0.0, 0.0, 0.0) < width(0.0)
    assert width(0.0, 0.0, 0.0) < width(-0.05, 0.0, 0.05)
    assert width(0.0, 0.0, 0.0) < width(0.0, 0.0, 0.0, within=0.05)


def test_an_interval_without_any_width_says_what_it_saw() -> None:
    """Margin 0, one process, no spread within it: nothing is left to be unsure of."""
    still = judge(P50, P50, evidence(ratios(E2E_P50_MS, 0.0, within=0.0)), margins={E2E_P50_MS.key: 0.0})
    assert (still.judgement, still.ci95, still.p_value) == (Judgement.SAME, (0.0, 0.0), 1.0)
    moved = judge(P50, P50, evidence(ratios(E2E_P50_MS, 0.01, within=0.0)), margins={E2E_P50_MS.key: 0.0})
    assert (moved.judgement, moved.p_value) == (Judgement.WORSE, 0.0)


# ---- the family ----------------------------------------------------------------------------------------------------
def test_adjusted_p_values_are_those_of_benjamini_and_hochberg() -> None:
    assert benjamini_hochberg([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.16 / 3, 0.16 / 3, 0.5])
    assert benjamini_hochberg([]) == []


def test_a_verdict_that_does_not_survive_the_correction_is_taken_back() -> None:
    """p = 0.03 on one of five letters: worse on its own, not in company."""
    alone = difference(ROLLING_SCORE, -0.02, 0.018, 0.03)
    score_now, score_then = reading(ROLLING_SCORE, 0.88), reading(ROLLING_SCORE, 0.90)
    assert judge(score_now, score_then, evidence(alone)).judgement is Judgement.WORSE
    quiet = (E2E_P50_MS, E2E_P90_MS, SLO_SAMPLES_PER_S, INFERENCES_PER_J)
    seen = evidence(alone, *(ratios(metric, 0.001, -0.001, 0.0) for metric in quiet))
    now = Card((score_now, *map(reading, quiet)))
    found = {row.metric: row for row in compare_cards(now, Card((score_then, *map(reading, quiet))), seen)}
    row = found[ROLLING_SCORE]
    assert row.judgement is Judgement.INCONCLUSIVE
    assert row.p_adjusted == pytest.approx(0.15)
    assert row.reason == "not significant after correction for 5 metrics (adjusted p 0.150)"
    assert {found[metric].judgement for metric in quiet} == {Judgement.SAME}


def test_rows_that_were_not_tested_do_not_dilute_the_family() -> None:
    alone = difference(ROLLING_SCORE, -0.02, 0.018, 0.03)
    untested = [reading(ENGINE_BYTES, 5), P50, Unmeasured(metric=INFERENCES_PER_J, reason="no sensor")]
    now = Card((reading(ROLLING_SCORE, 0.88), *untested))
    found = {row.metric: row for row in compare_cards(now, now, evidence(alone))}
    assert found[ROLLING_SCORE].judgement is Judgement.WORSE
    assert found[ROLLING_SCORE].p_adjusted == pytest.approx(0.03)
    assert found[E2E_P50_MS].p_adjusted is None


# ---- as JSON -------------------------------------------------------------------------------------------------------
def test_a_ratio_and_a_difference_have_each_their_own_key_in_json() -> None:
    timed = judge(P50, P50, evidence(ratios(E2E_P50_MS, SLOWER, SLOWER, SLOWER))).to_json()
    assert timed["change_ratio"] == pytest.approx(0.2)
    assert timed["change_difference"] is None
    scored = judge(reading(ENGINE_SCORE), reading(ENGINE_SCORE), evidence(difference(ENGINE_SCORE, -0.1, 0.01, 0.0)))
    plain = scored.to_json()
    assert (plain["change_ratio"], plain["change_difference"]) == (None, -0.1)
    assert plain["verdict"] == "worse"
    assert {"letter", "key", "now", "then", "ci95", "limit", "verdict", "reason"} <= plain.keys()
    json.dumps([timed, plain], allow_nan=False)

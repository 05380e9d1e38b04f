"""Two questions, never mixed: is this engine worse than that one, and is this retrain out of the ordinary?"""

import math

import pytest

from plaster_ops.domain.card import Card, Reading, Status
from plaster_ops.domain.compare import compare_cards
from plaster_ops.domain.earlier import Earlier, error_of
from plaster_ops.domain.judgement import Comparison, Judgement, ReasonCode
from plaster_ops.domain.metrics import (
    E2E_P50_MS,
    E2E_P90_MS,
    ENGINE_BYTES,
    ENGINE_FLOPS_RATIO,
    INFERENCES_PER_J,
    ROLLING_SCORE,
    SLO_SAMPLES_PER_S,
    Better,
)
from tests.domain.cards import NO_EVIDENCE, difference, evidence, judge, ratios, reading

QUIET = [1.0, 1.01, 0.99, 1.0, 1.02, 0.98, 1.0, 1.01]
WILD = [1.0, 1.4, 0.8, 1.2, 0.9, 1.3, 0.7, 1.1]
SLOWER = evidence(ratios(E2E_P50_MS, *[math.log(1.2)] * 3))


def against(now: float, earlier: list[float] | Earlier, **asked: object) -> Comparison:
    history = {E2E_P50_MS.key: earlier}
    return judge(reading(E2E_P50_MS, now), reading(E2E_P50_MS, 1.0), history=history, **asked)  # type: ignore[arg-type]


def test_a_retrain_is_held_against_its_history_where_no_engine_was_measured_again() -> None:
    row = against(1.3, QUIET)
    assert (row.judgement, row.code) == (Judgement.INCONCLUSIVE, ReasonCode.STORED)
    assert row.history is not None
    assert (row.history.judgement, row.history.n) == (Judgement.WORSE, 8)
    assert row.history.change == pytest.approx(0.3, abs=0.01)
    same = against(1.0, QUIET).history
    assert same is not None
    assert same.judgement is Judgement.SAME


def test_a_worse_engine_that_its_history_confirms_has_no_more_to_say() -> None:
    row = against(1.2, QUIET, seen=SLOWER)
    assert (row.judgement, row.code, row.reason) == (Judgement.WORSE, None, None)


def test_a_worse_engine_within_the_spread_of_retrains_stays_worse_and_says_so() -> None:
    row = against(1.2, WILD, seen=SLOWER)
    assert (row.judgement, row.code) == (Judgement.WORSE, ReasonCode.WITHIN_SEED_SPREAD)
    assert row.reason == "within_seed_spread: no more than retrains bring here (8 earlier ones)"
    assert row.p_adjusted is not None


def test_what_was_measured_again_is_not_held_against_what_was_stored() -> None:
    """Today the machine is twice as slow: the retrain is judged by what it logged on its own day."""
    now, logged = Card((reading(E2E_P50_MS, 2.0),)), Card((reading(E2E_P50_MS, 1.0),))
    history = {E2E_P50_MS.key: QUIET}
    (row,) = compare_cards(now, now, NO_EVIDENCE, history=history, recorded=logged)
    assert row.history is not None
    assert row.history.judgement is Judgement.SAME
    assert row.now == 2.0


@pytest.mark.parametrize(
    ("earlier", "code"),
    [
        (Earlier(values=(1.0, 1.0)), ReasonCode.NO_HISTORY),
        (Earlier(values=(1.0,), elsewhere=1), ReasonCode.NO_HISTORY),
        (Earlier(values=(1.0,), otherwise=1), ReasonCode.NO_HISTORY),
        (Earlier(values=(1.0, 1.0), elsewhere=5), ReasonCode.FINGERPRINT_DIFFERS),
        (Earlier(values=(1.0,), otherwise=5), ReasonCode.METHOD_DIFFERS),
    ],
)
def test_too_short_a_history_says_why_it_is_short(earlier: Earlier, code: ReasonCode) -> None:
    found = against(1.3, earlier).history
    assert found is not None
    assert (found.judgement, found.code, found.p_value) == (Judgement.INCONCLUSIVE, code, None)
    have = "1 earlier retrain has" if len(earlier.values) == 1 else f"{len(earlier.values)} earlier retrains have"
    assert str(found.reason).startswith(f"{code}: {have} this value, 3 are needed")


def test_a_score_needs_five_earlier_retrains_and_is_held_in_points() -> None:
    now = Reading(metric=ROLLING_SCORE, value=0.90, better=Better.HIGHER)
    few = judge(now, now, history={ROLLING_SCORE.key: [0.95] * 4}).history
    assert few is not None
    assert few.code is ReasonCode.NO_HISTORY
    enough = judge(now, now, history={ROLLING_SCORE.key: [0.95, 0.951, 0.949, 0.95, 0.95]}).history
    assert enough is not None
    assert enough.judgement is Judgement.WORSE
    assert enough.change == pytest.approx(-0.05)


def test_the_runs_own_error_widens_its_interval() -> None:
    """A value that is itself known to 20 % is not out of the ordinary at 10 %."""
    history = {E2E_P50_MS.key: [1.0, 1.001] * 6}
    sure = judge(reading(E2E_P50_MS, 1.1), None, history=history).history
    unsure = judge(Reading(metric=E2E_P50_MS, value=1.1, ci95=(0.88, 1.32)), None, history=history).history
    assert sure is not None
    assert unsure is not None
    assert (sure.judgement, unsure.judgement) == (Judgement.WORSE, Judgement.INCONCLUSIVE)


def test_guesses_and_counts_have_no_history() -> None:
    guess = Reading(metric=INFERENCES_PER_J, value=1.0, status=Status.ESTIMATED, reason="from TDP")
    assert judge(guess, guess, history={INFERENCES_PER_J.key: QUIET}).history is None
    counted = reading(ENGINE_BYTES, 10.0)
    assert judge(counted, counted, history={ENGINE_BYTES.key: QUIET}).history is None


def test_histories_are_a_family_of_their_own() -> None:
    """Three tested histories beside one pair: neither family dilutes the other."""
    metrics = (E2E_P50_MS, E2E_P90_MS, SLO_SAMPLES_PER_S)
    now = Card(tuple(map(reading, metrics)))
    rows = compare_cards(now, now, SLOWER, history={metric.key: QUIET for metric in metrics})
    assert rows[0].p_adjusted == rows[0].p_value
    histories = [row.history for row in rows]
    assert all(found is not None and found.p_adjusted is not None for found in histories)


def test_every_inconclusive_row_that_was_tested_says_what_it_could_have_shown() -> None:
    noisy = judge(reading(E2E_P50_MS), reading(E2E_P50_MS), evidence(ratios(E2E_P50_MS, 0.09, -0.10, 0.01)))
    assert (noisy.code, noisy.ci95 and noisy.detectable) == (
        ReasonCode.TOO_NOISY,
        noisy.ci95 and (noisy.ci95[1] - noisy.ci95[0]) / 2,
    )
    small = judge(reading(E2E_P50_MS), reading(E2E_P50_MS), evidence(ratios(E2E_P50_MS, *[0.045] * 3)))
    assert (small.code, small.detectable) == (ReasonCode.BEYOND_ZERO_WITHIN_MARGIN, 0.05)
    score = reading(ROLLING_SCORE, 0.9)
    undecided = judge(score, score, evidence(difference(ROLLING_SCORE, 0.002, 0.02, 0.8)))
    assert undecided.detectable == pytest.approx(0.02)


def test_what_the_correction_took_back_says_what_would_have_survived_it() -> None:
    alone = difference(ROLLING_SCORE, -0.02, 0.018, 0.03)
    quiet = (E2E_P50_MS, E2E_P90_MS, SLO_SAMPLES_PER_S, INFERENCES_PER_J)
    seen = evidence(alone, *(ratios(metric, 0.001, -0.001, 0.0) for metric in quiet))
    now = Card((reading(ROLLING_SCORE, 0.88), *map(reading, quiet)))
    found = {row.metric: row for row in compare_cards(now, now, seen)}[ROLLING_SCORE]
    assert found.code is ReasonCode.NOT_SIGNIFICANT
    assert found.detectable is not None
    assert 0.02 < found.detectable < 0.03


def test_codes_stand_beside_the_sentences_in_json() -> None:
    gone = judge(reading(ENGINE_FLOPS_RATIO, 0.9), None)
    assert (gone.to_json()["reason_code"], gone.to_json()["detectable"]) == ("not_measured", None)
    told = against(1.3, QUIET).to_json()["history"]
    assert {"verdict", "change", "ci95", "n", "reason", "reason_code", "p_value", "p_adjusted", "detectable"} == set(
        told
    )


def test_the_error_of_a_reading_is_half_its_interval_over_students_t() -> None:
    """Three processes: t is 3.18. In logs for a ratio, in points for a score."""
    timed = Reading(metric=E2E_P50_MS, value=1.0, ci95=(1 / 1.2, 1.2))
    score = Reading(metric=ROLLING_SCORE, value=0.9, ci95=(0.88, 0.92), better=Better.HIGHER)
    assert error_of(timed) == pytest.approx(math.log(1.2) / 3.18)
    assert error_of(score) == pytest.approx(0.02 / 3.18)

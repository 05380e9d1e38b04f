"""All letters in one word, and in Pareto's terms."""

import pytest

from plaster_ops.domain.judgement import Comparison, Judgement, ReasonCode
from plaster_ops.domain.metrics import (
    E2E_P50_MS,
    E2E_P90_MS,
    ENGINE_BYTES,
    ENGINE_SCORE,
    INFERENCES_PER_J,
    ROLLING_SCORE,
    Metric,
)
from plaster_ops.domain.tradeoff import overall, tradeoff

B, W, S, I = Judgement.BETTER, Judgement.WORSE, Judgement.SAME, Judgement.INCONCLUSIVE  # noqa: E741


def row(metric: Metric, word: Judgement, change: float = 0.0, code: ReasonCode | None = None) -> Comparison:
    return Comparison(metric=metric, judgement=word, now=1.0, then=1.0, change=change, code=code)


@pytest.mark.parametrize(
    "code",
    [ReasonCode.STORED, ReasonCode.HOLDOUT_DIFFERS, ReasonCode.METHOD_DIFFERS, ReasonCode.FINGERPRINT_DIFFERS],
)
def test_better_is_not_said_while_another_letter_went_unjudged_for_what_is_missing(code: ReasonCode) -> None:
    assert overall([row(ENGINE_BYTES, B), row(E2E_P50_MS, I, code=code)]) is I


def test_better_is_said_where_another_letter_is_only_too_noisy_or_young() -> None:
    for code in (ReasonCode.TOO_NOISY, ReasonCode.NO_HISTORY):
        assert overall([row(ENGINE_BYTES, B), row(E2E_P50_MS, I, code=code)]) is B


def test_a_rolling_score_that_is_worse_counts_though_it_is_no_headline() -> None:
    assert overall([row(ENGINE_BYTES, B), row(ROLLING_SCORE, W)]) is W


def test_a_gain_and_a_loss_are_named_and_not_averaged() -> None:
    rows = [row(E2E_P50_MS, B, -0.5), row(ENGINE_BYTES, W, 0.02), row(ENGINE_SCORE, S)]
    assert tradeoff(rows, "#2", "#1") == (
        "#2 trades S (engine_bytes +2.0 %) for L (e2e_p50_ms -50.0 %): no sum of them is made"
    )


def test_one_dominates_only_where_all_else_is_known_to_be_the_same() -> None:
    rows = [row(E2E_P50_MS, B, -0.1), row(ENGINE_SCORE, S)]
    assert tradeoff(rows, "#2", "#1") == "#2 dominates #1: L (e2e_p50_ms -10.0 %), worse in none"
    open_one = [*rows, row(ENGINE_BYTES, I)]
    assert tradeoff(open_one, "#2", "#1") == "#2 is better than #1 in L (e2e_p50_ms -10.0 %); not settled: S"


def test_what_could_not_be_compared_is_not_known_to_be_the_same() -> None:
    rows = [row(E2E_P50_MS, B, -0.1), row(ENGINE_SCORE, S), row(INFERENCES_PER_J, Judgement.NOT_COMPARABLE)]
    assert tradeoff(rows, "#2", "#1") == "#2 is better than #1 in L (e2e_p50_ms -10.0 %); not settled: E"
    lost = [row(ENGINE_BYTES, W, 0.02), row(INFERENCES_PER_J, Judgement.NOT_COMPARABLE)]
    assert tradeoff(lost, "#2", "#1") == "#2 is worse than #1 in S (engine_bytes +2.0 %); not settled: E"


def test_a_run_is_the_same_only_where_all_that_was_judged_is() -> None:
    assert overall([row(ENGINE_BYTES, S), row(E2E_P50_MS, S)]) is S
    assert overall([row(ENGINE_BYTES, S), row(E2E_P50_MS, I)]) is I


def test_who_only_lost_is_dominated() -> None:
    rows = [row(ENGINE_SCORE, W, -0.02), row(ENGINE_BYTES, S)]
    assert tradeoff(rows, "#2", "#1") == "#2 is dominated by #1: A (engine_score -0.0200), better in none"


def test_nothing_is_traded_where_nothing_is_known_to_have_moved() -> None:
    assert tradeoff([row(E2E_P50_MS, I), row(ENGINE_BYTES, S), row(E2E_P90_MS, W)], "#2", "#1") is None

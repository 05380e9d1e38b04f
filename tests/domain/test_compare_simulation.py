"""Seeded: two copies of one engine are not told apart, an engine slower by a fifth always is."""

import math

import numpy as np
import pytest

from plaster_ops.domain.card import Card
from plaster_ops.domain.compare import Evidence, compare_cards
from plaster_ops.domain.judgement import Comparison, Judgement
from plaster_ops.domain.metrics import (
    CPU_TIME_PER_INFERENCE_S,
    E2E_P50_MS,
    E2E_P90_MS,
    INFERENCES_PER_J,
    ROLLING_SCORE,
    SLO_SAMPLES_PER_S,
    TRAIN_TO_ENGINE_S,
)
from tests.domain.cards import difference, ratios, reading

CASES = 300
PROCESSES = 3
PROCESS_SD = 0.02
TIMED = (E2E_P50_MS, E2E_P90_MS, SLO_SAMPLES_PER_S, INFERENCES_PER_J, CPU_TIME_PER_INFERENCE_S)
CARD = Card(tuple(reading(metric) for metric in (*TIMED, ROLLING_SCORE)))
DECIDED = (Judgement.BETTER, Judgement.WORSE)


def one_comparison(rng: np.random.Generator, shift: float) -> dict[str, Comparison]:
    """Three fresh processes a side, a paired score of 1,000 samples, and eight earlier retrains."""
    timed = {metric.key: ratios(metric, *rng.normal(shift, PROCESS_SD, PROCESSES), within=0.004) for metric in TIMED}
    error = 0.004
    delta = rng.normal(0.0, error)
    p_value = math.erfc(abs(delta / error) / math.sqrt(2))
    seen = Evidence(
        ratios=timed, differences={ROLLING_SCORE.key: difference(ROLLING_SCORE, delta, 1.96 * error, p_value)}
    )
    seconds = 100 * np.exp(rng.normal(0.0, 0.04, 9))
    now = Card((*CARD.rows, reading(TRAIN_TO_ENGINE_S, float(seconds[-1]))))
    history = {TRAIN_TO_ENGINE_S.key: [float(value) for value in seconds[:-1]]}
    return {row.metric.key: row for row in compare_cards(now, CARD, seen, history=history)}


@pytest.fixture(scope="module")
def equal() -> list[dict[str, Comparison]]:
    rng = np.random.default_rng(20260)
    return [one_comparison(rng, 0.0) for _ in range(CASES)]


def test_two_copies_of_one_engine_are_told_apart_in_at_most_one_of_twenty_comparisons(
    equal: list[dict[str, Comparison]],
) -> None:
    assert all(sum(row.p_adjusted is not None for row in rows.values()) == 7 for rows in equal)
    false_alarms = sum(any(row.judgement in DECIDED for row in rows.values()) for rows in equal)
    assert false_alarms <= 0.05 * CASES


def test_two_copies_of_one_engine_are_called_the_same_more_often_than_not(equal: list[dict[str, Comparison]]) -> None:
    same = sum(rows[E2E_P50_MS.key].judgement is Judgement.SAME for rows in equal)
    assert same >= 0.6 * CASES


def test_an_engine_slower_by_a_fifth_is_always_worse() -> None:
    rng = np.random.default_rng(7041)
    words = {one_comparison(rng, math.log(1.2))[E2E_P50_MS.key].judgement for _ in range(CASES)}
    assert words == {Judgement.WORSE}

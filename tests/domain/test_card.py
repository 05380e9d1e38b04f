"""A card holds readings and honest gaps, and survives JSON."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plaster_ops.domain.card import Card, Reading, Status, Unmeasured
from plaster_ops.domain.metrics import (
    CATALOGUE,
    E2E_P50_MS,
    E2E_P90_MS,
    ENGINE_BYTES,
    ENGINE_SCORE,
    HEADLINES,
    INFERENCES_PER_J,
    Better,
    find_metric,
)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True])
def test_what_is_no_number_is_no_reading(value: float) -> None:
    with pytest.raises(ValueError, match="use Unmeasured with a reason"):
        Reading(metric=E2E_P50_MS, value=value)


def test_an_interval_without_a_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="leave it out"):
        Reading(metric=E2E_P50_MS, value=1.0, ci95=(0.5, math.inf))


def test_a_metric_cannot_stand_on_a_card_twice() -> None:
    rows = (Reading(metric=E2E_P50_MS, value=1.0), Unmeasured(metric=E2E_P50_MS, reason="no time"))
    with pytest.raises(ValueError, match="latency/e2e_p50_ms"):
        Card(rows)


def test_a_sorted_card_does_not_hide_a_metric_that_was_given_twice() -> None:
    rows = [Reading(metric=E2E_P50_MS, value=1.0), Reading(metric=E2E_P50_MS, value=2.0)]
    with pytest.raises(ValueError, match="latency/e2e_p50_ms"):
        Card.of(rows)


def test_a_gap_has_no_value_and_an_absent_metric_no_row() -> None:
    card = Card((Unmeasured(metric=INFERENCES_PER_J, reason="no NVML, no RAPL"), Reading(metric=E2E_P50_MS, value=0.0)))
    assert card.value(INFERENCES_PER_J) is None
    assert card.value(E2E_P50_MS) == 0.0
    assert card.find(ENGINE_BYTES) is None


def test_a_card_speaks_of_seven_letters_whatever_was_measured() -> None:
    card = Card.of([Reading(metric=E2E_P90_MS, value=2.0), Reading(metric=E2E_P50_MS, value=1.0)])
    heads = card.headlines()
    assert "".join(row.metric.letter for row in heads) == "PLASTER"
    assert [row.metric for row in heads if isinstance(row, Reading)] == [E2E_P50_MS]
    assert all(row.reason for row in heads if isinstance(row, Unmeasured))


def test_rows_stand_by_letter_with_the_headline_first() -> None:
    given_rows = [Reading(metric=m, value=1.0) for m in reversed(CATALOGUE.values())]
    letters = [row.metric.letter for row in Card.of(given_rows)]
    assert letters == sorted(letters, key="PLASTER".index)
    firsts = {row.metric.letter: row.metric for row in reversed(Card.of(given_rows).rows)}
    assert tuple(firsts[m.letter] for m in HEADLINES) == HEADLINES


def test_the_pipelines_direction_outlives_json() -> None:
    card = Card((Reading(metric=ENGINE_SCORE, value=0.1, better=Better.LOWER),))
    (plain,) = card.to_json()
    assert plain["better"] == "lower"
    (row,) = Card.from_json([plain])
    assert row.direction is Better.LOWER


def test_a_gap_is_null_in_json_and_keeps_its_reason_and_status() -> None:
    (plain,) = Card((Unmeasured(metric=E2E_P50_MS, reason="it crashed", status=Status.FAILED),)).to_json()
    assert (plain["value"], plain["ci95"], plain["n"]) == (None, None, None)
    assert (plain["reason"], plain["status"], plain["headline"]) == ("it crashed", "failed", True)


metrics = st.sampled_from(list(CATALOGUE)).map(find_metric)
rows = st.one_of(
    st.builds(
        Reading,
        metric=metrics,
        value=st.floats(allow_nan=False, allow_infinity=False),
        ci95=st.none() | st.just((0.5, 1.5)),
        n=st.none() | st.integers(1, 1000),
        status=st.sampled_from([Status.MEASURED, Status.UNSTABLE, Status.SUSPECT, Status.ESTIMATED]),
        reason=st.none() | st.text(max_size=9),
        better=st.none() | st.sampled_from([Better.HIGHER, Better.LOWER]),
    ),
    st.builds(
        Unmeasured,
        metric=metrics,
        reason=st.text(max_size=9),
        status=st.sampled_from(Status),
    ),
)


@given(st.lists(rows, unique_by=lambda row: row.metric.key, max_size=12))
def test_every_card_comes_back_from_json_as_it_went(some: list[Reading | Unmeasured]) -> None:
    card = Card(tuple(some))
    again = Card.from_json(json.loads(json.dumps(card.to_json(), allow_nan=False)))
    assert again.to_json() == card.to_json()
    assert [type(row) for row in again] == [type(row) for row in card]
    assert [row.direction for row in again] == [row.direction for row in card]

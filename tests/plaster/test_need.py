"""Whether a retrain was needed: shown, shown not, or not to be told."""

from typing import Any

import pytest

from plaster_ops.domain.card import Reading, Unmeasured
from plaster_ops.plaster.need import need_of, need_rows


def evaluation(delta: float, half90: float | None, half95: float = 0.0, better: str = "higher") -> dict[str, Any]:
    bounds = (None, None) if half90 is None else ([delta - half90, delta + half90], [delta - half95, delta + half95])
    paired = {"delta": delta, "ci90": bounds[0], "ci95": bounds[1]}
    rolling = {"engines": {"now": {"value": 0.9}, "run1": {"value": 0.9 - delta}}, "paired": {"run1": paired}}
    return {"better": better, "sets": {"rolling": rolling}}


@pytest.mark.parametrize(
    ("told", "needed"),
    [
        (evaluation(0.02, 0.008, 0.01), True),
        (evaluation(0.001, 0.002, 0.003), False),
        (evaluation(0.004, 0.0005, 0.0008), False),
        (evaluation(-0.02, 0.008, 0.01), False),
        (evaluation(0.004, 0.008, 0.01), None),
        (evaluation(0.02, None), None),
        (evaluation(-0.02, 0.008, 0.01, "lower"), True),
        (evaluation(0.02, 0.008, 0.01, "lower"), False),
    ],
)
def test_a_gain_is_shown_or_shown_to_be_small_or_not_to_be_told(told: dict[str, Any], needed: bool | None) -> None:
    assert need_of(told, "run1", 0.005)["needed"] is needed
    (row,) = need_rows(told, "run1", 0.005)
    if needed is None:
        assert isinstance(row, Unmeasured)
    else:
        assert isinstance(row, Reading)
        assert row.value == (0 if needed else 1)
    assert row.reason


def test_a_champion_that_has_the_target_already_could_have_stayed() -> None:
    told = evaluation(0.02, 0.008, 0.01)
    assert need_of(told, "run1", 0.005, target=0.88) == {
        "champion_score": pytest.approx(0.88),
        "needed": False,
        "why_needed": "the champion scores 0.8800 on today's rolling set, and the target is 0.88",
    }
    assert need_of(told, "run1", 0.005, target=0.89)["needed"] is True
    assert need_of(evaluation(-0.02, 0.008, 0.01, "lower"), "run1", 0.005, target=0.91)["needed"] is True


def test_without_a_champion_or_its_score_nothing_is_told() -> None:
    told = evaluation(0.02, 0.008, 0.01)
    assert need_of(told, None, 0.005)["why_needed"] == "there was no champion that could do without it"
    assert need_of(told, "run9", 0.005)["why_needed"] == "the champion was not scored on today's rolling set"


def test_a_model_that_got_worse_is_not_said_to_gain() -> None:
    lower = need_of(evaluation(11.72, 0.05, 0.06, "lower"), "run1", 0.05)
    assert lower["why_needed"] == "the new model is 11.7200 worse than the champion (90 % at least 11.6700)"
    higher = need_of(evaluation(-0.02, 0.008, 0.01), "run1", 0.005)
    assert higher["why_needed"] == "the new model is 0.0200 worse than the champion (90 % at least 0.0120)"

"""Two learning curves side by side, by hand: between points, in either direction, and without a common range."""

from typing import Any

import pytest

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Reading, Unmeasured
from plaster_ops.plaster.curves import compare_curves, curve_rows, first_at_target


def points(*rows: tuple[int | None, float, float | None]) -> list[dict[str, Any]]:
    """(samples, seconds, score) of each epoch."""
    return [
        {"epoch": epoch, "samples": samples, "fit_s": fit_s, "score": score}
        for epoch, (samples, fit_s, score) in enumerate(rows, start=1)
    ]


NOW = points((100, 2.0, 0.5), (200, 4.0, 0.8), (300, 6.0, 0.9))
THEN = points((150, 1.0, 0.4), (250, 2.0, 0.6), (350, 3.0, 0.7))


def test_scores_are_read_at_the_most_that_both_have_learned() -> None:
    found, reason = compare_curves(NOW, THEN, "higher")
    assert reason == ""
    assert (found["samples"], found["score_now"], found["score_then"]) == (300, 0.9, pytest.approx(0.65))


def test_what_each_needed_for_the_best_that_both_had_lies_on_a_line_between_points() -> None:
    found, _ = compare_curves(NOW, THEN, "higher")
    assert found["common_score"] == 0.7
    assert (found["samples_now"], found["seconds_now"]) == (pytest.approx(100 + 200 / 3), pytest.approx(2 + 4 / 3))
    assert (found["samples_then"], found["seconds_then"]) == (350, 3.0)


def test_a_score_that_is_better_lower_is_read_the_other_way() -> None:
    now, then = points((100, 1.0, 4.0), (200, 2.0, 1.0)), points((100, 1.0, 3.0), (200, 2.0, 2.0))
    found, _ = compare_curves(now, then, "lower")
    assert found["common_score"] == 2.0
    assert (found["samples_now"], found["samples_then"]) == (pytest.approx(100 + 200 / 3), 200)


def test_a_curve_that_falls_again_counts_its_first_crossing() -> None:
    now = points((100, 1.0, 0.5), (200, 2.0, 0.9), (300, 3.0, 0.6))
    found, _ = compare_curves(now, points((100, 1.0, 0.6), (300, 3.0, 0.7)), "higher")
    assert found["samples_now"] == pytest.approx(150)


def test_points_without_a_score_or_a_count_are_left_out() -> None:
    found, _ = compare_curves([*NOW, *points((400, 8.0, None), (None, 9.0, 0.99))], THEN, "higher")
    assert (found["samples"], found["score_now"]) == (300, 0.9)


@pytest.mark.parametrize(
    ("now", "then", "words"),
    [
        (NOW[:1], THEN, "this fit has fewer than two scored points"),
        (NOW, points((None, 1.0, 0.5), (None, 2.0, 0.6)), "the last one has fewer than two"),
        (NOW, points((400, 1.0, 0.5), (500, 2.0, 0.6)), "share no range: from 400 samples on, up to 300"),
    ],
)
def test_curves_that_cannot_be_compared_say_why(now: Any, then: Any, words: str) -> None:
    found, reason = compare_curves(now, then, "higher")
    assert found == {}
    assert words in reason


def test_rows_are_a_difference_and_two_ratios() -> None:
    found, _ = compare_curves(NOW, THEN, "higher")
    rows = {row.metric: row for row in curve_rows(found, "", "a note")}
    values = [row.value for row in rows.values() if isinstance(row, Reading)]
    assert values == [
        pytest.approx(0.25),
        pytest.approx((100 + 200 / 3) / 350),
        pytest.approx((2 + 4 / 3) / 3.0),
    ]
    assert {row.reason for row in rows.values()} == {"a note"}
    assert all(isinstance(row, Unmeasured) and row.reason == "why" for row in curve_rows(None, "why"))
    assert rows.keys() == {row.metric for row in curve_rows(None, "why")}
    assert m.DELTA_AT_EQUAL_SAMPLES_SCORE in rows


@pytest.mark.parametrize(
    ("target", "better", "epoch", "every"), [(0.8, "higher", 4, 2), (0.5, "higher", 2, 2), (0.5, "lower", 2, 2)]
)
def test_the_first_point_at_the_target_counts_and_how_often_was_looked(
    target: float, better: str, epoch: int, every: int
) -> None:
    made = [
        {"epoch": 2, "fit_s": 1.0, "samples": 10, "score": 0.5},
        {"epoch": 4, "fit_s": 2.0, "samples": 20, "score": 0.85},
    ]
    found = first_at_target(made, target, better)
    assert found is not None
    assert (found["epochs_to_target"], found["looked_every"]) == (epoch, every)


def test_a_target_that_no_point_reaches_is_none() -> None:
    assert first_at_target(NOW, 0.95, "higher") is None
    assert first_at_target(points((1, 1.0, None)), 0.1, "higher") is None

"""Positions on the page: better is to the right, whatever the metric's direction."""

import math

import pytest

from plaster_ops.report.page_rows import (
    MOST_SIGNS,
    alarm_rows,
    change_rows,
    environment_rows,
    interval_bar,
    ladder_rows,
    phase_rows,
)
from tests.report.payloads import ASSESSMENT, COMPARED


def test_a_rise_is_to_the_left_where_lower_is_better() -> None:
    bar = interval_bar(COMPARED[0])
    assert bar is not None
    assert bar["low"] < bar["at"] < bar["low"] + bar["width"] < 50
    assert bar["margin_low"] + bar["margin_width"] / 2 == pytest.approx(50)


def test_a_rise_is_to_the_right_where_higher_is_better() -> None:
    bar = interval_bar(COMPARED[1])
    assert bar is not None
    assert bar["at"] > 50


def test_without_an_interval_there_is_a_point_and_without_a_change_nothing() -> None:
    exact = interval_bar(COMPARED[2])
    assert exact is not None
    assert (exact["at"], exact["width"]) == (50.0, 0.0)
    assert interval_bar(COMPARED[4]) is None
    assert interval_bar(None) is None


@pytest.mark.parametrize("change", [1e9, -1e9])
def test_nothing_stands_outside_the_axis(change: float) -> None:
    bar = interval_bar({**COMPARED[0], "change_ratio": change, "ci95": None})
    assert bar is not None
    assert all(0 <= value <= 100 for value in bar.values())


@pytest.mark.parametrize("change", [math.nan, math.inf])
def test_what_is_no_number_is_not_drawn(change: float) -> None:
    assert interval_bar({**COMPARED[0], "change_ratio": change, "ci95": None}) is None


def test_phases_follow_each_other_and_fill_the_cycle() -> None:
    rows = phase_rows({"wait_s": 1.0, "data_s": 0.0, "fit_s": 3.0, "cycle_s": 4.0})
    assert [(row["name"], row["left"], row["width"], row["share"]) for row in rows] == [
        ("wait", 0.0, 25.0, "25%"),
        ("fit", 25.0, 75.0, "75%"),
    ]
    assert phase_rows({}) == []


def test_the_outcome_of_a_candidate_is_a_word() -> None:
    tried = [
        {"backend": "a", "precision": "fp32", "ok": True, "chosen": True, "p50_ms": 1.0},
        {"backend": "a", "precision": "int8", "ok": True, "p50_ms": 2.0},
        {"backend": "b", "precision": "fp32", "ok": False, "built": True, "reason": "parity"},
        {"backend": "c", "precision": "fp32", "ok": False, "reason": "not here"},
    ]
    assert [(row["word"], row["bar"]) for row in ladder_rows(tried)] == [
        ("chosen", 50.0), ("usable", 100.0), ("rejected", None), ("not built", None),
    ]  # fmt: skip


def test_alarms_stand_newest_first_and_those_of_this_retrain_say_so() -> None:
    first = ASSESSMENT["alarms"][0]
    rows = alarm_rows([first, first | {"raised_index": 14, "id": 2}], 14)
    assert [(row["raised"], row["new"]) for row in rows] == [("#14", True), ("#12", False)]


def test_a_loss_of_score_is_below_zero_and_a_gain_above() -> None:
    rows = ladder_rows(
        [{"ok": True, "score_loss": 0.002}, {"ok": True, "score_loss": -0.001}, {"retained_ratio": 0.99}]
    )
    assert [row["score"] for row in rows] == ["-0.0020", "+0.0010", "99.00%"]


def test_an_alarm_for_the_better_is_not_drawn_as_one_for_the_worse() -> None:
    first = ASSESSMENT["alarms"][0]
    assert [row["worse"] for row in alarm_rows([first, first | {"worse": False, "raised_index": 11}], 12)] == [
        True,
        False,
    ]


def test_a_very_long_value_is_cut_on_both_sides() -> None:
    (row,) = change_rows([{"kind": "params", "name": "text", "then": "a b " * 900, "now": "c d " * 900}]) or ()
    assert (len(row["then"]), len(row["now"])) == (MOST_SIGNS, MOST_SIGNS)
    assert change_rows(None) is None, "nobody looked"


def test_how_the_old_engine_measured_today_stands_beside_what_was_logged() -> None:
    (row,) = environment_rows(ASSESSMENT["environment"]["rows"])
    assert (row["logged"], row["today"], row["change"], row["verdict"]) == ("1 ms", "1.14 ms", "+14.0 %", "worse")


def test_a_level_that_came_back_is_told_at_its_alarm() -> None:
    first = ASSESSMENT["alarms"][0]
    assert [row["back"] for row in alarm_rows([first | {"back_at": 7, "raised_index": 13}, first], 13)] == [
        "back at the level of #7",
        "",
    ]

"""A metric over the retrains: stretches of one regime, levels between alarms, thinned where there are many."""

import math
from typing import Any

from plaster_ops.report.trend import Trend, thinned


def rows(values: list[float | None], regime: str = "a") -> list[dict[str, Any]]:
    return [{"index": i, "value": v, "verdict": "promoted", "regime": regime} for i, v in enumerate(values, 1)]


def test_another_regime_begins_another_stretch() -> None:
    told = [*rows([1.0, 2.0]), {"index": 3, "value": 5.0, "verdict": "held", "regime": "b"}]
    assert [[p.index for p in part] for part in Trend.of("k", told, []).stretches()] == [[1, 2], [3]]


def test_a_level_ends_where_an_alarm_stands() -> None:
    trend = Trend.of(
        "k", rows([1, 1, 1, 1, 2, 2, 2, 2]), [{"key": "k", "index": 5, "worse": True}, {"key": "other", "index": 2}]
    )
    assert [(level.first, level.last, level.value) for level in trend.levels()] == [(1, 4, 1.0), (5, 8, 2.0)]
    assert trend.alarms == ((5, True),)


def test_a_value_that_did_not_settle_was_measured_and_belongs_to_its_level() -> None:
    told = rows([1.0, 1.0, 1.0, 9.0])
    told[3]["is_settled"] = False
    assert [(level.first, level.last) for level in Trend.of("k", told, []).levels()] == [(1, 4)]


def test_three_points_make_no_level_and_a_guess_adds_none() -> None:
    assert Trend.of("k", rows([1.0, 1.0, 1.0]), []).levels() == []
    told = rows([1.0, 1.0, 1.0, 9.0])
    told[3]["is_settled"] = told[3]["is_measured"] = False
    trend = Trend.of("k", told, [])
    assert trend.levels() == []
    assert [[point.index for point in part] for part in trend.stretches()] == [[1, 2, 3]]


def test_unknown_and_infinite_values_are_left_out() -> None:
    trend = Trend.of("k", rows([1.0, None, math.nan, math.inf, 2.0]), [])
    assert [point.index for point in trend.points] == [1, 5]


def test_a_thousand_points_keep_their_extremes_and_ends() -> None:
    values: list[float | None] = [math.sin(i / 40) for i in range(1000)]
    values[500], values[501] = 50.0, -50.0
    points = Trend.of("k", rows(values), []).points
    kept = thinned(points)
    assert len(kept) <= 242
    assert {points[0], points[-1], points[500], points[501]} <= set(kept)
    assert [p.index for p in kept] == sorted({p.index for p in kept})
    assert thinned(points[:240]) == list(points[:240])


def test_an_alarm_for_the_better_is_one_too() -> None:
    trend = Trend.of(
        "k", rows([1.0] * 8), [{"key": "k", "index": 5, "worse": False}, {"key": "k", "index": 3, "worse": True}]
    )
    assert trend.alarms == ((3, True), (5, False))


def test_a_level_is_the_middle_of_its_values() -> None:
    (level,) = Trend.of("k", rows([1.0, 10.0, 3.0, 2.0]), []).levels()
    assert level.value == 2.5

"""How often and how fresh, from made-up histories whose answers are known."""

from typing import Any

import pytest

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Reading
from plaster_ops.errors import DataError
from plaster_ops.plaster import ages
from plaster_ops.plaster.adherence import Schedule
from plaster_ops.plaster.deployments import DAY_S, WEEK_S, Deployment, absorbed, done, possible_per_day, staleness_p95_s
from plaster_ops.plaster.pace import Pace, pace_rows

NOW = 1_000_000_000.0


def deployment(before_s: float, absorbed: int | None = 10, age_s: float | None = 60.0, **more: Any) -> Deployment:
    born = None if age_s is None else NOW - before_s - age_s
    return Deployment(at_s=NOW - before_s, absorbed=absorbed, newest_trained_at=born, **more)


@pytest.mark.parametrize(
    ("cycles", "per_day"),
    [
        ([], None),
        ([100.0], 864.0),
        ([100.0, 400.0, 200.0, 50.0], 216.0),
        ([float(n) for n in range(1, 21)], DAY_S / 19),
        ([9999.0] + [float(n) for n in range(1, 21)], DAY_S / 19),
        ([50.0, 10.0, 20.0, 30.0, 40.0], DAY_S / 50),
    ],
)
def test_a_day_holds_as_many_retrains_as_slow_ones_fit_in(cycles: list[float], per_day: float | None) -> None:
    assert possible_per_day(cycles) == per_day


def test_only_new_engines_of_the_window_are_counted() -> None:
    history = [
        deployment(DAY_S),
        deployment(DAY_S - 1),
        deployment(DAY_S / 2, is_again=True),
        deployment(0.0),
        deployment(-5.0),
    ]
    assert (done(history, NOW, DAY_S), done(history, NOW, WEEK_S)) == (2, 3)
    assert absorbed(history, NOW) == 20
    assert absorbed([*history, deployment(1.0, absorbed=None)], NOW) is None


def test_the_age_of_a_champions_newest_datum_grows_until_the_next() -> None:
    """Two days watched: the first champion's datum is 0 to 1 days old, then a second one's; p95 over both is 0.95."""
    history = [deployment(2 * DAY_S, age_s=0.0), deployment(DAY_S, age_s=0.0), deployment(0.0, age_s=0.0)]
    found = staleness_p95_s(history, NOW)
    assert found is not None
    assert found[0] == pytest.approx(0.95 * DAY_S, rel=0.01)
    assert found[1] == 2 * DAY_S


def test_a_champion_older_than_the_week_is_watched_for_the_week() -> None:
    found = staleness_p95_s([deployment(10 * DAY_S, age_s=100.0)], NOW)
    assert found is not None
    assert found[0] == pytest.approx(100 + 10 * DAY_S - 0.05 * WEEK_S, rel=0.001)
    assert found[1] == WEEK_S


@pytest.mark.parametrize(
    "history",
    [
        [],
        [deployment(0.0)],
        [deployment(5.0, age_s=None)],
        [deployment(9.0), deployment(5.0, age_s=None)],
        [deployment(5.0, age_s=-50.0)],
    ],
)
def test_an_age_that_is_not_known_all_the_time_is_no_age(history: list[Deployment]) -> None:
    assert staleness_p95_s(history, NOW) is None


def pace(**changed: Any) -> dict[m.Metric, Any]:
    known: dict[str, Any] = {
        "now_s": NOW,
        "cycles_s": [100.0],
        "deployments": [deployment(100.0), deployment(0.0)],
        "finished": 4,
        "promoted": 2,
        "has_source": True,
    }
    return {row.metric: row for row in pace_rows(Pace(**(known | changed)))}


def test_the_pace_is_told_in_rows() -> None:
    rows = pace()
    assert rows[m.RETRAINS_POSSIBLE_PER_DAY].value == 864.0
    assert (rows[m.RETRAINS_DONE_PER_DAY].value, rows[m.RETRAINS_DONE_WEEKLY_PER_DAY].value) == (2, 2 / 7)
    assert rows[m.RETRAINS_DONE_WEEKLY_PER_DAY].reason == "the first engine is 0.0 days old"
    assert pace(deployments=[deployment(WEEK_S)])[m.RETRAINS_DONE_WEEKLY_PER_DAY].reason is None
    assert rows[m.LEARNED_SAMPLES_PER_DAY].value == 20
    assert (rows[m.PROMOTION_RATIO].value, rows[m.PROMOTION_RATIO].n) == (0.5, 4)
    assert rows[m.STALENESS_P95_S].value == pytest.approx(155.0, abs=0.5)


@pytest.mark.parametrize(
    ("changed", "metric", "words"),
    [
        ({"has_source": False}, m.LEARNED_SAMPLES_PER_DAY, "no source is declared"),
        ({"deployments": [deployment(1.0, absorbed=None)]}, m.LEARNED_SAMPLES_PER_DAY, "does not tell what it learned"),
        ({"cycles_s": []}, m.RETRAINS_POSSIBLE_PER_DAY, "no retrain has finished"),
        ({"deployments": [deployment(1.0, age_s=None)]}, m.STALENESS_P95_S, "the source does not say"),
        ({"deployments": [deployment(0.0)]}, m.STALENESS_P95_S, "no champion before this one"),
        ({"finished": 0}, m.PROMOTION_RATIO, "no run has finished"),
        ({}, m.CADENCE_ADHERENCE_RATIO, "the pipeline has no cadence"),
        ({"why_no_schedule": "nobody keeps it"}, m.MISSED_SLOTS_COUNT, "nobody keeps it"),
        ({"schedule": Schedule(rows=[], since_s=NOW)}, m.MISSED_SLOTS_COUNT, "no slot of its cadence is over yet"),
    ],
)
def test_what_the_history_does_not_hold_is_said(changed: dict[str, Any], metric: m.Metric, words: str) -> None:
    row = pace(**changed)[metric]
    assert not isinstance(row, Reading)
    assert words in row.reason


# ---- ages of data --------------------------------------------------------------------------------------------------
def test_ages_are_weighted_by_samples_and_ranked() -> None:
    """19 samples are 10 s old and one is 500 s old: the 95th percentile of 20 is the nineteenth."""
    told = ages.summary(ages.checked([(500.0, 1), (990.0, 19), (0.0, 0)]), ages.checked([(500.0, 1)]))
    assert (told["samples"], told["newest"], told["newest_trained"]) == (20, 990.0, 500.0)
    assert ages.ages_at(told, 1000.0) == [10.0, 10.0]
    heavier = ages.summary(ages.checked([(500.0, 2), (990.0, 18)]), [])
    assert ages.ages_at(heavier, 1000.0) == [10.0, 500.0]
    assert ages.ages_at(ages.summary([], []), 1000.0) == [None, None]


@pytest.mark.parametrize("pair", [(float("nan"), 1), (1.0, -1), (1.0,), ("soon", 1), None])
def test_a_source_that_tells_no_times_is_named(pair: Any) -> None:
    with pytest.raises(DataError, match=r"times\(\) gave"):
        ages.checked([pair])

"""Where a metric stands since its last change of level, and when nothing can be said yet."""

import math

import pytest

from plaster_ops.domain.metrics import E2E_P50_MS, ENGINE_BYTES, Metric
from plaster_ops.domain.standing import standing_of
from plaster_ops.domain.watch import FEWEST
from tests.domain.alarms import alarm
from tests.domain.histories import history

CALM_THEN_WILD = [10.0 * math.exp(sign * size) for size in (0.005, 0.1) for sign in (1, -1, 0.5, -0.5) * 5]


def test_it_stands_where_it_has_stood_since_the_newest_alarm() -> None:
    """Retrains 1 to 4 at 10 ms, 5 to 12 at 20 ms, and an alarm at the fifth."""
    found = standing_of(history(E2E_P50_MS.key, [10.0] * 4 + [20.0] * 8), [alarm(5)])
    assert (found.since, found.n, found.level, len(found.newest)) == (5, 8, 20.0, 12)


def test_another_metrics_alarm_is_no_beginning() -> None:
    found = standing_of(history(E2E_P50_MS.key, [10.0] * 12), [alarm(5, key="latency/e2e_p90_ms")])
    assert (found.since, found.n) == (1, 12)


@pytest.mark.parametrize(
    ("n", "reason"), [(1, "not enough history (1 of 8)"), (FEWEST - 1, "not enough history (7 of 8)"), (FEWEST, None)]
)
def test_too_few_values_are_told_by_number(n: int, reason: str | None) -> None:
    assert standing_of(history(E2E_P50_MS.key, [10.0] * n), ()).reason == reason


def test_what_is_counted_needs_no_history() -> None:
    assert standing_of(history(ENGINE_BYTES.key, [4096.0]), ()).reason is None


@pytest.mark.parametrize(("metric", "is_told"), [(E2E_P50_MS, True), (ENGINE_BYTES, False)])
def test_values_that_scatter_more_than_they_did_are_told(metric: Metric, is_told: bool) -> None:
    ratio = standing_of(history(metric.key, CALM_THEN_WILD), ()).noise_ratio
    assert (ratio is not None and ratio > 2) is is_told


def test_values_that_scatter_as_ever_are_not() -> None:
    assert standing_of(history(E2E_P50_MS.key, CALM_THEN_WILD[20:] * 2), ()).noise_ratio is None


def test_a_value_that_was_not_measured_is_left_out() -> None:
    found = standing_of(history(E2E_P50_MS.key, [10.0, None, 12.0]), ())  # type: ignore[list-item]
    assert (found.n, found.level, list(found.newest)) == (2, 11.0, [10.0, 12.0])


def test_the_newest_two_dozen_values_are_shown_and_all_of_them_counted() -> None:
    found = standing_of(history(E2E_P50_MS.key, [float(at) for at in range(1, 41)]), ())
    assert (found.n, list(found.newest)) == (40, [float(at) for at in range(17, 41)])


def test_of_few_values_nothing_is_said_about_their_scatter() -> None:
    assert standing_of(history(E2E_P50_MS.key, CALM_THEN_WILD[13:27]), ()).noise_ratio is None

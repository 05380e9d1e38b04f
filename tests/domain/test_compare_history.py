"""A value that one retrain measures once is judged against the retrains before it."""

import math

import pytest

from plaster_ops.domain.card import Unmeasured
from plaster_ops.domain.judgement import Comparison, Judgement
from plaster_ops.domain.metrics import TRAIN_TO_ENGINE_S
from tests.domain.cards import judge, reading

EIGHT = [100.0, 103.0, 98.0, 101.0, 99.0, 102.0, 97.0, 100.0]
TWELVE = [*EIGHT, 101.0, 99.0, 100.0, 102.0]


def against(now: float, earlier: list[float]) -> Comparison:
    return judge(
        reading(TRAIN_TO_ENGINE_S, now), reading(TRAIN_TO_ENGINE_S, 100.0), history={TRAIN_TO_ENGINE_S.key: earlier}
    )


def half_width(row: Comparison) -> float:
    assert row.ci95 is not None
    return (math.log1p(row.ci95[1]) - math.log1p(row.ci95[0])) / 2


@pytest.mark.parametrize("earlier", [[], [100.0], [100.0, 101.0]])
def test_up_to_two_earlier_retrains_show_a_change_and_judge_nothing(earlier: list[float]) -> None:
    row = against(202.0, earlier)
    assert row.judgement is Judgement.INCONCLUSIVE
    have = "1 earlier retrain has" if len(earlier) == 1 else f"{len(earlier)} earlier retrains have"
    assert row.reason == f"no_history: {have} this value, 3 are needed"
    assert (row.p_value, row.ci95) == (None, None)
    assert row.change == (pytest.approx(202.0 / earlier[-1] - 1) if earlier else None)


def test_three_earlier_retrains_are_carried_by_the_prior() -> None:
    """No spread at all among three: the interval is that of the prior, 4 of 6 degrees of freedom."""
    row = against(115.0, [100.0] * 3)
    prior = math.log(1.1) / 2
    assert half_width(row) == pytest.approx(2.447 * math.sqrt(4 / 6) * prior * math.sqrt(1 + 1 / 3), rel=1e-3)
    assert row.judgement is Judgement.WORSE
    assert row.reason == "(against 3 earlier retrains)"


@pytest.mark.parametrize("earlier", [EIGHT, TWELVE])
def test_with_a_history_twenty_per_cent_is_told_and_two_are_the_same(earlier: list[float]) -> None:
    assert against(120.0, earlier).judgement is Judgement.WORSE
    assert against(80.0, earlier).judgement is Judgement.BETTER
    same = against(102.0, earlier)
    assert same.judgement is Judgement.SAME
    assert same.reason == f"(against {len(earlier)} earlier retrains)"
    assert same.how == "history"


def test_from_ten_retrains_on_the_history_speaks_for_itself() -> None:
    """The prior of half the margin widens the interval of a quiet history of nine, and not that of ten."""
    quiet = [100.0, 100.1] * 5
    assert half_width(against(100.0, quiet[:9])) > 5 * half_width(against(100.0, quiet))


def test_a_history_without_any_spread_judges_by_the_margin_alone() -> None:
    still = [100.0] * 12
    assert against(100.0, still).judgement is Judgement.SAME
    assert against(109.0, still).judgement is Judgement.SAME
    row = against(111.0, still)
    assert row.judgement is Judgement.WORSE
    assert half_width(row) == pytest.approx(0.0, abs=1e-9)


def test_only_the_newest_twenty_count() -> None:
    old = [10.0] * 40
    assert against(120.0, [*old, *TWELVE, *EIGHT]).judgement is Judgement.WORSE
    assert against(100.0, [*old, *TWELVE, *EIGHT]).change == pytest.approx(0.0, abs=0.01)


def test_the_named_run_is_shown_but_the_interval_is_against_the_history() -> None:
    row = against(120.0, EIGHT)
    assert (row.now, row.then) == (120.0, 100.0)
    slow = [2 * value for value in EIGHT]
    assert against(120.0, slow).judgement is Judgement.BETTER


def test_a_value_that_was_not_measured_is_not_comparable() -> None:
    gap = Unmeasured(metric=TRAIN_TO_ENGINE_S, reason="the build failed")
    row = judge(gap, reading(TRAIN_TO_ENGINE_S), history={TRAIN_TO_ENGINE_S.key: EIGHT})
    assert row.judgement is Judgement.NOT_COMPARABLE
    assert str(row.reason).startswith("not measured now")


def test_values_that_have_no_logarithm_are_left_out_of_the_history() -> None:
    assert against(100.0, [0.0, *EIGHT, -1.0]).reason == "(against 8 earlier retrains)"

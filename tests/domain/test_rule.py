"""The verdict rule at its edges, and the correction for many verdicts against the definition."""

import pytest

from plaster_ops.domain.judgement import Judgement, ReasonCode
from plaster_ops.domain.metrics import Better, Scale
from plaster_ops.domain.rule import benjamini_hochberg, rule
from plaster_ops.domain.student import Estimate


def estimate(value: float, half95: float) -> Estimate:
    half90 = 0.84 * half95
    return Estimate(value, (value - half95, value + half95), (value - half90, value + half90), 0.01)


def judged(value: float, half95: float, better: Better = Better.LOWER) -> Judgement:
    return rule(estimate(value, half95), 0.05, better, Scale.RATIO).judgement


def test_beyond_the_margin_is_nothing_while_no_change_is_in_the_interval() -> None:
    found = rule(estimate(0.2, 0.25), 0.05, Better.LOWER, Scale.RATIO)
    assert (found.judgement, found.code) == (Judgement.INCONCLUSIVE, ReasonCode.TOO_NOISY)
    assert found.detectable == pytest.approx(0.25)
    assert judged(0.2, 0.19) is Judgement.WORSE
    assert judged(-0.2, 0.25) is Judgement.INCONCLUSIVE


def test_at_the_margin_itself_is_not_beyond_it() -> None:
    at, over = estimate(0.05, 0.04), estimate(0.0501, 0.04)
    assert rule(at, 0.05, Better.LOWER, Scale.RATIO).judgement is Judgement.INCONCLUSIVE
    assert rule(over, 0.05, Better.LOWER, Scale.RATIO).judgement is Judgement.WORSE


@pytest.mark.parametrize("value", [-0.03, 0.03])
def test_the_same_needs_the_ninety_per_cent_interval_inside_the_margin_on_either_side(value: float) -> None:
    assert judged(value, 0.02) is Judgement.SAME
    assert judged(value, 0.0235) is Judgement.SAME, "the 95 % interval may stick out"
    assert judged(value, 0.027) is Judgement.INCONCLUSIVE


@pytest.mark.parametrize(("better", "rising"), [(Better.HIGHER, Judgement.BETTER), (Better.LOWER, Judgement.WORSE)])
def test_better_is_by_the_metrics_direction(better: Better, rising: Judgement) -> None:
    other = {Judgement.BETTER: Judgement.WORSE, Judgement.WORSE: Judgement.BETTER}[rising]
    assert (judged(0.2, 0.1, better), judged(-0.2, 0.1, better)) == (rising, other)


def test_adjusted_p_values_are_those_of_the_step_up_procedure() -> None:
    assert benjamini_hochberg([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert benjamini_hochberg([]) == []

"""Whether an engine keeps the score of its own model: what the samples prove, and what they cannot tell."""

import json
import math
from typing import Any

import numpy as np
import pytest

from plaster_ops.domain.metrics import Better
from plaster_ops.domain.sample import PairedDifference
from plaster_ops.plaster.proportions import Z90, Z95, mcnemar_midp, paired_interval
from plaster_ops.plaster.resampling import SetScore
from plaster_ops.plaster.retention import Kept, Retention, judge_retention, retention_of

PERCENT = {"retained_ratio": 0.99, "max_lost_score": 0.01}


def difference(delta: float, half_width: float = 0.0, n: int = 100) -> PairedDifference:
    low, high = delta - half_width, delta + half_width
    return PairedDifference(
        key="score", delta=delta, ci95=(low, high), ci90=(low, high), p_value=1.0, method="paired_bootstrap", n=n
    )


def judged(
    engine: float, reference: float, half_width: float = 0.0, better: Better = Better.HIGHER, **given: Any
) -> Retention:
    paired = difference(engine - reference, half_width)
    return judge_retention(engine, reference, paired, **{"better": better, "precision": "int8", **PERCENT, **given})


def classified(right: int, wrong: int, gained: int = 0, lost: int = 0, precision: str = "int8") -> Retention:
    """`right` and `wrong`: samples on which eager and the engine agree."""
    n = right + wrong + gained + lost
    paired = PairedDifference(
        key="score",
        delta=(gained - lost) / n,
        ci95=paired_interval(gained, lost, n, Z95),
        ci90=paired_interval(gained, lost, n, Z90),
        p_value=mcnemar_midp(gained, lost),
        method="mcnemar_midp",
        n=n,
    )
    score = {"better": Better.HIGHER, "precision": precision, **PERCENT}
    return judge_retention((right + gained) / n, (right + lost) / n, paired, **score)


def per_sample(values: Any, digest: str = "engine") -> SetScore:
    scores = np.asarray(values, dtype=float)
    return SetScore(
        value=float(scores.mean()), ci95=None, n=len(scores), method="mean", digest=digest, per_sample=scores
    )


# ---- what decides ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("engine", "state"), [(0.990, Kept.KEPT), (0.989, Kept.LOST), (1.2, Kept.KEPT)])
def test_fp32_is_judged_by_its_point_estimate_however_wide_the_interval(engine: float, state: Kept) -> None:
    assert judged(engine, 1.0, half_width=0.5, precision="fp32").state is state


@pytest.mark.parametrize("precision", ["bf16", "fp16", "int8", "fp8"])
@pytest.mark.parametrize(("half_width", "state"), [(0.004, Kept.KEPT), (0.005, Kept.KEPT), (0.006, Kept.UNDECIDED)])
def test_below_fp32_the_upper_end_of_the_interval_must_stay_inside(
    half_width: float, state: Kept, precision: str
) -> None:
    assert judged(0.995, 1.0, half_width, precision=precision).state is state


def test_a_loss_beyond_what_is_allowed_is_a_loss_and_no_open_question() -> None:
    assert judged(0.98, 1.0, half_width=0.5).state is Kept.LOST


def test_a_gain_is_kept() -> None:
    gained = judged(0.95, 0.9, half_width=0.01)
    assert (gained.state, gained.retained_ratio) == (Kept.KEPT, 1.0)
    assert gained.loss == pytest.approx(-0.05)


@pytest.mark.parametrize(("engine", "state"), [(1.01, Kept.KEPT), (1.02, Kept.LOST), (0.5, Kept.KEPT)])
def test_where_lower_is_better_a_rise_is_the_loss(engine: float, state: Kept) -> None:
    found = judged(engine, 1.0, half_width=0.0, better=Better.LOWER)
    assert found.state is state
    assert found.loss == pytest.approx(engine - 1.0)


def test_the_interval_of_the_loss_is_the_intervals_mirror_image_in_the_scores_direction() -> None:
    paired = PairedDifference(
        key="score", delta=-0.01, ci95=(-0.05, 0.02), ci90=(-0.04, 0.01), p_value=0.5, method="m", n=9
    )
    rule = {"precision": "int8", **PERCENT}
    up = judge_retention(0.89, 0.9, paired, better=Better.HIGHER, **rule)
    down = judge_retention(0.89, 0.9, paired, better=Better.LOWER, **rule)
    assert (up.loss, up.loss_ci90) == (0.01, (-0.01, 0.04))
    assert (down.loss, down.loss_ci90) == (-0.01, (-0.04, 0.01))


@pytest.mark.parametrize("better", list(Better))
def test_what_just_passes_keeps_exactly_the_share_that_was_asked_for(better: Better) -> None:
    allowed = judged(0.8, 0.8, better=better).allowed
    engine = 0.8 - allowed if better is Better.HIGHER else 0.8 + allowed
    found = judged(engine, 0.8, better=better)
    assert found.state is Kept.KEPT
    assert found.retained_ratio == pytest.approx(0.99)
    assert judged(engine + (engine - 0.8) * 1e-6, 0.8, better=better).state is Kept.LOST


# ---- scores that have no share ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("engine", "reference"), [(-0.31, -0.30), (0.0, 0.005), (0.005, 0.0), (-0.004, 0.004), (0.0, 0.0)], ids=str
)
def test_a_score_that_is_not_above_zero_is_held_to_a_difference(engine: float, reference: float) -> None:
    found = judged(engine, reference)
    assert (found.state, found.allowed, found.retained_ratio) == (Kept.KEPT, 0.01, None)
    strict = judged(engine, reference, max_lost_score=0.0)
    assert strict.state is (Kept.LOST if engine < reference else Kept.KEPT)


def test_a_model_that_was_ruined_to_zero_is_lost() -> None:
    assert judged(0.0, 0.9).state is Kept.LOST
    assert judged(0.02, 0.0, better=Better.LOWER).state is Kept.LOST


# ---- few samples, equal answers --------------------------------------------------------------------------------------
def test_identical_outputs_are_kept_on_one_sample() -> None:
    same = retention_of(per_sample([1.0]), per_sample([1.0]), PERCENT, Better.HIGHER, "int8")
    assert (same.state, same.loss, same.loss_ci90, same.method) == (Kept.KEPT, 0.0, (0.0, 0.0), "identical")


def test_equal_classes_by_other_outputs_prove_little_on_few_samples_and_enough_on_many() -> None:
    assert classified(right=9, wrong=1).state is Kept.UNDECIDED
    assert classified(right=450, wrong=50).state is Kept.KEPT
    assert classified(right=9, wrong=1, precision="fp32").state is Kept.KEPT


def test_two_that_are_wrong_on_every_sample_keep_nothing_but_the_difference() -> None:
    found = classified(right=0, wrong=500)
    assert (found.state, found.allowed, found.retained_ratio) == (Kept.KEPT, 0.01, None)
    assert classified(right=0, wrong=10).state is Kept.UNDECIDED


def test_as_many_samples_as_it_asks_for_would_decide() -> None:
    few = classified(right=95, wrong=5)
    assert few.state is Kept.UNDECIDED
    assert few.needed is not None
    assert few.needed > few.n
    assert classified(right=few.needed - 5, wrong=5).state is Kept.KEPT


def test_only_an_undecided_one_says_how_many_samples_are_missing() -> None:
    assert classified(right=450, wrong=50).needed is None
    assert classified(right=50, wrong=0, lost=50).needed is None


def test_a_loss_of_just_what_is_allowed_asks_for_no_astronomical_number_of_samples() -> None:
    one_in_a_hundred = classified(right=99, wrong=0, lost=1)
    assert one_in_a_hundred.state is Kept.UNDECIDED
    assert one_in_a_hundred.needed is None


def test_scores_that_are_means_are_judged_by_their_resampled_difference() -> None:
    errors = np.linspace(0.5, 1.5, 400)
    steady = retention_of(per_sample(errors + 0.005), per_sample(errors, "eager"), PERCENT, Better.LOWER, "int8")
    assert (steady.state, steady.method) == (Kept.KEPT, "paired_bootstrap")
    scattered = errors + np.where(np.arange(400) % 2, 0.5, -0.49)
    unsure = retention_of(per_sample(scattered), per_sample(errors, "eager"), PERCENT, Better.LOWER, "int8")
    assert unsure.state is Kept.UNDECIDED
    assert retention_of(per_sample(scattered), per_sample(errors, "eager"), PERCENT, Better.LOWER, "fp32").state is (
        Kept.KEPT
    )


def test_one_sample_proves_nothing_about_a_mean() -> None:
    found = retention_of(per_sample([1.005]), per_sample([1.0], "eager"), PERCENT, Better.LOWER, "int8")
    assert found.state is Kept.UNDECIDED


NOT_NUMBERS = ((math.nan, 0.9), (0.9, math.nan), (math.nan, math.nan))


@pytest.mark.parametrize(("engine", "reference"), NOT_NUMBERS)
def test_a_score_that_is_no_number_is_not_kept(engine: float, reference: float) -> None:
    assert judged(engine, reference).state is not Kept.KEPT


@pytest.mark.parametrize(("engine", "reference"), NOT_NUMBERS)
def test_a_score_that_is_no_number_is_not_kept_in_fp32_either(engine: float, reference: float) -> None:
    assert judged(engine, reference, precision="fp32").state is not Kept.KEPT


# ---- what is told ----------------------------------------------------------------------------------------------------
def test_the_sentence_holds_every_number_that_decided() -> None:
    told = judged(0.97, 1.0, half_width=0.01).sentence
    assert told == (
        "score 0.9700 where eager fp32 has 1.0000: loses 0.0300"
        " (90 % interval 0.0200 to 0.0400, 100 samples, paired_bootstrap), allowed 0.0100"
    )


def test_an_undecided_one_says_what_is_missing() -> None:
    told = judged(0.995, 1.0, half_width=0.01)
    assert told.needed == 400
    assert told.sentence.endswith("allowed 0.0100: too few samples to tell; about 400 samples might tell")


def test_a_loss_of_nothing_has_no_sign() -> None:
    same = retention_of(per_sample([1.0]), per_sample([1.0]), PERCENT, Better.HIGHER, "int8")
    assert "-0.0" not in same.sentence


def test_it_is_written_as_plain_json() -> None:
    found = judged(0.995, 1.0, half_width=0.01)
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert plain["state"] == "undecided"
    assert plain["retained_ratio"] == 0.995
    assert plain["loss_ci90"] == list(found.loss_ci90)
    assert (plain["n"], plain["needed"], plain["sentence"]) == (100, 400, found.sentence)

"""A user's score: applied, taken apart, resampled, compared."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score
from torchmetrics.regression import MeanAbsoluteError, MeanSquaredError, R2Score

from plaster_ops.domain.metrics import ROLLING_SCORE, Better
from plaster_ops.domain.sample import PairedDifference
from plaster_ops.errors import DataError, NotComparable, PipelineError
from plaster_ops.plaster.answers import Answers, pick, take
from plaster_ops.plaster.proportions import wilson_interval
from plaster_ops.plaster.resampling import SetScore
from plaster_ops.plaster.score_pairs import answers_changed, change_ratios, pair_scores
from plaster_ops.plaster.scoring import direction, evaluate_set, score


def classes(n: int, wrong: int, *, seed: int = 0, count: int = 4) -> Answers:
    """`wrong` of n samples are misclassified."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, count, (n,), generator=generator)
    said = truth.clone()
    said[torch.randperm(n, generator=generator)[:wrong]] += 1
    logits = torch.nn.functional.one_hot(said % count, count).float() * 5
    return Answers(outputs=logits + torch.rand(n, count, generator=generator), targets=truth, n=n)


def numbers(n: int, noise: float, *, seed: int = 0) -> Answers:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(n, generator=generator)
    noisy = truth + noise * torch.randn(n, generator=torch.Generator().manual_seed(seed + 1))
    return Answers(outputs=noisy, targets=truth, n=n)


def micro() -> Any:
    return MulticlassAccuracy(num_classes=4, average="micro")


def ratios(now: list[Answers], then: list[Answers]) -> dict[str, float] | None:
    return change_ratios(answers_changed(now, then))


def set_score(metric: Any, *parts: Answers, **options: Any) -> SetScore:
    return evaluate_set(metric, list(parts), **options)


# ---- one number ------------------------------------------------------------------------------------------------------
def test_a_torchmetrics_metric_is_reset_before_and_after() -> None:
    metric = micro()
    metric.update(torch.eye(4), torch.tensor([1, 2, 3, 0]))
    part = classes(50, 5)
    assert score(metric, part.outputs, part.targets) == pytest.approx(0.9)
    assert score(metric, part.outputs, part.targets) == pytest.approx(0.9)
    assert metric.update_count == 0


def test_a_plain_function_may_return_a_float_or_a_tensor() -> None:
    part = numbers(20, 0.1)
    assert score(lambda o, t: float((o - t).abs().mean()), part.outputs, part.targets) == pytest.approx(
        score(lambda o, t: (o - t).abs().mean(), part.outputs, part.targets)
    )


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (lambda _o, _t: float("nan"), "gave nan"),
        (lambda _o, _t: torch.tensor([1.0, 2.0]), "not one number"),
        (lambda _o, _t: {"f1": 1.0}, "gave dict"),
        (lambda _o, _t: None, "gave NoneType"),
    ],
)
def test_a_score_that_is_not_one_finite_number_is_the_pipelines_error(metric: Callable[..., Any], said: str) -> None:
    with pytest.raises(PipelineError, match=said):
        score(metric, torch.zeros(2), torch.zeros(2))


def test_the_direction_is_the_pipelines_own_then_the_metrics() -> None:
    assert direction(SimpleNamespace(score=micro())) is Better.HIGHER
    assert direction(SimpleNamespace(score=MeanSquaredError())) is Better.LOWER
    assert direction(SimpleNamespace(score=micro(), higher_is_better=False)) is Better.LOWER
    with pytest.raises(PipelineError) as caught:
        direction(SimpleNamespace(score=max))
    assert "higher_is_better = True" in caught.value.next_step


# ---- a set -----------------------------------------------------------------------------------------------------------
def test_accuracy_is_found_to_be_a_proportion_and_gets_wilsons_interval() -> None:
    scored = set_score(micro(), classes(200, 20))
    assert (scored.method, scored.n, scored.value) == ("proportion", 200, pytest.approx(0.9))
    assert scored.ci95 == wilson_interval(180, 200)
    assert scored.per_sample is not None
    assert scored.per_sample.sum() == 180


def test_an_unusual_proportion_is_taken_apart_sample_by_sample() -> None:
    """Right is within 0.1: none of the known shapes."""
    part = numbers(60, 0.1)
    scored = set_score(lambda o, t: ((o - t).abs() < 0.1).double().mean(), part)
    assert scored.method == "proportion"
    assert scored.per_sample is not None
    assert scored.per_sample.tolist() == ((part.outputs - part.targets).abs() < 0.1).double().tolist()


@pytest.mark.parametrize("metric", [MeanSquaredError(), MeanAbsoluteError()])
def test_mean_errors_are_means_over_samples(metric: Any) -> None:
    scored = set_score(metric, numbers(100, 0.5))
    assert scored.method == "mean"
    assert scored.ci95 is not None
    assert scored.ci95[0] < scored.value < scored.ci95[1]
    assert scored.per_sample is not None
    assert scored.per_sample.mean() == pytest.approx(scored.value, rel=1e-5)


@pytest.mark.parametrize("metric", [R2Score(), MulticlassF1Score(num_classes=4, average="macro")])
def test_scores_that_are_no_mean_are_computed_anew_on_resamples(metric: Any) -> None:
    part = numbers(80, 0.5) if isinstance(metric, R2Score) else classes(80, 15)
    scored = set_score(metric, part, budget_s=0.0001)
    assert scored.method in ("bootstrap", "jackknife")
    scored = set_score(metric, part, like=SetScore(**_bootstrapped(80)))
    assert scored.method == "bootstrap"
    assert scored.replicates is not None
    assert len(scored.replicates) >= 200
    assert scored.ci95 is not None
    assert scored.ci95[0] < scored.value < scored.ci95[1]


def _bootstrapped(n: int) -> dict[str, Any]:
    return {
        "value": 0.5,
        "ci95": None,
        "n": n,
        "method": "bootstrap",
        "digest": "",
        "replicates": np.zeros(200),
    }


def test_a_score_too_slow_to_resample_leaves_out_groups_instead() -> None:
    tick = iter(range(10_000))
    scored = set_score(R2Score(), numbers(100, 0.5), budget_s=1.0, monotonic_s=lambda: float(next(tick)))
    assert scored.method == "jackknife"
    assert scored.replicates is not None
    assert len(scored.replicates) == 20
    assert scored.ci95 is not None
    assert scored.ci95[0] < scored.value < scored.ci95[1]


def test_jackknife_and_bootstrap_agree_on_the_width() -> None:
    part = numbers(400, 0.5)
    tick = iter(range(10_000))
    left_out = set_score(R2Score(), part, budget_s=1.0, monotonic_s=lambda: float(next(tick)))
    resampled = set_score(R2Score(), part, like=SetScore(**_bootstrapped(400)))
    assert left_out.ci95 is not None
    assert resampled.ci95 is not None
    widths = [high - low for low, high in (left_out.ci95, resampled.ci95)]
    assert 0.5 < widths[0] / widths[1] < 2.0


def test_the_bootstrap_of_r2_covers_the_truth_in_most_sets() -> None:
    """outputs = targets + noise 0.5: R2 is 1 - 0.25 = 0.75."""
    covered = 0
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        truth = torch.randn(200, generator=generator)
        said = truth + 0.5 * torch.randn(200, generator=generator)

        def r2(outputs: Any, targets: Any) -> Any:
            return 1 - (outputs - targets).square().sum() / (targets - targets.mean()).square().sum()

        scored = set_score(r2, Answers(outputs=said, targets=truth, n=200), budget_s=0.05)
        assert scored.ci95 is not None
        covered += scored.ci95[0] <= 0.75 <= scored.ci95[1]
    assert covered >= 16


def test_ragged_groups_are_one_set() -> None:
    short, long = classes(30, 3), classes(10, 3, seed=1)
    scored = set_score(micro(), short, long)
    assert (scored.n, scored.method) == (40, "proportion")
    assert scored.value == pytest.approx(34 / 40)
    by_function = set_score(lambda o, t: (o.argmax(1) == t).double().mean(), short, long)
    assert by_function.value == pytest.approx(34 / 40)


def test_outputs_in_dicts_and_tuples_are_taken_apart_too() -> None:
    class Pair(NamedTuple):
        first: Any
        second: Any

    part = numbers(30, 0.5)
    nested = Answers(outputs={"y": Pair(part.outputs, [part.outputs])}, targets={"y": part.targets}, n=30)
    scored = set_score(lambda o, t: (o["y"].second[0] - t["y"]).abs().mean(), nested)
    assert scored.method == "mean"
    (picked,) = pick([nested], np.array([3, 3]))
    assert isinstance(picked.outputs["y"], Pair)
    assert picked.outputs["y"].first.tolist() == [part.outputs[3]] * 2
    assert take(7, torch.tensor([0])) == 7


def test_an_empty_set_is_a_data_error() -> None:
    with pytest.raises(DataError, match="empty"):
        evaluate_set(micro(), [])


def test_one_sample_has_no_bootstrap_interval() -> None:
    assert set_score(MeanSquaredError(), numbers(1, 0.5)).ci95 is None


def test_scoring_10_000_samples_does_not_take_10_000_calls() -> None:
    calls = [0]

    def accuracy(outputs: Any, targets: Any) -> Any:
        calls[0] += 1
        return (outputs.argmax(1) == targets).double().mean()

    assert set_score(accuracy, classes(10_000, 900)).method == "proportion"
    assert calls[0] < 30


# ---- pairs -----------------------------------------------------------------------------------------------------------
def paired(metric: Any, now: Answers, then: Answers, **options: Any) -> PairedDifference:
    mine = set_score(metric, now, **options)
    return pair_scores(mine, set_score(metric, then, like=mine), ROLLING_SCORE)


@pytest.mark.parametrize("metric", [micro(), MulticlassF1Score(num_classes=4, average="macro")])
def test_equal_outputs_differ_by_exactly_nothing(metric: Any) -> None:
    found = paired(metric, classes(50, 9), classes(50, 9))
    assert (found.delta, found.ci95, found.ci90, found.p_value) == (0.0, (0.0, 0.0), (0.0, 0.0), 1.0)
    assert found.method == "identical"


def test_two_classifiers_are_compared_by_mcnemar() -> None:
    now, then = classes(200, 4), classes(200, 24)
    found = paired(micro(), now, then)
    assert found.method == "mcnemar_midp"
    assert found.delta == pytest.approx(0.1)
    assert (found.gained, found.lost) == (20, 0)
    assert found.ci95[0] > 0.05
    assert found.p_value < 1e-5
    assert PairedDifference.from_json(found.to_json()) == found


def test_equal_accuracy_by_other_answers_is_not_called_identical() -> None:
    now = classes(100, 10)
    then = Answers(outputs=now.outputs * 2, targets=now.targets, n=100)
    found = paired(micro(), now, then)
    assert (found.delta, found.method) == (0.0, "mcnemar_midp")
    assert found.ci95[1] > 0.01


@pytest.mark.parametrize("metric", [MeanSquaredError(), R2Score()])
def test_other_scores_are_compared_on_common_resamples(metric: Any) -> None:
    good, bad = numbers(150, 0.3), numbers(150, 0.6, seed=5)
    mine = set_score(metric, good, like=SetScore(**_bootstrapped(150)))
    found = pair_scores(mine, set_score(metric, bad, like=mine), ROLLING_SCORE)
    assert found.method == "paired_bootstrap"
    excludes_zero = found.ci95[1] < 0 if isinstance(metric, MeanSquaredError) else found.ci95[0] > 0
    assert excludes_zero
    assert found.p_value <= 0.02


def test_pairing_is_sharper_than_two_intervals() -> None:
    """Both engines share their hard samples; the second is worse by a constant."""
    hard = torch.rand(200, generator=torch.Generator().manual_seed(1)) ** 4 * 10
    now = Answers(outputs=hard, targets=torch.zeros(200), n=200)
    then = Answers(outputs=hard + 0.05, targets=torch.zeros(200), n=200)
    found = paired(MeanAbsoluteError(), now, then)
    alone = set_score(MeanAbsoluteError(), now)
    assert alone.ci95 is not None
    assert alone.ci95[1] - alone.ci95[0] > 0.3
    assert found.ci95 == (pytest.approx(-0.05, abs=1e-6), pytest.approx(-0.05, abs=1e-6))


def test_resamples_of_two_engines_are_common() -> None:
    """A root of a mean is no mean. Drawn apart, a difference of 2 % would drown in the spread of the hard samples."""
    hard = torch.rand(200, generator=torch.Generator().manual_seed(1)) ** 4 * 10
    parts = [Answers(outputs=hard * factor, targets=torch.zeros(200), n=200) for factor in (1.0, 1.02)]
    mine, theirs = (set_score(_root_mean_square, part, like=SetScore(**_bootstrapped(200))) for part in parts)
    found = pair_scores(mine, theirs, ROLLING_SCORE)
    assert found.method == "paired_bootstrap"
    assert mine.ci95 is not None
    assert mine.ci95[1] - mine.ci95[0] > 0.5
    assert found.ci95[1] < 0
    assert found.ci95[0] > -0.1


def _root_mean_square(outputs: Any, targets: Any) -> Any:
    return (outputs - targets).square().mean().sqrt()


def test_left_out_groups_pair_up() -> None:
    tick = iter(range(10_000))
    mine = set_score(R2Score(), numbers(200, 0.3), budget_s=1.0, monotonic_s=lambda: float(next(tick)))
    theirs = set_score(R2Score(), numbers(200, 0.8, seed=7), like=mine)
    found = pair_scores(mine, theirs, ROLLING_SCORE)
    assert found.method == "paired_jackknife"
    assert found.ci95[0] > 0.1
    assert found.p_value < 0.001
    mean = set_score(MeanSquaredError(), numbers(200, 0.4, seed=9))
    means = pair_scores(mine, mean, ROLLING_SCORE)
    assert means.method == "paired_jackknife"  # a mean has its left-out groups too
    assert means.ci95 is not None
    assert means.ci95[0] < mine.value - mean.value < means.ci95[1]
    assert pair_scores(mine, SetScore(**_bootstrapped(200)), ROLLING_SCORE).ci95 is None


def test_sets_of_different_size_do_not_pair() -> None:
    with pytest.raises(NotComparable, match="50 and 60"):
        pair_scores(set_score(micro(), classes(50, 5)), set_score(micro(), classes(60, 5)), ROLLING_SCORE)


# ---- which answers changed -------------------------------------------------------------------------------------------
def test_churn_and_flips_are_counted_against_the_other_engine() -> None:
    truth = torch.tensor([0, 1, 2, 3])
    now = torch.eye(4)[torch.tensor([0, 1, 0, 0])]
    then = torch.eye(4)[torch.tensor([0, 2, 2, 1])]
    found = ratios([Answers(outputs=now, targets=truth, n=4)], [Answers(outputs=then, targets=truth, n=4)])
    assert found == {
        "agreement_ratio": 0.25,
        "churn_ratio": 0.75,
        "negative_flips_ratio": 0.25,
        "flips_ratio": 0.5,
    }


@pytest.mark.parametrize("wrap", [lambda x: (x,), lambda x: {"a": x}], ids=["tuple", "dict"])
def test_a_class_axis_is_found_inside_tuples_and_dicts(wrap: Callable[[Any], Any]) -> None:
    part = classes(20, 4)
    nested = [Answers(outputs=wrap(part.outputs), targets=wrap(part.targets), n=20)]
    assert ratios(nested, nested) == {
        "agreement_ratio": 1.0,
        "churn_ratio": 0.0,
        "negative_flips_ratio": 0.0,
        "flips_ratio": 0.0,
    }


def test_a_regression_has_no_class_axis() -> None:
    part = [numbers(10, 0.1)]
    assert ratios(part, part) is None
    wide = [Answers(outputs=torch.rand(4, 1), targets=torch.zeros(4, dtype=torch.long), n=4)]
    assert ratios(wide, wide) is None


# ---- the bootstrap, against others' ----------------------------------------------------------------------------------
def test_the_bootstrap_of_a_mean_is_scipys_within_its_own_noise_and_always_the_same() -> None:
    from scipy.stats import bootstrap

    values = np.random.default_rng(5).gamma(2.0, size=200)
    part = Answers(outputs=torch.from_numpy(values), targets=torch.zeros(200).double(), n=200)
    scored = set_score(MeanAbsoluteError(), part)
    theirs = bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1))
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert scored.ci95 is not None
    assert scored.ci95 == pytest.approx(tuple(theirs.confidence_interval), abs=0.1 * width)
    assert set_score(MeanAbsoluteError(), part).ci95 == scored.ci95


def test_one_sample_of_a_mean_has_no_interval_and_one_that_is_right_has_wilsons() -> None:
    part = Answers(outputs=torch.tensor([1.5]), targets=torch.tensor([0.0]), n=1)
    assert set_score(MeanAbsoluteError(), part).ci95 is None
    assert set_score(micro(), classes(1, 0)).ci95 == wilson_interval(1, 1)


@pytest.mark.parametrize("wrong", [0, 40])
def test_all_right_and_all_wrong_have_intervals_that_stay_within_0_and_1(wrong: int) -> None:
    found = set_score(micro(), classes(40, wrong))
    assert found.value == 1 - wrong / 40
    assert found.ci95 == wilson_interval(40 - wrong, 40)
    paired = pair_scores(found, set_score(micro(), classes(40, 40 - wrong)), ROLLING_SCORE)
    assert (paired.delta, paired.gained, paired.lost) == ((1.0, 40, 0) if not wrong else (-1.0, 0, 40))
    assert paired.p_value == pytest.approx(2 * 0.5 * 0.5**40)


def test_other_outputs_with_the_same_right_answers_have_no_discordant_pair() -> None:
    one, two = (set_score(micro(), classes(40, 4, seed=seed)) for seed in (0, 0))
    assert pair_scores(one, two, ROLLING_SCORE).method == "identical"
    shifted = classes(40, 4)
    other = set_score(micro(), Answers(outputs=shifted.outputs + 1, targets=shifted.targets, n=40))
    paired = pair_scores(one, other, ROLLING_SCORE)
    assert (paired.method, paired.delta, paired.p_value) == ("mcnemar_midp", 0.0, 1.0)
    assert paired.ci95[1] == pytest.approx(1.96**2 / (40 + 1.96**2), abs=1e-4)


# ---- scores that are not defined everywhere --------------------------------------------------------------------------
def area_under_roc(outputs: Any, targets: Any) -> float:
    """Not defined without both classes."""
    positive, negative = outputs[targets == 1], outputs[targets == 0]
    if not len(positive) or not len(negative):
        return math.nan
    return float((positive[:, None] > negative[None, :]).double().mean())


def rare(n: int, positives: int, seed: int = 0) -> Answers:
    targets = torch.zeros(n, dtype=torch.long)
    targets[:positives] = 1
    noise = torch.rand(n, generator=torch.Generator().manual_seed(seed))
    return Answers(outputs=noise + targets * 0.5, targets=targets, n=n)


def of_two_rare(outputs: Any, targets: Any) -> float:
    """Not defined without both of two classes that one sample each has."""
    return area_under_roc(outputs, targets) if (targets == 2).any() else math.nan


def two_rare(n: int, seed: int = 0) -> Answers:
    answers = rare(n, 1, seed)
    answers.targets[1] = 2
    return answers


@pytest.mark.parametrize(("n", "positives"), [(300, 5), (60, 1), (30, 1)])
def test_a_score_without_a_value_on_some_resamples_keeps_its_value_and_an_interval(n: int, positives: int) -> None:
    answers = rare(n, positives)
    found = evaluate_set(area_under_roc, [answers], budget_s=60.0)
    assert found.value == pytest.approx(area_under_roc(answers.outputs, answers.targets))
    assert found.method == "bootstrap"
    assert found.ci95 is not None
    assert found.ci95[0] <= found.value <= found.ci95[1]
    assert all(math.isfinite(bound) for bound in found.ci95)


@pytest.mark.parametrize("n", [30, 60])
def test_a_score_without_a_value_on_most_resamples_has_no_interval(n: int) -> None:
    found = evaluate_set(of_two_rare, [two_rare(n)], budget_s=60.0)
    assert math.isfinite(found.value)
    assert (found.ci95, found.method) == (None, "unresampled")


def test_where_most_resamples_fail_groups_are_left_out_instead() -> None:
    def strict(outputs: Any, targets: Any) -> float:
        return area_under_roc(outputs, targets) if len(torch.unique(outputs)) > 0.9 * len(outputs) else math.nan

    found = evaluate_set(strict, [rare(200, 40)], budget_s=60.0)
    assert found.method == "jackknife"
    assert found.ci95 is not None
    assert found.ci95[0] < found.value < found.ci95[1]


def test_two_such_scores_pair_on_the_resamples_that_both_have_or_say_that_none_is_left() -> None:
    mine = evaluate_set(area_under_roc, [rare(300, 5)], budget_s=60.0)
    worse = evaluate_set(area_under_roc, [rare(300, 5, seed=3)], budget_s=60.0, like=mine)
    found = pair_scores(mine, worse, ROLLING_SCORE)
    assert found.method == "paired_bootstrap"
    assert found.ci95 is not None
    assert found.ci95[0] < found.delta < found.ci95[1]
    alone = evaluate_set(of_two_rare, [two_rare(60)], budget_s=60.0)
    other = evaluate_set(of_two_rare, [two_rare(60, seed=3)], budget_s=60.0, like=alone)
    none = pair_scores(alone, other, ROLLING_SCORE)
    assert (none.ci95, none.ci90, none.p_value, none.method) == (None, None, None, "unresampled")
    assert none.delta == alone.value - other.value != 0.0
    assert PairedDifference.from_json(none.to_json()) == none


def test_the_second_score_is_taken_apart_as_the_first_was_however_long_that_takes() -> None:
    slow = iter(range(0, 10_000_000, 1_000))

    def smooth(outputs: Any, targets: Any) -> Any:
        """A mean over samples that is none of the usual ones, so each sample is asked for."""
        return torch.nn.functional.smooth_l1_loss(outputs, targets)

    mine = set_score(smooth, numbers(400, 0.3), budget_s=60.0)
    late = set_score(smooth, numbers(400, 0.3, seed=5), like=mine, monotonic_s=lambda: float(next(slow)), budget_s=1.0)
    assert (mine.method, late.method) == ("mean", "mean")
    assert pair_scores(mine, late, ROLLING_SCORE).method == "paired_bootstrap"


@pytest.mark.parametrize("n", [3, 8, 15, 30])
def test_few_samples_do_not_pretend_to_a_difference(n: int) -> None:
    """Nothing differs: the 95 % interval of the paired difference excludes zero in about 5 % of cases."""
    generator, excluded = np.random.default_rng(n), 0
    for number in range(600):
        scores = [generator.normal(0.0, 1.0, n) for _ in range(2)]
        mine, theirs = (
            SetScore(value=float(s.mean()), ci95=None, n=n, method="mean", digest=f"{number}{i}", per_sample=s)
            for i, s in enumerate(scores)
        )
        found = pair_scores(mine, theirs, ROLLING_SCORE)
        assert found.ci95 is not None
        excluded += not found.ci95[0] <= 0.0 <= found.ci95[1]
    assert 0.02 <= excluded / 600 <= 0.08


def test_one_sample_shows_no_interval() -> None:
    found = paired(MeanAbsoluteError(), numbers(1, 0.3), numbers(1, 0.6, seed=5))
    assert (found.ci95, found.p_value, found.method) == (None, None, "unresampled")

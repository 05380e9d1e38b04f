"""Two engines on the same samples: the difference of their scores, and which answers changed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from plaster_ops.domain import student
from plaster_ops.domain.metrics import Metric
from plaster_ops.domain.sample import PairedDifference
from plaster_ops.errors import NotComparable
from plaster_ops.plaster.answers import Answers
from plaster_ops.plaster.proportions import Z90, Z95, mcnemar_midp, paired_interval
from plaster_ops.plaster.resampling import (
    FEW,
    FEWEST,
    GROUPS,
    UNRESAMPLED,
    Floats,
    SetScore,
    bootstrap_means,
    is_proportion,
    jackknife_error,
    leave_out_means,
)

Counts = npt.NDArray[np.int64]


def pair_scores(now: SetScore, then: SetScore, metric: Metric) -> PairedDifference:
    """now - then with 95 % and 90 % intervals and a two-sided p-value, in the score's own sign.

    0/1 scores: McNemar mid-p and Tango's interval. Means: common resamples, Student's t of the differences below 50
    samples. Others: common resamples. Equal outputs differ by exactly nothing. The intervals are None where there is
    one sample, or where a score is not defined on resamples. Raises `NotComparable` where the scores are of different
    sets.
    """
    if now.n != then.n:
        raise NotComparable(f"scores of {now.n} and {then.n} samples do not pair", "score both on the same samples")
    if now.digest == then.digest:
        return PairedDifference(
            key=metric.key, delta=0.0, ci95=(0.0, 0.0), ci90=(0.0, 0.0), p_value=1.0, method="identical", n=now.n
        )
    mine, theirs = now.per_sample, then.per_sample
    if mine is not None and theirs is not None and is_proportion(mine) and is_proportion(theirs):
        return _proportions(metric, mine, theirs)
    return _replicates(metric, now, then)


def _proportions(metric: Metric, mine: Floats, theirs: Floats) -> PairedDifference:
    n = len(mine)
    gained, lost = int((mine > theirs).sum()), int((mine < theirs).sum())
    return PairedDifference(
        key=metric.key,
        delta=(gained - lost) / n,
        ci95=paired_interval(gained, lost, n, Z95),
        ci90=paired_interval(gained, lost, n, Z90),
        p_value=mcnemar_midp(gained, lost),
        method="mcnemar_midp",
        n=n,
        gained=gained,
        lost=lost,
    )


def _replicates(metric: Metric, now: SetScore, then: SetScore) -> PairedDifference:
    both = now.per_sample is not None and then.per_sample is not None
    if both and now.n < FEW:
        return _student(metric, now, then)
    if "jackknife" in (now.method, then.method):
        return _left_out(metric, now, then)
    differences = _resampled_differences(now, then)
    differences = differences[np.isfinite(differences)]
    if len(differences) < FEWEST // 4:
        return _unresampled(metric, now, then)
    wide = np.quantile(differences, (0.025, 0.975))
    narrow = np.quantile(differences, (0.05, 0.95))
    beyond = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return PairedDifference(
        key=metric.key,
        delta=now.value - then.value,
        ci95=(float(wide[0]), float(wide[1])),
        ci90=(float(narrow[0]), float(narrow[1])),
        p_value=min(1.0, 2 * (beyond + 1) / (len(differences) + 1)),
        method="paired_bootstrap",
        n=now.n,
    )


def _student(metric: Metric, now: SetScore, then: SetScore) -> PairedDifference:
    assert now.per_sample is not None
    assert then.per_sample is not None
    if now.n < 2:
        return _unresampled(metric, now, then)
    error = student.error_of_mean(float((now.per_sample - then.per_sample).var(ddof=1)), now.n)
    return _by_student(metric, now, then, error, now.n - 1, "paired_t")


def _left_out(metric: Metric, now: SetScore, then: SetScore) -> PairedDifference:
    mine, theirs = _left_out_of(now), _left_out_of(then)
    if mine is None or theirs is None:
        return _unresampled(metric, now, then)
    return _by_student(metric, now, then, jackknife_error(mine - theirs), GROUPS - 1, "paired_jackknife")


def _by_student(
    metric: Metric, now: SetScore, then: SetScore, error: float, freedom: int, method: str
) -> PairedDifference:
    found = student.estimate(now.value - then.value, error, freedom)
    return PairedDifference(
        key=metric.key,
        delta=found.value,
        ci95=found.ci95,
        ci90=found.ci90,
        p_value=found.p_value,
        method=method,
        n=now.n,
    )


def _left_out_of(scored: SetScore) -> Floats | None:
    if scored.per_sample is not None:
        return leave_out_means(scored.per_sample)
    return scored.replicates if scored.method == "jackknife" else None


def _unresampled(metric: Metric, now: SetScore, then: SetScore) -> PairedDifference:
    return PairedDifference(
        key=metric.key,
        delta=now.value - then.value,
        ci95=None,
        ci90=None,
        p_value=None,
        method=UNRESAMPLED,
        n=now.n,
    )


def _resampled_differences(now: SetScore, then: SetScore) -> Floats:
    """now - then on common resamples; empty where one has none."""
    if now.per_sample is not None and then.per_sample is not None:
        return bootstrap_means(now.per_sample - then.per_sample)
    count = min((len(s.replicates) for s in (now, then) if s.replicates is not None), default=0)
    if UNRESAMPLED in (now.method, then.method) or not count:
        return np.array([])
    return _resampled(now, count) - _resampled(then, count)


def _resampled(scored: SetScore, count: int) -> Floats:
    if scored.replicates is not None:
        return scored.replicates[:count]
    assert scored.per_sample is not None
    return bootstrap_means(scored.per_sample, count)


def answers_changed(now: Sequence[Answers], then: Sequence[Answers]) -> Counts | None:
    """int64 [n, 4]: of every sample its answers, those that differ from `then`, those lost and those gained (top-1).

    None where the outputs have no class axis: that is axis 1 of a floating tensor with one axis more than its integer
    targets. In tuples and dicts the first such pair counts.
    """
    import torch

    parts = []
    for mine, theirs in zip(now, then, strict=True):
        pair = _class_pair(mine.outputs, theirs.outputs, mine.targets)
        if pair is None:
            return None
        my_answers, their_answers, truth = pair[0].argmax(dim=1), pair[1].argmax(dim=1), pair[2]
        columns = (
            torch.ones_like(truth, dtype=torch.bool),
            my_answers != their_answers,
            (their_answers == truth) & (my_answers != truth),
            (their_answers != truth) & (my_answers == truth),
        )
        parts.append(torch.stack([column.reshape(len(truth), -1).sum(dim=1) for column in columns], dim=1))
    return torch.cat(parts).numpy() if parts else None


def change_ratios(changed: Counts | None) -> dict[str, float] | None:
    """`agreement_ratio`, `churn_ratio`, `negative_flips_ratio`, `flips_ratio` of what `answers_changed` counted."""
    total, differing, lost, gained = (0, 0, 0, 0) if changed is None else (int(one) for one in changed.sum(axis=0))
    if not total:
        return None
    return {
        "agreement_ratio": 1 - differing / total,
        "churn_ratio": differing / total,
        "negative_flips_ratio": lost / total,
        "flips_ratio": (lost + gained) / total,
    }


def divergences(now: Sequence[Answers], reference: Sequence[Answers]) -> Floats | None:
    """float64 [n]: per sample KL(reference || now) between class probabilities, summed over its answers, in nats.

    Outputs whose classes are 0 or more and sum to 1 are probabilities, all others logits. None where the outputs have
    no class axis (as in `answers_changed`); infinite where `now` rules out a class that the reference does not.
    """
    import torch

    parts = []
    for mine, theirs in zip(now, reference, strict=True):
        pair = _class_pair(mine.outputs, theirs.outputs, mine.targets)
        if pair is None:
            return None
        ours, eager = (_log_probabilities(tensor.double()) for tensor in pair[:2])
        terms = eager.exp() * (eager - ours)
        terms = torch.where(eager.exp() == 0, torch.zeros_like(terms), terms)
        parts.append(terms.reshape(len(terms), -1).sum(dim=1))
    return torch.cat(parts).numpy() if parts else None


def mean_divergence(nats: Floats, answers: int) -> float:
    """Mean over that many answers of what `divergences` gave, in nats; rounding below zero is zero."""
    return max(0.0, float(nats.sum()) / answers) if answers else 0.0


def _log_probabilities(outputs: Any) -> Any:
    import torch

    sums = outputs.sum(dim=1)
    if bool((outputs >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
        return (outputs / sums.unsqueeze(1)).log()
    return outputs.log_softmax(dim=1)


def _class_pair(mine: Any, theirs: Any, targets: Any) -> tuple[Any, Any, Any] | None:
    """Outputs of both with their class axis, and the targets."""
    if isinstance(mine, dict):
        if not isinstance(targets, dict):
            return None
        parts = [(mine[name], theirs[name], targets[name]) for name in mine if name in targets]
        return next((found for part in parts if (found := _class_pair(*part))), None)
    if isinstance(mine, tuple | list):
        if hasattr(targets, "shape"):
            return _class_pair(mine[0], theirs[0], targets) if mine else None
        parts = list(zip(mine, theirs, targets, strict=False)) if isinstance(targets, tuple | list) else []
        return next((found for part in parts if (found := _class_pair(*part))), None)
    if not hasattr(mine, "shape") or not hasattr(targets, "shape"):
        return None
    if not mine.is_floating_point() or targets.is_floating_point() or mine.dim() != targets.dim() + 1 or mine.dim() < 2:
        return None
    if mine.shape[1] < 2 or mine.shape[:1] + mine.shape[2:] != targets.shape:
        return None
    return mine, theirs, targets

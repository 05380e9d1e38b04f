"""A user's score, applied: to a whole set, to single samples where it is a mean over them, to resamples where not.

Runs in the evaluate stage, beside torch.
"""

import math
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from plaster_ops.domain.metrics import Better
from plaster_ops.errors import DataError, PipelineError
from plaster_ops.plaster.answers import Answers, outputs_digest, pick
from plaster_ops.plaster.resampling import (
    FEWEST,
    GROUPS,
    MOST,
    SEED,
    UNRESAMPLED,
    Floats,
    SetScore,
    draws,
    groups_of,
    score_of_replicates,
    score_of_samples,
)

_TOLERANCE = 1e-6
_TRIED = 16


def score(metric: Any, outputs: Any, targets: Any) -> float:
    """The score as one number; `metric` is a torchmetrics metric (reset, updated, computed) or a function.

    Raises `PipelineError` where it gives no finite number.
    """
    return _score_parts(metric, [Answers(outputs=outputs, targets=targets, n=1)])


def score_of(metric: Any, parts: Sequence[Answers]) -> float:
    """The same over several parts together."""
    return _score_parts(metric, parts)


def direction(pipeline: Any) -> Better:
    """Which way the pipeline's score is better: its own `higher_is_better`, else its metric's; neither is an error."""
    for owner in (pipeline, getattr(pipeline, "score", None)):
        declared = getattr(owner, "higher_is_better", None)
        if isinstance(declared, bool):
            return Better.HIGHER if declared else Better.LOWER
    raise PipelineError(
        f"score {_name(getattr(pipeline, 'score', None))} does not say which way is better",
        "add higher_is_better = True (or False) to the pipeline",
    )


def evaluate_set(
    metric: Any,
    parts: Sequence[Answers],
    *,
    like: SetScore | None = None,
    budget_s: float = 1.5,
    monotonic_s: Callable[[], float] = time.monotonic,
) -> SetScore:
    """The score on all parts together with a 95 % interval; with `like` it is taken apart or resampled as that one was.

    A score that is the mean of per-sample scores is found out by trying, and is that mean in double precision; a
    0/1 one gets Wilson's interval, another a bootstrap over samples. Any other score (R2, F1) is computed anew on
    resamples, or with one group of samples left out at a time where 200 resamples would exceed `budget_s` or where it
    is not defined on most of them (the rare class is missing); without an interval where that fails too.
    """
    n = sum(part.n for part in parts)
    if n == 0:
        raise DataError("the evaluation set is empty", "let data(window) return at least one evaluation sample")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        began_s = monotonic_s()
        value = _score_parts(metric, parts)
        cost_s = monotonic_s() - began_s
        digest = outputs_digest(parts)
        if like is None or like.per_sample is not None:
            patience_s = budget_s if like is None else math.inf
            per_sample = _per_sample(metric, parts, value, patience_s, monotonic_s)
            if per_sample is not None:
                return score_of_samples(per_sample, digest)
        method = _method(like, n, cost_s, budget_s)
        count = int(min(MOST, max(FEWEST, budget_s / max(cost_s, 1e-6))))
        method, replicates = _resample(metric, parts, n, method, count, is_free=like is None)
    return score_of_replicates(value, replicates, method=method, n=n, digest=digest)


def _resample(
    metric: Any, parts: Sequence[Answers], n: int, method: str, count: int, *, is_free: bool
) -> tuple[str, Floats | None]:
    """The method that worked and its replicates; `is_free`: another may be tried where the first does not."""
    if method == "bootstrap":
        found = [_score_or_none(metric, pick(parts, index)) for index in draws(n, count)]
        replicates = np.array([math.nan if value is None else value for value in found])
        if np.isfinite(replicates).mean() >= 0.5:
            return method, replicates
        method = "jackknife" if is_free and n >= 2 * GROUPS else UNRESAMPLED
    if method == "jackknife":
        left_out = _leave_out(metric, parts, n)
        if left_out is not None:
            return method, left_out
    return UNRESAMPLED, None


def _score_parts(metric: Any, parts: Sequence[Answers]) -> float:
    import torch

    with torch.no_grad():
        if all(callable(getattr(metric, name, None)) for name in ("reset", "update", "compute")):
            metric.reset()
            for part in parts:
                metric.update(part.outputs, part.targets)
            found = metric.compute()
            metric.reset()
            return _number(metric, found)
        values = [(_number(metric, metric(part.outputs, part.targets)), part.n) for part in parts]
    return sum(value * n for value, n in values) / sum(n for _, n in values)


def _number(metric: Any, found: Any) -> float:
    try:
        value = float(found)
    except (TypeError, ValueError, RuntimeError) as error:
        raise PipelineError(
            f"score {_name(metric)} gave {type(found).__name__}, not one number",
            "let the score return a float or a tensor with one element",
        ) from error
    if not math.isfinite(value):
        raise PipelineError(f"score {_name(metric)} gave {value}", "check the model's outputs and the evaluation data")
    return value


def _name(metric: Any) -> str:
    return str(getattr(metric, "__name__", type(metric).__name__))


def _per_sample(
    metric: Any, parts: Sequence[Answers], value: float, budget_s: float, monotonic_s: Callable[[], float]
) -> Floats | None:
    """Per-sample scores where their mean is the score (within 1e-6); None where it is not or takes too long."""
    n = sum(part.n for part in parts)
    tried = np.random.default_rng(SEED).permutation(n)[:_TRIED]
    began_s = monotonic_s()
    singles = _singles(metric, parts, tried)
    if singles is None:
        return None
    single_s = (monotonic_s() - began_s) / len(tried)
    for known in _known_decompositions(parts):
        if _close(float(known.mean()), value) and np.allclose(known[tried], singles, atol=_TOLERANCE, rtol=_TOLERANCE):
            return known
    if n * single_s > budget_s or not _close(_score_or_none(metric, pick(parts, tried)), float(singles.mean())):
        return None
    every = _singles(metric, parts, np.arange(n))
    return every if every is not None and _close(float(every.mean()), value) else None


def _known_decompositions(parts: Sequence[Answers]) -> list[Floats]:
    """Usual per-sample scores computed at once: right or wrong, squared error, absolute error."""
    if len(parts) != 1 or not all(hasattr(part, "shape") for part in (parts[0].outputs, parts[0].targets)):
        return []
    outputs, targets = parts[0].outputs.detach(), parts[0].targets.detach()
    found = []
    if outputs.dim() == targets.dim() + 1 and not targets.is_floating_point() and outputs.dim() >= 2:
        found.append((outputs.argmax(dim=1) == targets).double())
    if outputs.shape == targets.shape:
        if not outputs.is_floating_point():
            found.append((outputs == targets).double())
        else:
            error = outputs.double() - targets.double()
            found += [error.square(), error.abs()]
    return [values.reshape(len(values), -1).mean(dim=1).numpy().astype(float) for values in found]


def _singles(metric: Any, parts: Sequence[Answers], numbers: Any) -> Floats | None:
    found = [_score_or_none(metric, pick(parts, np.array([number]))) for number in numbers]
    return None if any(value is None for value in found) else np.array(found, dtype=float)


def _score_or_none(metric: Any, parts: Sequence[Answers]) -> float | None:
    """None where the score is not defined for so few samples; on the whole set it was computed before."""
    try:
        return _score_parts(metric, parts)
    except Exception:
        return None


def _close(a: float | None, b: float) -> bool:
    return a is not None and abs(a - b) <= _TOLERANCE * max(1.0, abs(b))


def _method(like: SetScore | None, n: int, cost_s: float, budget_s: float) -> str:
    if like is not None:
        return "bootstrap" if like.per_sample is not None else like.method
    return "jackknife" if n >= 2 * GROUPS and cost_s * FEWEST > budget_s else "bootstrap"


def _leave_out(metric: Any, parts: Sequence[Answers], n: int) -> Floats | None:
    group_of = groups_of(n)
    found = [_score_or_none(metric, pick(parts, np.flatnonzero(group_of != group))) for group in range(GROUPS)]
    return None if any(value is None for value in found) else np.array(found, dtype=float)

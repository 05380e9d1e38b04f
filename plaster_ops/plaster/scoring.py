"""A user's score, applied: to a whole set, to single samples where it is a mean over them, to resamples where not.

Runs in the evaluate stage, beside torch.
"""

import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from plaster_ops.domain.metrics import Better
from plaster_ops.errors import DataError, PipelineError
from plaster_ops.plaster.answers import Answers, outputs_digest, pick
from plaster_ops.plaster.proportions import Interval, wilson_interval

Floats = npt.NDArray[np.float64]
_SEED = 20262
_TOLERANCE = 1e-6
_TRIED = 16
_MOST, _FEWEST = 1000, 200
_MOST_DRAWS = 200_000_000
_GROUPS = 20
FEW = 50
"""Below so many samples the percentiles of a bootstrap are too narrow, and Student's t is used."""
UNRESAMPLED = "unresampled"
"""The method of a score without an interval: it is not defined on resamples of these samples."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SetScore:
    """A score on one set with its evidence.

    `per_sample`: the score of each sample, where the score is their mean. `replicates`: the score on common resamples
    (`method` bootstrap; NaN where it is not defined on one) or with one group of samples left out (`method` jackknife),
    in an order that depends only on n and the method, so that two engines' replicates pair up. `digest`: SHA-256 of the
    outputs.
    """

    value: float
    ci95: Interval | None
    n: int
    method: str
    digest: str
    per_sample: Floats | None = None
    replicates: Floats | None = None

    def to_json(self) -> dict[str, Any]:
        """Value, interval, n and method; the evidence stays behind."""
        return {"value": self.value, "ci95": list(self.ci95) if self.ci95 else None, "n": self.n, "method": self.method}


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
        count = int(min(_MOST, max(_FEWEST, budget_s / max(cost_s, 1e-6))))
        method, replicates = _resample(metric, parts, n, method, count, is_free=like is None)
    return score_of_replicates(value, replicates, method=method, n=n, digest=digest)


def _resample(
    metric: Any, parts: Sequence[Answers], n: int, method: str, count: int, *, is_free: bool
) -> tuple[str, Floats | None]:
    """The method that worked and its replicates; `is_free`: another may be tried where the first does not."""
    if method == "bootstrap":
        found = [_score_or_none(metric, pick(parts, index)) for index in _draws(n, count)]
        replicates = np.array([math.nan if value is None else value for value in found])
        if np.isfinite(replicates).mean() >= 0.5:
            return method, replicates
        method = "jackknife" if is_free and n >= 2 * _GROUPS else UNRESAMPLED
    if method == "jackknife":
        left_out = _leave_out(metric, parts, n)
        if left_out is not None:
            return method, left_out
    return UNRESAMPLED, None


def bootstrap_means(per_sample: Floats, count: int | None = None) -> Floats:
    """Means over the common resamples: the i-th mean uses the i-th draw of every set with that many samples."""
    n = len(per_sample)
    wanted = count or int(min(_MOST, max(_FEWEST, _MOST_DRAWS // n)))
    return np.array([per_sample[index].mean() for index in _draws(n, wanted)])


def is_proportion(per_sample: Floats) -> bool:
    """True where every sample scores 0 or 1."""
    return bool(np.isin(per_sample, (0.0, 1.0)).all())


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
    tried = np.random.default_rng(_SEED).permutation(n)[:_TRIED]
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


def score_of_samples(per_sample: Floats, digest: str = "") -> SetScore:
    """The score that is the mean of these, in double precision, with its 95 % interval."""
    n = len(per_sample)
    if is_proportion(per_sample):
        right = round(per_sample.sum())
        interval: Interval | None = wilson_interval(right, n)
        value, method = right / n, "proportion"
    else:
        interval, value, method = None, float(per_sample.mean()), "mean"
        if n >= FEW:
            low, high = np.quantile(bootstrap_means(per_sample), (0.025, 0.975))
            interval = (float(low), float(high))
        elif n > 1:
            interval = student_interval(per_sample, 0.95)
    return SetScore(value=value, ci95=interval, n=n, method=method, digest=digest, per_sample=per_sample)


def student_interval(values: Floats, confidence: float) -> Interval:
    """Student's interval of the mean of at least two values."""
    from scipy.stats import t as student

    mean = float(values.mean())
    half = float(student.ppf((1 + confidence) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return mean - half, mean + half


def leave_out_means(per_sample: Floats) -> Floats:
    """Means with one of the common groups left out, as `jackknife` replicates are."""
    group_of = _groups(len(per_sample))
    return np.array([per_sample[group_of != group].mean() for group in range(_GROUPS)])


def score_of_replicates(value: float, replicates: Floats | None, *, method: str, n: int, digest: str = "") -> SetScore:
    """Any other score: its value as the metric gave it, its interval from the replicates, none without them."""
    interval = None if replicates is None else _replicate_interval(value, replicates, method)
    return SetScore(value=value, ci95=interval, n=n, method=method, digest=digest, replicates=replicates)


def _method(like: SetScore | None, n: int, cost_s: float, budget_s: float) -> str:
    if like is not None:
        return "bootstrap" if like.per_sample is not None else like.method
    return "jackknife" if n >= 2 * _GROUPS and cost_s * _FEWEST > budget_s else "bootstrap"


def _draws(n: int, count: int) -> Iterator[npt.NDArray[np.int64]]:
    generator = np.random.default_rng((_SEED, n))
    for _ in range(count):
        yield generator.integers(0, n, n)


def _leave_out(metric: Any, parts: Sequence[Answers], n: int) -> Floats | None:
    group_of = _groups(n)
    found = [_score_or_none(metric, pick(parts, np.flatnonzero(group_of != group))) for group in range(_GROUPS)]
    return None if any(value is None for value in found) else np.array(found, dtype=float)


def _groups(n: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng((_SEED, n)).permutation(n) % _GROUPS


def _replicate_interval(value: float, replicates: Floats, method: str) -> Interval:
    if method == "bootstrap":
        low, high = np.nanquantile(replicates, (0.025, 0.975))
        return float(low), float(high)
    half = 2.093 * jackknife_error(replicates)
    return value - half, value + half


def jackknife_error(replicates: Floats) -> float:
    """Standard error from leaving out one of G equal groups at a time."""
    count = len(replicates)
    return float(np.sqrt((count - 1) / count * np.square(replicates - replicates.mean()).sum()))

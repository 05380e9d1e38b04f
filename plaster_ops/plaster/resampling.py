"""A score of one set with its evidence: the mean of its samples' scores, or a value with its resamples. Never torch.

All resamples depend only on how many samples there are, so those of two engines on one set pair up.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from plaster_ops.domain import student
from plaster_ops.plaster.proportions import Interval, wilson_interval

Floats = npt.NDArray[np.float64]
SEED = 20262
MOST, FEWEST = 1000, 200
"""Resamples of one score."""
GROUPS = 20
"""Groups of samples that are left out, one at a time."""
FEW = 50
"""Below so many samples the percentiles of a bootstrap are too narrow, and Student's t is used."""
UNRESAMPLED = "unresampled"
"""The method of a score without an interval: it is not defined on resamples of these samples."""
_MOST_DRAWS = 200_000_000


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
            error = student.error_of_mean(float(per_sample.var(ddof=1)), n)
            interval = student.interval(value, error, n - 1)
    return SetScore(value=value, ci95=interval, n=n, method=method, digest=digest, per_sample=per_sample)


def score_of_replicates(value: float, replicates: Floats | None, *, method: str, n: int, digest: str = "") -> SetScore:
    """Any other score: its value as the metric gave it, its interval from the replicates, none without them."""
    interval = None if replicates is None else _replicate_interval(value, replicates, method)
    return SetScore(value=value, ci95=interval, n=n, method=method, digest=digest, replicates=replicates)


def bootstrap_means(per_sample: Floats, count: int | None = None) -> Floats:
    """Means over the common resamples: the i-th mean uses the i-th draw of every set with that many samples."""
    n = len(per_sample)
    wanted = count or int(min(MOST, max(FEWEST, _MOST_DRAWS // n)))
    return np.array([per_sample[index].mean() for index in draws(n, wanted)])


def leave_out_means(per_sample: Floats) -> Floats:
    """Means with one of the common groups left out, as `jackknife` replicates are."""
    group_of = groups_of(len(per_sample))
    return np.array([per_sample[group_of != group].mean() for group in range(GROUPS)])


def jackknife_error(replicates: Floats) -> float:
    """Standard error from leaving out one of G equal groups at a time."""
    count = len(replicates)
    return float(np.sqrt((count - 1) / count * np.square(replicates - replicates.mean()).sum()))


def draws(n: int, count: int) -> Iterator[npt.NDArray[np.int64]]:
    """That many resamples of n samples, each as numbers of samples."""
    generator = np.random.default_rng((SEED, n))
    for _ in range(count):
        yield generator.integers(0, n, n)


def groups_of(n: int) -> npt.NDArray[np.int64]:
    """The group of each of n samples."""
    return np.random.default_rng((SEED, n)).permutation(n) % GROUPS


def _replicate_interval(value: float, replicates: Floats, method: str) -> Interval:
    if method == "bootstrap":
        low, high = np.nanquantile(replicates, (0.025, 0.975))
        return float(low), float(high)
    return student.interval(value, jackknife_error(replicates), GROUPS - 1)


def is_proportion(per_sample: Floats) -> bool:
    """True where every sample scores 0 or 1."""
    return bool(np.isin(per_sample, (0.0, 1.0)).all())

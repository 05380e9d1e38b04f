"""Do 95 % intervals hold the truth? Latencies drawn from mixtures whose quantiles are known, 2,000 times each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import brentq
from scipy.stats import lognorm, norm, pareto, uniform

from plaster_ops.plaster import percentiles as p
from plaster_ops.plaster.intervals import percentile_interval_ms, total_ratio
from tests.plaster.doubles import block

SEEDS, PROCESSES, BLOCKS, QUERIES = 2_000, 3, 2, 150
COUNT = PROCESSES * BLOCKS * QUERIES
LEAST_COVERED = 0.94
QUANTILES = (0.50, 0.90, 0.99)


@dataclass(frozen=True)
class Mixture:
    """Latencies in ms: each part with its weight; distributions are scipy's."""

    name: str
    parts: Sequence[tuple[float, Any]]

    def quantile_ms(self, quantile: float) -> float:
        """The exact quantile: the mixture's own CDF, inverted."""

        def above(value: float) -> float:
            return sum(weight * float(part.cdf(value)) for weight, part in self.parts) - quantile

        return float(brentq(above, 1e-6, 1e6, xtol=1e-12, rtol=1e-12))

    def draw_ns(self, generator: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
        """Samples, whole nanoseconds, as a timed loop would bring them home."""
        weights = [weight for weight, _ in self.parts]
        which = generator.choice(len(self.parts), size=shape, p=weights)
        taken = np.empty(shape)
        for number, (_, part) in enumerate(self.parts):
            mine = which == number
            taken[mine] = part.rvs(size=int(mine.sum()), random_state=generator)
        return np.rint(taken * 1e6).astype(np.int64)


MIXTURES = (
    Mixture("body, slow tail, spikes", ((0.94, lognorm(0.05)), (0.05, lognorm(0.3, 0, 2.0)), (0.01, uniform(5, 20)))),
    Mixture("two modes", ((0.7, norm(1.0, 0.02)), (0.3, norm(1.6, 0.05)))),
    Mixture("heavy tail", ((0.85, lognorm(0.1)), (0.15, pareto(1.5)))),
)


@cache
def drawn(number: int) -> npt.NDArray[np.int64]:
    """[seeds, queries] of one mixture, one generator a mixture."""
    return MIXTURES[number].draw_ns(np.random.default_rng((20261127, number)), (SEEDS, COUNT))


@pytest.mark.parametrize("quantile", QUANTILES)
@pytest.mark.parametrize("number", range(len(MIXTURES)), ids=[mixture.name for mixture in MIXTURES])
def test_order_statistics_hold_the_true_quantile(number: int, quantile: float) -> None:
    ranks = p.rank_interval(COUNT, quantile)
    assert ranks is not None
    truth_ns = MIXTURES[number].quantile_ms(quantile) * 1e6
    low, high = (rank - 1 for rank in ranks)
    found = np.partition(drawn(number), (low, high), axis=1)
    covered = float(((found[:, low] <= truth_ns) & (truth_ns <= found[:, high])).mean())
    assert covered >= LEAST_COVERED
    assert covered < 0.99, "an interval that nearly always holds is wider than it says"


@pytest.mark.parametrize("number", range(len(MIXTURES)), ids=[mixture.name for mixture in MIXTURES])
def test_what_a_card_shows_holds_the_true_quantile(number: int) -> None:
    truths_ms = [MIXTURES[number].quantile_ms(quantile) for quantile in QUANTILES]
    covered = [0] * len(QUANTILES)
    one = block("now", 0, [1])
    for row in drawn(number):
        turns = row.reshape(PROCESSES * BLOCKS, QUERIES)
        blocks = [replace(one, process=i % PROCESSES, latencies_ns=turn) for i, turn in enumerate(turns)]
        for k, (quantile, truth_ms) in enumerate(zip(QUANTILES, truths_ms, strict=True)):
            interval = percentile_interval_ms(blocks, quantile)
            assert interval is not None
            covered[k] += interval[0] <= truth_ms <= interval[1]
    assert min(covered) >= LEAST_COVERED * SEEDS, covered


RESTARTS = 500
SPREADS = ((0.0, LEAST_COVERED), (0.015, LEAST_COVERED), (0.03, 0.90))
"""How far one restart lies from the next, and how often the interval must hold: 0.015 is what it reckons with."""


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize(("spread", "least"), SPREADS)
def test_an_interval_holds_what_the_next_restarts_will_show(processes: int, spread: float, least: float) -> None:
    """The range of the processes alone holds the true median in 3 of 4 runs of three restarts and 1 of 2 of two."""
    generator = np.random.default_rng((20261128, processes, round(1000 * spread)))
    one, sigma = block("now", 0, [1]), 0.05
    p50 = mean = 0
    widths = []
    for _ in range(RESTARTS):
        blocks = []
        for process in range(processes):
            restart = np.exp(generator.normal(0, spread))
            for taken in 1e6 * restart * np.exp(generator.normal(0, sigma, (4, 100))):
                whole = taken.astype(np.int64)
                blocks.append(replace(one, process=process, latencies_ns=whole, window_s=whole.sum() * 1e-9))
        interval = percentile_interval_ms(blocks, 0.5)
        _, of_mean = total_ratio(blocks, lambda b: b.latencies_ns.sum() * 1e-6, lambda b: b.queries)
        assert interval is not None
        assert of_mean is not None
        p50 += interval[0] <= 1.0 <= interval[1]
        mean += of_mean[0] <= np.exp(sigma**2 / 2) <= of_mean[1]
        widths.append((interval[1] - interval[0]) / 2)
    assert min(p50, mean) >= least * RESTARTS, (p50, mean)
    assert np.median(widths) < 0.02 + 1.5 * max(spread, 0.015), "too wide to be of use"


def test_a_mixture_of_one_part_has_that_parts_quantiles() -> None:
    alone = Mixture("alone", ((1.0, norm(5.0, 1.0)),))
    assert alone.quantile_ms(0.975) == pytest.approx(6.959964)
    assert np.median(alone.draw_ns(np.random.default_rng(1), (100_000,))) == pytest.approx(5e6, rel=0.003)

"""The static-batch search on a server whose best batch is known: latency a + b x batch, log-normal noise."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Reading
from plaster_ops.plaster import throughput
from plaster_ops.plaster.collect import Collected, Setup, collect
from plaster_ops.plaster.evidence import Evidence, MeasuredBlock
from plaster_ops.plaster.profiles import STANDARD
from plaster_ops.plaster.turns import Bench
from tests.plaster.doubles import HandClock, KnownEngine, NumberedInputs, evidence

MS = 1_000_000
SLO_MS = 7.0
BATCHES = (1, 2, 4, 8, 16, 32, 64)
PROFILE = replace(STANDARD, single_s=0.1, warmup_s=0.05, search_limit_s=30.0)
_Z99 = 2.3263


def noisy(fixed_ms: float, sample_ms: float, sigma: float, seed: int) -> Callable[[int, int], int]:
    factors = np.exp(np.random.default_rng(seed).normal(0.0, sigma, 100_000)).tolist()
    return lambda batch, call: round((fixed_ms + sample_ms * batch) * factors[call % 100_000] * MS)


def true_best(fixed_ms: float, sample_ms: float, sigma: float) -> float:
    """Samples/s of the best batch whose true p99 is within the limit; its mean latency holds e^(sigma^2 / 2)."""
    medians = {batch: fixed_ms + sample_ms * batch for batch in BATCHES}
    inside = [b for b, median_ms in medians.items() if median_ms * math.exp(_Z99 * sigma) <= SLO_MS]
    return max(b / (medians[b] * math.exp(sigma**2 / 2) * 1e-3) for b in inside)


def measured(engine: Callable[[int, int], int]) -> tuple[Evidence, int]:
    """All three processes of the standard profile, and the batch they used."""
    blocks: list[MeasuredBlock] = []
    first: Collected | None = None
    for process in range(PROFILE.processes):
        clock = HandClock()
        bench = Bench(
            runs={"now": KnownEngine(clock, engine).run},
            inputs=NumberedInputs(),
            clock_ns=clock,
            cpu_s=clock.cpu_s,
        )
        setup = Setup(labels=("now",), profile=PROFILE, slo_ms=SLO_MS, batches=BATCHES, process=process)
        if first is not None:
            setup = replace(setup, chosen_batches=first.chosen_batches, fastest_batches=first.fastest_batches)
        found = collect(bench, setup)
        first = first or found
        blocks += [
            MeasuredBlock(
                process=process,
                kind=b.kind,
                label=b.label,
                index=b.index,
                batch=b.batch,
                window_s=b.timed.window_ns * 1e-9,
                cpu_s=0.0,
                latencies_ns=np.asarray(b.timed.latencies_ns),
            )
            for b in found.blocks
        ]
    assert first is not None
    assert first.found is not None
    search = {
        "now": {"ended": first.found.ended["now"], "probes": [{"batch": p.batch} for p in first.found.probes["now"]]}
    }
    told = evidence(blocks, search=search, chosen_batches=first.chosen_batches, fastest_batches=first.fastest_batches)
    return told, first.chosen_batches["now"]


@pytest.mark.parametrize(
    ("fixed_ms", "sample_ms", "sigma", "seed"),
    [(2.0, 0.1, 0.05, 1), (1.0, 0.17, 0.03, 2), (0.5, 0.05, 0.1, 1), (3.0, 0.4, 0.02, 2), (2.0, 0.28, 0.05, 1)],
)
def test_the_certified_rate_is_within_3_percent_of_the_best_batch_that_keeps_the_limit(
    fixed_ms: float, sample_ms: float, sigma: float, seed: int
) -> None:
    found, batch = measured(noisy(fixed_ms, sample_ms, sigma, seed))
    (row,) = [row for row in throughput.read(found, "now") if row.metric is m.SLO_SAMPLES_PER_S]
    assert isinstance(row, Reading), row
    assert (fixed_ms + sample_ms * batch) * math.exp(_Z99 * sigma) <= SLO_MS
    assert row.value == pytest.approx(true_best(fixed_ms, sample_ms, sigma), rel=0.03)


def test_the_unbounded_maximum_is_that_of_the_fastest_batch() -> None:
    found, _ = measured(noisy(2.0, 0.3, 0.05, 1))
    rows = {row.metric: row for row in throughput.read(found, "now")}
    offline, cost = rows[m.OFFLINE_SAMPLES_PER_S], rows[m.SLO_COST_RATIO]
    assert isinstance(offline, Reading)
    assert isinstance(cost, Reading)
    assert offline.value == pytest.approx(64 / ((2.0 + 0.3 * 64) * math.exp(0.05**2 / 2) * 1e-3), rel=0.03)
    assert offline.ci95 is not None
    assert cost.value < 1.0

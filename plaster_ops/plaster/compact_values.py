"""Numbers of a run from its compact record alone, each with how far it may be off. Neither numpy nor scipy."""

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plaster_ops.domain import metrics as m
from plaster_ops.domain.compact import CompactKind, CompactRow
from plaster_ops.domain.histogram import LARGEST_ERROR_RATIO, LogHistogram
from plaster_ops.domain.metrics import Metric
from plaster_ops.domain.sample import PairedDifference, PairedRatios
from plaster_ops.plaster.percentiles import fewest_for_interval
from plaster_ops.plaster.proportions import Z90, Z95, mcnemar_midp, paired_interval

SINGLE, THROUGHPUT, SINGLE_ENERGY, OFFLINE_ENERGY = "single", "throughput", "single_energy", "offline_energy"
"""Kinds of turns, as `turns` calls them; that module loads numpy."""

_MS = 1e-6
PERCENTILES = ((m.E2E_P50_MS, 0.50), (m.E2E_P90_MS, 0.90), (m.E2E_P95_MS, 0.95), (m.E2E_P99_MS, 0.99))
KIND_OF = {
    **dict.fromkeys((m.E2E_P50_MS, m.E2E_P90_MS, m.E2E_P95_MS, m.E2E_P99_MS, m.E2E_P999_MS, m.E2E_MEAN_MS), SINGLE),
    **dict.fromkeys((m.E2E_MAX_MS, m.SAMPLES_COUNT, m.WINDOW_S, m.BATCH1_SAMPLES_PER_S), SINGLE),
    **dict.fromkeys((m.SLO_SAMPLES_PER_S, m.SLO_P99_AT_MAX_MS, m.SLO_BATCH_COUNT), THROUGHPUT),
    **dict.fromkeys((m.CPU_TIME_PER_INFERENCE_S, m.INFERENCES_PER_J, m.GPU_ENERGY_PER_INFERENCE_J), THROUGHPUT),
    **dict.fromkeys((m.CPU_ENERGY_PER_INFERENCE_J, m.ENERGY_WINDOW_S, m.COUNTER_UPDATES_COUNT), THROUGHPUT),
    m.SINGLESTREAM_ENERGY_PER_INFERENCE_J: SINGLE_ENERGY,
    m.OFFLINE_INFERENCES_PER_J: OFFLINE_ENERGY,
}
"""In which kind of turns a metric is measured."""

SET_OF = {m.ROLLING_SCORE: "rolling", m.ENGINE_SCORE: "golden"}
"""On which set a score is taken; without a golden set the engine's score is that of the rolling one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CompactValue:
    """One number. `error_ratio`: how far it may lie from that of the raw samples; 0 where it is exact but for the order
    in which floats were added."""

    metric: Metric
    value: float
    n: int
    error_ratio: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeBlock:
    """One time block of one restart. `energy`: joules, window_s, items, updates, or None."""

    process: int
    batch: int | None
    latencies: LogHistogram | None
    window_s: float
    items: int
    cpu_s: float | None
    energy: dict[str, float] | None
    sensor: str | None = None


def time_blocks(rows: Iterable[CompactRow], kind: str) -> list[TimeBlock]:
    """All time blocks of one kind of turns, restart by restart, in their order."""
    wanted = (row for row in rows if row.kind is CompactKind.TIMED and row.label == kind)
    return [
        TimeBlock(
            process=row.process,
            batch=content["batch"],
            latencies=LogHistogram.from_json(block) if block["counts"] else None,
            window_s=float(block["window_s"]),
            items=int(block["items"]),
            cpu_s=block["cpu_s"],
            energy=block["energy"],
            sensor=content["sensor"],
        )
        for row in sorted(wanted, key=lambda row: row.process)
        for content in [row.content()]
        for block in content["blocks"]
    ]


def compact_values(rows: Sequence[CompactRow]) -> dict[str, CompactValue]:
    """Every number that the rows give, by metric key."""
    found = [*_single(rows), *_throughput(rows), *_energy(rows), *_scores(rows)]
    return {each.metric.key: each for each in found}


def block_value(metric: Metric, blocks: Sequence[TimeBlock]) -> CompactValue | None:
    """The metric over some of the time blocks that it is measured in; None where these blocks do not give it."""
    rows = {each.metric: each for each in (*_timed(blocks), *_rates(blocks), *_joules(blocks))}
    return rows.get(metric)


def all_latencies(blocks: Iterable[TimeBlock]) -> LogHistogram | None:
    """One histogram of all; None without any."""
    parts = [block.latencies for block in blocks if block.latencies is not None]
    return LogHistogram.merged(parts) if parts else None


def _single(rows: Sequence[CompactRow]) -> Iterator[CompactValue]:
    blocks = time_blocks(rows, SINGLE)
    yield from _timed(blocks)
    yield from (each for each in _rates(blocks) if each.metric is m.BATCH1_SAMPLES_PER_S)


def _timed(blocks: Sequence[TimeBlock]) -> Iterator[CompactValue]:
    pooled = all_latencies(blocks)
    if pooled is None:
        return
    n = pooled.n
    for metric, quantile in (*PERCENTILES, (m.E2E_P999_MS, 0.999), (m.SLO_P99_AT_MAX_MS, 0.99)):
        if n >= fewest_for_interval(quantile):
            value = pooled.quantile_ns(quantile) * _MS
            yield CompactValue(metric=metric, value=value, n=n, error_ratio=LARGEST_ERROR_RATIO)
    yield CompactValue(metric=m.E2E_MEAN_MS, value=pooled.mean_ns * _MS, n=n)
    yield CompactValue(metric=m.E2E_MAX_MS, value=pooled.max_ns * _MS, n=n)
    yield CompactValue(metric=m.SAMPLES_COUNT, value=n, n=1)
    yield CompactValue(metric=m.WINDOW_S, value=sum(block.window_s for block in blocks), n=1)


def _rates(blocks: Sequence[TimeBlock]) -> Iterator[CompactValue]:
    window_s, items = sum(block.window_s for block in blocks), sum(block.items for block in blocks)
    if not window_s > 0 or not items:
        return
    pooled = all_latencies(blocks)
    n = pooled.n if pooled else items
    for metric in (m.BATCH1_SAMPLES_PER_S, m.SLO_SAMPLES_PER_S):
        yield CompactValue(metric=metric, value=items / window_s, n=n)
    cpu_s = [block.cpu_s for block in blocks if block.cpu_s is not None]
    if len(cpu_s) == len(blocks):
        yield CompactValue(metric=m.CPU_TIME_PER_INFERENCE_S, value=sum(cpu_s) / items, n=items)


def _throughput(rows: Sequence[CompactRow]) -> Iterator[CompactValue]:
    blocks = time_blocks(rows, THROUGHPUT)
    kept = (m.SLO_P99_AT_MAX_MS, m.SLO_SAMPLES_PER_S, m.CPU_TIME_PER_INFERENCE_S)
    yield from (each for each in (*_timed(blocks), *_rates(blocks)) if each.metric in kept)
    if blocks and blocks[0].batch is not None:
        yield CompactValue(metric=m.SLO_BATCH_COUNT, value=blocks[0].batch, n=1)


def _energy(rows: Sequence[CompactRow]) -> Iterator[CompactValue]:
    yield from _joules(time_blocks(rows, THROUGHPUT))
    for kind, metric in (
        (SINGLE_ENERGY, m.SINGLESTREAM_ENERGY_PER_INFERENCE_J),
        (OFFLINE_ENERGY, m.OFFLINE_INFERENCES_PER_J),
    ):
        joules, items, _, _ = _metered(time_blocks(rows, kind))
        if joules > 0 and items > 0:
            ratio = items / joules if metric is m.OFFLINE_INFERENCES_PER_J else joules / items
            yield CompactValue(metric=metric, value=ratio, n=round(items))


def _joules(blocks: Sequence[TimeBlock]) -> Iterator[CompactValue]:
    joules, items, window_s, updates = _metered(blocks)
    if not joules > 0 or not items > 0:
        return
    yield CompactValue(metric=m.INFERENCES_PER_J, value=items / joules, n=round(items))
    own = m.CPU_ENERGY_PER_INFERENCE_J if blocks[0].sensor == "rapl" else m.GPU_ENERGY_PER_INFERENCE_J
    yield CompactValue(metric=own, value=joules / items, n=round(items))
    yield CompactValue(metric=m.ENERGY_WINDOW_S, value=window_s, n=round(updates))
    yield CompactValue(metric=m.COUNTER_UPDATES_COUNT, value=updates, n=1)


def _metered(blocks: Sequence[TimeBlock]) -> tuple[float, float, float, float]:
    """`(joules, items, window_s, updates)` over the blocks that have an energy window."""
    found = [block.energy for block in blocks if block.energy is not None]
    joules, items, window_s, updates = (
        sum(one[name] for one in found) for name in ("joules", "items", "window_s", "updates")
    )
    return joules, items, window_s, updates


# ---- which samples were right ----------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True, slots=True)
class RightBits:
    """Which samples of one set an engine had right: bit i, from the left, is sample i. `holdout`: digest of the set."""

    which: str
    n: int
    holdout: str
    bits: int

    @property
    def right(self) -> int:
        """How many."""
        return self.bits.bit_count()

    def pair(self, then: "RightBits", metric: Metric) -> PairedDifference | None:
        """This engine against another on the same samples: McNemar's mid-p, Tango's interval. None where the sets are
        not the same."""
        if (self.n, self.holdout) != (then.n, then.holdout):
            return None
        gained, lost = (self.bits & ~then.bits).bit_count(), (then.bits & ~self.bits).bit_count()
        return PairedDifference(
            key=metric.key,
            delta=(gained - lost) / self.n,
            ci95=paired_interval(gained, lost, self.n, Z95),
            ci90=paired_interval(gained, lost, self.n, Z90),
            p_value=mcnemar_midp(gained, lost),
            method="mcnemar_midp",
            n=self.n,
            gained=gained,
            lost=lost,
        )


def right_bits(rows: Iterable[CompactRow]) -> dict[str, RightBits]:
    """The kept sets by name."""
    found = {}
    for row in rows:
        if row.kind is CompactKind.RIGHT:
            content = row.content()
            bits = int.from_bytes(base64.b64decode(content["right"]), "big")
            found[row.label] = RightBits(
                which=row.label, n=int(content["n"]), holdout=str(content["holdout"]), bits=bits
            )
    return found


def scored_set(sets: Mapping[str, RightBits], metric: Metric) -> RightBits | None:
    """The set that a score was taken on; None where its bits were not kept."""
    return sets.get(SET_OF[metric]) or sets.get(SET_OF[m.ROLLING_SCORE])


def _scores(rows: Sequence[CompactRow]) -> Iterator[CompactValue]:
    sets = right_bits(rows)
    for metric in SET_OF:
        scored = scored_set(sets, metric)
        if scored is not None:
            yield CompactValue(metric=metric, value=scored.right / scored.n, n=scored.n)


# ---- two engines side by side ----------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True, slots=True)
class SideBySideKept:
    """What a run kept of its comparison: paired numbers by key, and the machine's noise."""

    label: str
    ratios: dict[str, PairedRatios]
    differences: dict[str, PairedDifference]
    noise: dict[str, float]


def side_by_side(rows: Iterable[CompactRow]) -> SideBySideKept | None:
    """The comparison that the run showed; None where no engine was measured beside it."""
    row = next((row for row in rows if row.kind is CompactKind.PAIRED), None)
    if row is None:
        return None
    content: dict[str, Any] = row.content()
    ratios = [PairedRatios.from_json(fields) for fields in content["ratios"]]
    differences = [PairedDifference.from_json(fields) for fields in content["differences"]]
    return SideBySideKept(
        label=row.label,
        ratios={paired.key: paired for paired in ratios},
        differences={paired.key: paired for paired in differences},
        noise=dict(content["noise"]),
    )

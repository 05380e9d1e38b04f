"""L, latency: host to host, batch 1, one query at a time. Reads the single-stream blocks of all processes."""

import statistics
from collections.abc import Sequence

import numpy as np

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Reading, Row, Status, Unmeasured
from plaster_ops.domain.metrics import Metric
from plaster_ops.domain.sample import PairedRatios
from plaster_ops.plaster import device_parts
from plaster_ops.plaster.evidence import Evidence, MeasuredBlock, by_process, pooled_ns
from plaster_ops.plaster.intervals import percentile_interval_ms, total_ratio
from plaster_ops.plaster.pairing import pair_blocks
from plaster_ops.plaster.percentiles import (
    early_stopping_estimate,
    fewest_for_interval,
    fewest_to_pass,
    nearest_rank,
    percentile,
)
from plaster_ops.plaster.trust import Trust, trust_of

_SINGLE = "single"
_LETTER = m.Letter.LATENCY
_PERCENTILES = ((m.E2E_P50_MS, 0.50), (m.E2E_P90_MS, 0.90), (m.E2E_P95_MS, 0.95), (m.E2E_P99_MS, 0.99))
_FULL = "full"
_FULL_PERCENTILE = 0.999
_OPTIMISTIC = 0.2
_FEWEST_NEIGHBOURS = 10


def read(evidence: Evidence, label: str) -> list[Row]:
    """All latency rows of one engine; percentiles that its number of queries cannot carry are not measured."""
    blocks = evidence.blocks(_SINGLE, label)
    if not blocks:
        return unmeasured(f"engine {label!r} was not measured")
    trust = _trust(evidence, blocks)
    rows: list[Row] = [_percentile_row(blocks, metric, quantile, trust) for metric, quantile in _PERCENTILES]
    rows.append(_full_row(evidence, blocks, trust))
    rows += device_parts.read(evidence, label)
    return [*rows, _early_stopping_row(blocks, trust), *_plain_rows(blocks, trust), *_start_rows(evidence, label)]


def unmeasured(reason: str) -> list[Row]:
    """Every latency row, without a value."""
    mine = [metric for metric in m.CATALOGUE.values() if metric.letter is _LETTER and metric not in m.MACHINE]
    return [Unmeasured(metric=metric, reason=reason) for metric in mine]


def paired_ratios(evidence: Evidence, now: str, then: str) -> tuple[PairedRatios, ...]:
    """log(now / then) of p50 and p90, block against block per process; empty where they were not measured together."""
    found = (
        pair_blocks(evidence, m.E2E_P50_MS, _SINGLE, now, then, lambda block: _block_ms(block, 0.50)),
        pair_blocks(evidence, m.E2E_P90_MS, _SINGLE, now, then, lambda block: _block_ms(block, 0.90)),
    )
    return tuple(ratios for ratios in found if ratios is not None)


def p50_ms(evidence: Evidence, label: str, kind: str = _SINGLE) -> float | None:
    """Median over all processes; None where that engine was not measured. Eager's blocks are of kind "eager"."""
    ordered = pooled_ns(evidence.blocks(kind, label))
    return int(percentile(list(ordered), 0.5)) * 1e-6 if len(ordered) else None


def _percentile_row(blocks: Sequence[MeasuredBlock], metric: Metric, quantile: float, trust: Trust) -> Row:
    ordered = pooled_ns(blocks)
    fewest = fewest_for_interval(quantile)
    if len(ordered) < fewest:
        return Unmeasured(metric=metric, reason=f"{len(ordered)} queries; this percentile needs {fewest}")
    status, reason = trust
    return Reading(
        metric=metric,
        value=int(ordered[nearest_rank(len(ordered), quantile) - 1]) * 1e-6,
        ci95=percentile_interval_ms(blocks, quantile),
        n=len(ordered),
        status=status,
        reason=reason,
    )


def _full_row(evidence: Evidence, blocks: Sequence[MeasuredBlock], trust: Trust) -> Row:
    if evidence.profile != _FULL:
        return Unmeasured(metric=m.E2E_P999_MS, reason=f"only in profile {_FULL}; this is {evidence.profile}")
    return _percentile_row(blocks, m.E2E_P999_MS, _FULL_PERCENTILE, trust)


def _trust(evidence: Evidence, blocks: Sequence[MeasuredBlock]) -> Trust:
    """Of all rows that rest on the blocks; where they may be trusted, what was noted about foreign load beside it."""
    status, reason = trust_of(evidence, blocks)
    return status, reason if status is not Status.MEASURED else _noted(evidence)


def _early_stopping_row(blocks: Sequence[MeasuredBlock], trust: Trust) -> Row:
    ordered = pooled_ns(blocks)
    estimate = early_stopping_estimate(list(ordered), 0.99)
    if estimate is None:
        reason = f"{len(ordered)} queries; the early-stopping estimate needs {fewest_to_pass(1)}"
        return Unmeasured(metric=m.E2E_P99_ES_MS, reason=reason)
    status, why = trust
    return Reading(metric=m.E2E_P99_ES_MS, value=int(estimate) * 1e-6, n=len(ordered), status=status, reason=why)


def _plain_rows(blocks: Sequence[MeasuredBlock], trust: Trust) -> list[Row]:
    status, reason = trust
    ordered = pooled_ns(blocks)
    mean_ms, interval = total_ratio(blocks, lambda b: float(b.latencies_ns.sum()) * 1e-6, lambda b: float(b.queries))
    count = len(ordered)
    rows: list[Row] = [
        Reading(metric=m.E2E_MEAN_MS, value=mean_ms, ci95=interval, n=count, status=status, reason=reason),
        Reading(metric=m.E2E_MAX_MS, value=int(ordered[-1]) * 1e-6, n=count, status=status, reason=reason),
        Reading(metric=m.SAMPLES_COUNT, value=count),
        Reading(metric=m.WINDOW_S, value=sum(block.window_s for block in blocks)),
    ]
    rows.append(_autocorrelation_row(blocks, status, reason))
    return rows


def _autocorrelation_row(blocks: Sequence[MeasuredBlock], status: Status, reason: str | None) -> Row:
    correlation = _autocorrelation(blocks)
    if correlation is None:
        return Unmeasured(metric=m.AUTOCORR1_RATIO, reason="too few neighbouring queries")
    told = "neighbouring queries are alike: intervals of the percentiles are optimistic"
    notes = [told if correlation > _OPTIMISTIC else None, reason if status is not Status.MEASURED else None]
    return Reading(
        metric=m.AUTOCORR1_RATIO,
        value=correlation,
        n=sum(block.queries for block in blocks),
        status=status,
        reason="; ".join(note for note in notes if note) or None,
    )


def _start_rows(evidence: Evidence, label: str) -> list[Row]:
    loaded = evidence.engine_rows(label)
    status, why = evidence.trust()
    rows: list[Row] = []
    for metric, field in ((m.FIRST_INFERENCE_MS, "first_inference_ms"), (m.ENGINE_LOAD_S, "load_s")):
        values = [float(row[field]) for row in loaded]
        if values:
            middle = statistics.median(values)
            rows.append(Reading(metric=metric, value=middle, n=len(values), status=status, reason=why))
        else:
            rows.append(Unmeasured(metric=metric, reason=f"no process tells how engine {label!r} was loaded"))
    return rows


def _block_ms(block: MeasuredBlock, quantile: float) -> float:
    place = nearest_rank(block.queries, quantile) - 1
    return int(np.partition(block.latencies_ns, place)[place]) * 1e-6


def _autocorrelation(blocks: Sequence[MeasuredBlock]) -> float | None:
    """Lag-1 autocorrelation of log latency around each process's own mean, neighbours of one block, pooled.

    Around a block's mean it would be too low by (1 + 4 rho) / n, n its ten queries or so, and a slow phase that is
    longer than a block would not show at all. What is left of that bias, n a process's queries, is put back.
    """
    products = squares = 0.0
    pairs = count = 0
    parts = by_process(blocks)
    for part in parts:
        logs = [np.log(np.maximum(block.latencies_ns, 1).astype(float)) for block in part]
        mean = float(np.concatenate(logs).mean())
        for row in (one - mean for one in logs):
            products += float((row[1:] * row[:-1]).sum())
            squares += float((row * row).sum())
            pairs += max(0, len(row) - 1)
            count += len(row)
    if count < _FEWEST_NEIGHBOURS * len(parts) or not pairs or not squares > 0:
        return None
    found = (products / pairs) / (squares / count)
    return max(-1.0, min(1.0, found + (1.0 + 4.0 * found) * len(parts) / count))


def _noted(evidence: Evidence) -> str | None:
    notes = evidence.notes()
    return notes[0] if notes else None

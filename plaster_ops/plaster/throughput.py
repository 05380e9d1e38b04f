"""T, throughput: samples per second of a static batch whose p99 is certified within the latency limit."""

from collections.abc import Sequence

import numpy as np

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Reading, Row, Status, Unmeasured
from plaster_ops.domain.sample import PairedRatios
from plaster_ops.plaster import poisson
from plaster_ops.plaster.clustering import Tail, judge_turns
from plaster_ops.plaster.evidence import Evidence, MeasuredBlock, by_process, pooled_ns, windows
from plaster_ops.plaster.intervals import percentile_interval_ms, total_ratio
from plaster_ops.plaster.pairing import pair_blocks
from plaster_ops.plaster.percentiles import fewest_for_interval, fewest_to_pass, percentile
from plaster_ops.plaster.trust import Trust, trust_of, worse_of

_THROUGHPUT, _SINGLE, _OFFLINE = "throughput", "single", "offline"
_LITTLE = 0.05
_DECAY_WINDOWS = 5


def read(evidence: Evidence, label: str) -> list[Row]:
    """All throughput rows of one engine."""
    blocks = evidence.blocks(_THROUGHPUT, label)
    if not blocks:
        missing = absent(f"engine {label!r} was not measured")
        return [_limit_row(evidence), *(row for row in missing if row.metric is not m.SLO_LIMIT_MS)]
    trust = trust_of(evidence, blocks)
    headline = _headline(evidence, blocks, trust)
    rows = [headline, *_at_the_limit(evidence, blocks, trust), _client_row(blocks, trust), _batch1_row(evidence, label)]
    return [*rows, *_offline_rows(evidence, label, headline), *poisson.read(evidence, label)]


def absent(reason: str) -> list[Row]:
    """All throughput rows, unmeasured for that reason."""
    return [
        Unmeasured(metric=metric, reason=reason)
        for metric in m.CATALOGUE.values()
        if metric.letter is m.Letter.THROUGHPUT
    ]


def paired_ratios(evidence: Evidence, now: str, then: str) -> tuple[PairedRatios, ...]:
    """log(samples/s now / then) at each engine's chosen batch, block against block per process."""
    found = pair_blocks(
        evidence, m.SLO_SAMPLES_PER_S, _THROUGHPUT, now, then, lambda block: block.samples / block.window_s
    )
    return (found,) if found is not None else ()


def _headline(evidence: Evidence, blocks: Sequence[MeasuredBlock], trust: Trust) -> Row:
    tail = _tail(blocks, evidence.slo_ms)
    if not tail.passes():
        reason = "; ".join([_why_not(evidence, tail, blocks), *evidence.notes()[:1]])
        status = Status.FAILED if tail.is_clearly_over() else Status.NOT_MEASURED
        return Unmeasured(metric=m.SLO_SAMPLES_PER_S, reason=reason, status=status)
    value, interval = _rate(blocks)
    status, why = trust
    reason_text = "; ".join(note for note in (why, _decay(blocks)) if note) or None
    return Reading(
        metric=m.SLO_SAMPLES_PER_S, value=value, ci95=interval, n=tail.queries, status=status, reason=reason_text
    )


def _tail(blocks: Sequence[MeasuredBlock], slo_ms: float) -> Tail:
    """The queries against the limit; slow ones come in clusters here too."""
    streams = [np.concatenate([block.latencies_ns for block in part]) for part in by_process(blocks)]
    return judge_turns(streams, slo_ms * 1e6)


def _why_not(evidence: Evidence, tail: Tail, blocks: Sequence[MeasuredBlock]) -> str:
    if tail.is_clearly_over():
        p99_ms = percentile(pooled_ns(blocks).tolist(), 0.99) * 1e-6
        return f"slo_infeasible: best p99 {p99_ms:.3g} ms > {evidence.slo_ms:g} ms at batch {blocks[0].batch}"
    worth, over = tail.effective
    slow = f" with {tail.over} above {evidence.slo_ms:g} ms" if tail.over else ""
    where = f"in the {evidence.profile} profile"
    if worth == tail.queries:
        return f"not certified: {tail.queries} of {fewest_to_pass(over)} queries{slow} {where}"
    return (
        f"not certified: {tail.queries} queries{slow}; as slow ones come in clusters they say as much as {worth} of "
        f"{fewest_to_pass(over)} independent ones {where}"
    )


def _at_the_limit(evidence: Evidence, blocks: Sequence[MeasuredBlock], trust: Trust) -> list[Row]:
    status, why = trust
    ordered = pooled_ns(blocks)
    queries, fewest = len(ordered), fewest_for_interval(0.99)
    if queries >= fewest:
        p99: Row = Reading(
            metric=m.SLO_P99_AT_MAX_MS,
            value=int(percentile(list(ordered), 0.99)) * 1e-6,
            ci95=percentile_interval_ms(blocks, 0.99),
            n=queries,
            status=status,
            reason=why,
        )
    else:
        p99 = Unmeasured(metric=m.SLO_P99_AT_MAX_MS, reason=f"{queries} queries; p99 needs {fewest}")
    inside = queries - _over_limit(blocks, evidence.slo_ms)
    return [
        _limit_row(evidence),
        p99,
        Reading(metric=m.SLO_BATCH_COUNT, value=blocks[0].batch),
        Reading(metric=m.GOODPUT_RATIO, value=inside / queries, n=queries, status=status, reason=why),
    ]


def _batch1_row(evidence: Evidence, label: str) -> Row:
    blocks = evidence.blocks(_SINGLE, label)
    if not blocks:
        return Unmeasured(metric=m.BATCH1_SAMPLES_PER_S, reason=f"engine {label!r} was not measured")
    value, interval = _rate(blocks)
    status, why = trust_of(evidence, blocks)
    return Reading(
        metric=m.BATCH1_SAMPLES_PER_S,
        value=value,
        ci95=interval,
        n=sum(b.queries for b in blocks),
        status=status,
        reason="; ".join(note for note in (why, _against_littles_law(blocks)) if note) or None,
    )


def _limit_row(evidence: Evidence) -> Row:
    return Reading(metric=m.SLO_LIMIT_MS, value=evidence.slo_ms)


def _client_row(blocks: Sequence[MeasuredBlock], trust: Trust) -> Row:
    value, interval = total_ratio(blocks, lambda b: b.window_s - _inside_s(b), lambda b: b.window_s)
    status, why = trust
    queries = sum(b.queries for b in blocks)
    return Reading(metric=m.CLIENT_CPU_RATIO, value=value, ci95=interval, n=queries, status=status, reason=why)


def _inside_s(block: MeasuredBlock) -> float:
    return float(block.latencies_ns.sum()) * 1e-9


def _against_littles_law(blocks: Sequence[MeasuredBlock]) -> str | None:
    """Rate x mean latency is the number of queries in flight: 1 for a single stream, or the client took the rest."""
    in_flight = sum(map(_inside_s, blocks)) / sum(block.window_s for block in blocks)
    if abs(in_flight - 1.0) <= _LITTLE:
        return None
    return f"Little's law: rate x mean latency is {in_flight:.2f}, not 1: the rest is the client's own time"


def _decay(blocks: Sequence[MeasuredBlock]) -> str | None:
    """Says by how much the rate of the last window of each process lies below the first, where that is above 5 %."""
    parts = [windows(part, _DECAY_WINDOWS) for part in by_process(blocks)]
    if not all(len(part) == _DECAY_WINDOWS for part in parts):
        return None
    first, last = (
        sum(b.samples for part in parts for b in part[at]) / sum(b.window_s for part in parts for b in part[at])
        for at in (0, -1)
    )
    return (
        f"the rate fell by {1 - last / first:.0%} from first to last window" if last < (1 - _LITTLE) * first else None
    )


def offline_blocks(evidence: Evidence, label: str) -> tuple[list[MeasuredBlock], str]:
    """The turns at the batch of the unbounded maximum; or none, and why."""
    search = evidence.search(label)
    if search is None or not search["probes"]:
        return [], "no process searched the batch"
    if search["ended"] == "time":
        return [], f"the search ran out of time at batch {search['probes'][-1]['batch']} while the rate still rose"
    bounded = evidence.blocks(_THROUGHPUT, label)
    blocks = evidence.blocks(_OFFLINE, label)
    if bounded[0].batch == evidence.fastest_batch(label):
        blocks = [*blocks, *bounded]
    if not blocks:
        return [], f"the {evidence.profile} profile gives the unbounded maximum no time"
    is_certified = _tail(bounded, evidence.slo_ms).passes()
    return (bounded if is_certified and _rate(bounded)[0] > _rate(blocks)[0] else blocks), ""


def _offline_rows(evidence: Evidence, label: str, headline: Row) -> list[Row]:
    metrics = (m.OFFLINE_SAMPLES_PER_S, m.OFFLINE_BATCH_COUNT, m.SLO_COST_RATIO)
    blocks, reason = offline_blocks(evidence, label)
    if not blocks:
        return [Unmeasured(metric=metric, reason=reason) for metric in metrics]
    value, interval = _rate(blocks)
    trust = trust_of(evidence, blocks)
    status, why = trust
    queries = sum(block.queries for block in blocks)
    rows: list[Row] = [
        Reading(metric=metrics[0], value=value, ci95=interval, n=queries, status=status, reason=why),
        Reading(metric=metrics[1], value=blocks[0].batch),
    ]
    if isinstance(headline, Reading):
        status, why = worse_of(trust, trust_of(evidence, evidence.blocks(_THROUGHPUT, label)))
        return [*rows, Reading(metric=metrics[2], value=headline.value / value, status=status, reason=why)]
    return [*rows, Unmeasured(metric=metrics[2], reason="no rate inside the limit")]


def _rate(blocks: Sequence[MeasuredBlock]) -> tuple[float, tuple[float, float] | None]:
    return total_ratio(blocks, lambda b: float(b.samples), lambda b: b.window_s)


def _over_limit(blocks: Sequence[MeasuredBlock], slo_ms: float) -> int:
    return sum(int((block.latencies_ns > slo_ms * 1e6).sum()) for block in blocks)

"""T in server mode: the largest rate of Poisson arrivals that was certified, recomputed from the kept queries."""

from collections.abc import Sequence

import numpy as np

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Reading, Row, Status, Unmeasured
from plaster_ops.domain.metrics import Metric
from plaster_ops.plaster.clustering import Tail, judge_tail
from plaster_ops.plaster.evidence import Evidence, ServerRun
from plaster_ops.plaster.open_loop import Point
from plaster_ops.plaster.percentiles import fewest_to_pass, nearest_rank, rank_interval

NOT_ASKED = "server mode was not asked for: measure.server or --server"
METRICS: tuple[Metric, ...] = (
    m.POISSON_SAMPLES_PER_S,
    m.POISSON_P99_MS,
    m.POISSON_GOODPUT_RATIO,
    m.POISSON_BATCH_MEAN_COUNT,
    m.POISSON_BUSY_RATIO,
)
_WINDOWS_SHARE = 0.1


def read(evidence: Evidence, label: str) -> list[Row]:
    """The server rows of one engine."""
    point = evidence.server_point(label)
    if point is None:
        return absent(NOT_ASKED)
    runs = evidence.server_runs(label)
    if point.rate_per_s is None:
        return _nothing_certified(evidence, runs)
    return _at_the_rate(evidence, point.rate_per_s, point, [r for r in runs if r.certifies and _is_at(r, point)])


def absent(reason: str) -> list[Row]:
    """All server rows, unmeasured for that reason."""
    return [Unmeasured(metric=metric, reason=reason) for metric in METRICS]


def _is_at(run: ServerRun, point: Point) -> bool:
    return run.rate_per_s == point.rate_per_s


def _tail(run: ServerRun, slo_ms: float) -> Tail:
    return judge_tail(run.due_ns, run.latencies_ns, slo_ms * 1e6)


def _at_the_rate(evidence: Evidence, rate: float, point: Point, runs: Sequence[ServerRun]) -> list[Row]:
    slo_ms = evidence.slo_ms
    tails = [_tail(run, slo_ms) for run in runs]
    pooled = Tail.of_all(tails)
    refuted = [run.process for run, tail in zip(runs, tails, strict=True) if tail.is_clearly_over()]
    if refuted or not pooled.passes():
        where = f"process {refuted[0]}" if refuted else "all processes together"
        over, queries = pooled.over, pooled.queries
        return absent(
            f"{rate:.4g}/s was certified by the first process and not confirmed by {where}: "
            f"{over} of {queries} queries above {slo_ms:g} ms"
        )
    status, why = evidence.trust()
    told = f"batches {', '.join(map(str, point.sizes))}, queue delay {point.max_queue_delay_ms:g} ms"
    reason = "; ".join(note for note in (told, why, _decay(runs), _who_ran(evidence, runs)) if note)
    latencies = np.sort(np.concatenate([run.latencies_ns for run in runs]))
    inside = pooled.queries - pooled.over
    answered = sum(run.answered for run in runs)
    seconds = sum(run.window_s for run in runs)
    worth = "; ".join(note for note in ("n: independent queries that say as much", why) if note)

    def row(metric: Metric, value: float, n: int) -> Row:
        return Reading(metric=metric, value=value, n=n, status=status, reason=why)

    return [
        Reading(metric=m.POISSON_SAMPLES_PER_S, value=rate, n=pooled.queries, status=status, reason=reason),
        Reading(
            metric=m.POISSON_P99_MS,
            value=int(latencies[nearest_rank(len(latencies), 0.99) - 1]) * 1e-6,
            ci95=_p99_interval_ms(latencies, pooled),
            n=pooled.effective[0],
            status=status,
            reason=worth,
        ),
        row(m.POISSON_GOODPUT_RATIO, inside / pooled.queries, pooled.queries),
        row(m.POISSON_BATCH_MEAN_COUNT, answered / sum(run.batches for run in runs), answered),
        row(m.POISSON_BUSY_RATIO, sum(run.busy_s for run in runs) / seconds, answered),
    ]


def _p99_interval_ms(ordered: "np.ndarray[tuple[int], np.dtype[np.int64]]", tail: Tail) -> tuple[float, float] | None:
    """Order statistics of as many independent queries, carried over to the ranks of all of them."""
    effective = tail.effective[0]
    ranks = rank_interval(effective, 0.99) if effective else None
    if ranks is None:
        return None
    low, high = (ordered[max(1, round(rank / effective * len(ordered))) - 1] for rank in ranks)
    return int(low) * 1e-6, int(high) * 1e-6


def _who_ran(evidence: Evidence, runs: Sequence[ServerRun]) -> str | None:
    """Says so where the rate rests on fewer processes than measured: nobody else has confirmed it."""
    ran = len({run.process for run in runs})
    return f"from {ran} of {evidence.processes} processes" if ran < evidence.processes else None


def _decay(runs: Sequence[ServerRun]) -> str | None:
    """What the median wait of the last tenth of the queries says against the first, where it doubled."""
    firsts, lasts = [], []
    for run in runs:
        part = max(1, round(_WINDOWS_SHARE * len(run.latencies_ns)))
        firsts.append(float(np.median(run.latencies_ns[:part])))
        lasts.append(float(np.median(run.latencies_ns[-part:])))
    ratio = sum(lasts) / max(sum(firsts), 1.0)
    return f"the last tenth of the queries took {ratio:.1f} times as long as the first" if ratio > 2.0 else None


def _nothing_certified(evidence: Evidence, runs: Sequence[ServerRun]) -> list[Row]:
    slo_ms = evidence.slo_ms
    if not runs:
        return absent("the search made no run")
    slowest = min(runs, key=lambda run: run.rate_per_s)
    tail = _tail(slowest, slo_ms)
    if tail.is_clearly_over() and not any(run.certifies for run in runs):
        p99_ms = float(np.sort(slowest.latencies_ns)[nearest_rank(len(slowest.latencies_ns), 0.99) - 1]) * 1e-6
        reason = f"slo_infeasible: best p99 {p99_ms:.3g} ms > {slo_ms:g} ms at {slowest.rate_per_s:.3g} queries/s"
        rows: list[Row] = [Unmeasured(metric=METRICS[0], reason=reason, status=Status.FAILED)]
        return [*rows, *absent(reason)[1:]]
    last = next((run for run in reversed(runs) if run.certifies), slowest)
    tail = _tail(last, slo_ms)
    queries, over = tail.effective
    slow = f" with {tail.over} above {slo_ms:g} ms" if tail.over else ""
    return absent(
        f"not certified: {tail.queries} queries at {last.rate_per_s:.3g}/s{slow}; as they wait for each other they say "
        f"as much as {queries} of {fewest_to_pass(over)} independent ones in the {evidence.profile} profile"
    )

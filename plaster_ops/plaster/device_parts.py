"""Where the time of a call on a GPU goes: copies, forward, enqueueing. Read from a pass beside the timed blocks."""

import statistics
from collections.abc import Sequence

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Reading, Row, Unmeasured
from plaster_ops.domain.metrics import Metric
from plaster_ops.plaster.evidence import Evidence
from plaster_ops.plaster.percentiles import fewest_for_interval, nearest_rank, rank_interval
from plaster_ops.plaster.trust import Trust

_CV = m.GPU_COMPUTE_CV_RATIO
_ON_CPU = "the engine runs on the CPU: there are no copies"
_UNSTEADY_CV = 0.025
_PERCENTILES = (
    (m.GPU_COMPUTE_P50_MS, "compute", 0.50),
    (m.GPU_COMPUTE_P99_MS, "compute", 0.99),
    (m.H2D_P50_MS, "h2d", 0.50),
    (m.D2H_P50_MS, "d2h", 0.50),
    (m.ENQUEUE_P50_MS, "enqueue", 0.50),
)


def read(evidence: Evidence, label: str) -> list[Row]:
    """Rows of one engine; on a CPU, and where the backend does not split its calls, each says so."""
    computed_ms = evidence.parts_ms(label, "compute")
    if not computed_ms:
        reason = _ON_CPU if evidence.device == "cpu" else "this backend does not split its calls"
        return [Unmeasured(metric=metric, reason=reason) for metric in (*(p[0] for p in _PERCENTILES), _CV)]
    trust = evidence.trust()
    return [
        *(_percentile_row(metric, evidence.parts_ms(label, part), q, trust) for metric, part, q in _PERCENTILES),
        _variation_row(computed_ms, trust),
    ]


def _percentile_row(metric: Metric, ordered_ms: Sequence[float], quantile: float, trust: Trust) -> Row:
    count, fewest = len(ordered_ms), fewest_for_interval(quantile)
    ranks = rank_interval(count, quantile)
    if ranks is None:
        return Unmeasured(metric=metric, reason=f"{count} calls were split; this percentile needs {fewest}")
    value_ms = ordered_ms[nearest_rank(count, quantile) - 1]
    interval = (ordered_ms[ranks[0] - 1], ordered_ms[ranks[1] - 1])
    status, why = trust
    return Reading(metric=metric, value=value_ms, ci95=interval, n=count, status=status, reason=why)


def _variation_row(values_ms: Sequence[float], trust: Trust) -> Row:
    mean_ms = statistics.fmean(values_ms)
    if len(values_ms) < 2 or mean_ms <= 0.0:
        return Unmeasured(metric=_CV, reason=f"{len(values_ms)} calls were split, {mean_ms:g} ms each")
    ratio = statistics.stdev(values_ms) / mean_ms
    status, why = trust
    told = f"above {_UNSTEADY_CV:g}: clocks or neighbours moved" if ratio > _UNSTEADY_CV else None
    reason = "; ".join(note for note in (told, why) if note) or None
    return Reading(metric=_CV, value=ratio, n=len(values_ms), status=status, reason=reason)

"""Cards and evidence of two engines, with little said."""

from collections.abc import Mapping, Sequence

from plaster_ops.domain.card import Card, Reading, Row
from plaster_ops.domain.compare import Evidence, compare_cards
from plaster_ops.domain.judgement import Comparison
from plaster_ops.domain.metrics import Better, Metric
from plaster_ops.domain.sample import PairedDifference, PairedRatios

NO_EVIDENCE = Evidence(ratios={}, differences={})


def reading(metric: Metric, value: float = 1.0) -> Reading:
    better = Better.HIGHER if metric.better is Better.DECLARED else None
    return Reading(metric=metric, value=value, better=better)


def ratios(metric: Metric, *per_process: float, within: float = 0.002) -> PairedRatios:
    count = len(per_process)
    return PairedRatios(key=metric.key, per_process=per_process, within_se=(within,) * count, pairs=(8,) * count)


def difference(metric: Metric, delta: float, half95: float, p_value: float) -> PairedDifference:
    half90 = half95 * 0.84
    return PairedDifference(
        key=metric.key,
        delta=delta,
        ci95=(delta - half95, delta + half95),
        ci90=(delta - half90, delta + half90),
        p_value=p_value,
        method="paired_bootstrap",
        n=500,
    )


def evidence(*paired: PairedRatios | PairedDifference, noise: Mapping[str, float] | None = None) -> Evidence:
    return Evidence(
        ratios={p.key: p for p in paired if isinstance(p, PairedRatios)},
        differences={p.key: p for p in paired if isinstance(p, PairedDifference)},
        noise=noise,
    )


def judge(
    now: Row,
    then: Row | None,
    seen: Evidence = NO_EVIDENCE,
    *,
    margins: Mapping[str, float] | None = None,
    history: Mapping[str, Sequence[float]] | None = None,
    differing: Sequence[str] = (),
) -> Comparison:
    """The one row of a comparison of two cards with one metric."""
    before = Card((then,) if then is not None else ())
    (row,) = compare_cards(Card((now,)), before, seen, margins=margins, history=history, differing=differing)
    return row

"""Which batch delivers most samples per second inside the latency limit, found with short interleaved probes.

The search only proposes: the batch it chooses is measured at length, and only that measurement certifies the limit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from plaster_ops.plaster.percentiles import is_clearly_over, percentile
from plaster_ops.plaster.timing import Timed

_GAIN = 1.05
_HEADROOM = 0.8
_NEAR_BEST = 0.95


class Fit(StrEnum):
    """How a probe stands to the limit. `EDGE` is too near to tell; such a batch is used by no engine."""

    INSIDE = "inside"
    EDGE = "edge"
    OVER = "over"


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """One batch tried shortly. `rate_per_s` is batch / median latency, which a stray preemption does not move."""

    batch: int
    rate_per_s: float
    total_per_s: float
    p90_ms: float
    queries: int
    over_limit: int
    fit: Fit


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Per label: all probes, the chosen batch, and why the search ended (`gain`, `batches`, `time` or `failed`)."""

    probes: Mapping[str, tuple[Probe, ...]]
    chosen: Mapping[str, int]
    ended: Mapping[str, str]


def judge_probe(timed: Timed, batch: int, slo_ms: float) -> Probe:
    """Reads one probe against the limit."""
    ordered = sorted(timed.latencies_ns)
    over = sum(1 for latency_ns in ordered if latency_ns > slo_ms * 1e6)
    p50_ms, p90_ms = percentile(ordered, 0.5) * 1e-6, percentile(ordered, 0.9) * 1e-6
    if p50_ms > slo_ms or is_clearly_over(len(ordered), over):
        fit = Fit.OVER
    else:
        fit = Fit.INSIDE if p90_ms <= _HEADROOM * slo_ms else Fit.EDGE
    return Probe(
        batch=batch,
        rate_per_s=batch / max(p50_ms * 1e-3, 1e-9),
        total_per_s=batch * len(ordered) / max(timed.window_ns * 1e-9, 1e-9),
        p90_ms=p90_ms,
        queries=len(ordered),
        over_limit=over,
        fit=fit,
    )


def search_batches(
    labels: Sequence[str],
    batches: Sequence[int],
    probe: Callable[[str, int], Probe | None],
    is_time_up: Callable[[], bool],
) -> Found:
    """Tries batches upwards for all engines in turn; an engine leaves after two gains below 5 % in a row.

    `probe` returns None where the engine cannot run that batch. Smaller batches come first, so whatever time allows is
    a complete picture up to some batch.
    """
    probes: dict[str, list[Probe]] = {label: [] for label in labels}
    ended: dict[str, str] = {}
    for number, batch in enumerate(sorted(set(batches))):
        if number and is_time_up():
            break
        active = [label for label in labels if label not in ended]
        for label in active if number % 2 == 0 else reversed(active):
            tried = probe(label, batch)
            if tried is None:
                ended[label] = "failed"
                continue
            probes[label].append(tried)
            if _has_flattened([p.rate_per_s for p in probes[label]]):
                ended[label] = "gain"
        if len(ended) == len(labels):
            break
    last = max(batches)
    for label in labels:
        reached = probes[label][-1].batch if probes[label] else 0
        ended.setdefault(label, "batches" if reached == last else "time")
    return Found(probes={k: tuple(v) for k, v in probes.items()}, chosen=choose_batches(probes), ended=ended)


def choose_batches(probes: Mapping[str, Sequence[Probe]]) -> dict[str, int]:
    """One batch for all engines where one is within 5 % of everybody's best, else each engine its own best.

    A common batch keeps equal engines equal: near a flat top, chance would otherwise give them different batches. A
    batch that is `EDGE` for one engine is used by none, for the same reason. Without any batch inside the limit the
    smallest is chosen, so that what can be measured there still is.
    """
    edges = {p.batch for tried in probes.values() for p in tried if p.fit is Fit.EDGE}
    usable = {
        label: {p.batch: p.rate_per_s for p in tried if p.fit is Fit.INSIDE and p.batch not in edges}
        for label, tried in probes.items()
    }
    chosen = {
        label: max(rates, key=lambda batch: (rates[batch], -batch))
        if rates
        else min((p.batch for p in probes[label]), default=1)
        for label, rates in usable.items()
    }
    ranked = {label: rates for label, rates in usable.items() if rates}
    shared = set.intersection(*[set(rates) for rates in ranked.values()]) if ranked else set()
    worst = {b: min(rates[b] / max(rates.values()) for rates in ranked.values()) for b in shared}
    near = [batch for batch, share in worst.items() if share >= _NEAR_BEST]
    if near and len(ranked) == len(probes):
        top = max(worst[batch] for batch in near)
        common = min(batch for batch in near if worst[batch] >= top - 0.02)
        return dict.fromkeys(probes, common)
    return chosen


def _has_flattened(rates: Sequence[float]) -> bool:
    """True where the last two batches both gained less than 5 % over the best before them."""
    if len(rates) < 3:
        return False
    return rates[-2] < _GAIN * max(rates[:-2]) and rates[-1] < _GAIN * max(rates[:-2])


def step_down(probes: Mapping[str, Sequence[Probe]], batches: Mapping[str, int]) -> dict[str, int]:
    """The next smaller tried batch of each label given; a label without a smaller one is left out."""
    lower = {
        label: max((p.batch for p in probes[label] if p.batch < batch), default=None)
        for label, batch in batches.items()
    }
    return {label: batch for label, batch in lower.items() if batch is not None}

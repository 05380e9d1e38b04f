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
_TO_P99 = 1.82
"""How much farther p99 lies from the median than p90 does, in logarithms, where latencies are log-normal."""
_NEAR_BEST = (0.97, 0.95, 0.85)


class Fit(StrEnum):
    """How a probe stands to the limit: `OVER` by its median; `EDGE` is too near to tell and is used by no engine.

    `NEAR` has little room but seems to keep the limit: it is tried at length, and given up where one query is over.
    """

    INSIDE = "inside"
    NEAR = "near"
    EDGE = "edge"
    OVER = "over"


_USABLE = (Fit.INSIDE, Fit.NEAR)


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

    def fastest(self) -> dict[str, int]:
        """Per label the batch with most samples per second, the limit aside; none where the search ran out of time."""
        return {
            label: max(probes, key=lambda probe: probe.rate_per_s).batch
            for label, probes in self.probes.items()
            if probes and self.ended[label] != "time"
        }


def judge_probe(blocks: Sequence[Timed], batch: int, slo_ms: float) -> Probe:
    """Reads one probe, taken in several turns, against the limit."""
    ordered = sorted(latency_ns for timed in blocks for latency_ns in timed.latencies_ns)
    window_ns = sum(timed.window_ns for timed in blocks)
    over = sum(1 for latency_ns in ordered if latency_ns > slo_ms * 1e6)
    p50_ms, p90_ms = percentile(ordered, 0.5) * 1e-6, percentile(ordered, 0.9) * 1e-6
    return Probe(
        batch=batch,
        rate_per_s=batch / max(p50_ms * 1e-3, 1e-9),
        total_per_s=batch * len(ordered) / max(window_ns * 1e-9, 1e-9),
        p90_ms=p90_ms,
        queries=len(ordered),
        over_limit=over,
        fit=_fit(p50_ms, p90_ms, slo_ms, is_slow=is_clearly_over(len(ordered), over)),
    )


def _fit(p50_ms: float, p90_ms: float, slo_ms: float, *, is_slow: bool) -> Fit:
    if p50_ms > slo_ms:
        return Fit.OVER
    if not is_slow and p90_ms <= _HEADROOM * slo_ms:
        return Fit.INSIDE
    p99_ms = p50_ms * (p90_ms / p50_ms) ** _TO_P99
    return Fit.NEAR if not is_slow and p99_ms <= slo_ms else Fit.EDGE


def search_batches(
    labels: Sequence[str],
    batches: Sequence[int],
    probe: Callable[[Sequence[str], int], Mapping[str, Probe | None]],
    is_time_up: Callable[[], bool],
) -> Found:
    """Tries batches upwards, all engines side by side, until all have gained below 5 % twice in a row.

    `probe` gives None for an engine that cannot run that batch; that one leaves. Smaller batches come first, so
    whatever time allows is a complete picture up to some batch.
    """
    probes: dict[str, list[Probe]] = {label: [] for label in labels}
    failed: set[str] = set()
    flat: set[str] = set()
    for number, batch in enumerate(sorted(set(batches))):
        if flat | failed == set(labels) or (number and is_time_up()):
            break
        for label, tried in probe([label for label in labels if label not in failed], batch).items():
            if tried is None:
                failed.add(label)
                continue
            probes[label].append(tried)
            if _has_flattened([p.rate_per_s for p in probes[label]]):
                flat.add(label)
    ended = {}
    for label in labels:
        reached = probes[label][-1].batch if probes[label] else 0
        complete = "batches" if reached == max(batches) else "time"
        ended[label] = "failed" if label in failed else "gain" if label in flat else complete
    return Found(probes={k: tuple(v) for k, v in probes.items()}, chosen=choose_batches(probes), ended=ended)


def choose_batches(probes: Mapping[str, Sequence[Probe]]) -> dict[str, int]:
    """The smallest batch that is near everybody's best, else for each engine the smallest within 3 % of its own.

    Near is within 3 %, else 5 %, else 15 % where there is no such batch: a common batch keeps equal engines equal,
    where chance would otherwise give them different ones. For the same reason a batch that is `EDGE` for one engine is
    used by none. Without any batch inside the limit the smallest is chosen: what can be measured there still is.
    """
    edges = {p.batch for tried in probes.values() for p in tried if p.fit is Fit.EDGE}
    shares = {
        label: _shares_of_best([p for p in tried if p.fit in _USABLE and p.batch not in edges])
        for label, tried in probes.items()
    }
    for near in _NEAR_BEST:
        common = set.intersection(*[{b for b, share in own.items() if share >= near} for own in shares.values()])
        if common:
            return dict.fromkeys(probes, min(common))
    return {
        label: min(b for b, share in own.items() if share >= _NEAR_BEST[0])
        if own
        else min((p.batch for p in probes[label]), default=1)
        for label, own in shares.items()
    }


def _shares_of_best(usable: Sequence[Probe]) -> dict[int, float]:
    best = max((probe.rate_per_s for probe in usable), default=1.0)
    return {probe.batch: probe.rate_per_s / best for probe in usable}


def _has_flattened(rates: Sequence[float]) -> bool:
    """True where the last two batches both gained less than 5 % over the best before them."""
    if len(rates) < 3:
        return False
    return rates[-2] < _GAIN * max(rates[:-2]) and rates[-1] < _GAIN * max(rates[:-2])


def step_down(probes: Mapping[str, Sequence[Probe]], batches: Mapping[str, int]) -> dict[str, int]:
    """Per label the largest tried batch of at most a quarter, else the smallest; none left: left out.

    From a batch that is `NEAR` for any engine it is one step.
    """
    near = {p.batch for tried in probes.values() for p in tried if p.fit is Fit.NEAR}
    lower: dict[str, int] = {}
    for label, batch in batches.items():
        smaller = sorted(probe.batch for probe in probes[label] if probe.batch < batch)
        if smaller and batch in near:
            lower[label] = smaller[-1]
        elif smaller:
            lower[label] = max((tried for tried in smaller if 4 * tried <= batch), default=smaller[0])
    return lower

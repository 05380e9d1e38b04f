"""The parts of one number, from the compact record: restarts and their time blocks, a histogram, samples, a curve."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from plaster_ops.domain.compact import CompactKind, CompactRow
from plaster_ops.domain.histogram import middle_ns
from plaster_ops.domain.metric import Letter, Metric
from plaster_ops.plaster.compact_values import (
    KIND_OF,
    SET_OF,
    TimeBlock,
    all_latencies,
    block_value,
    right_bits,
    scored_set,
    time_blocks,
)

_BARS = 16
_MS = 1e-6


def restarts_of(metric: Metric, kept: Sequence[CompactRow]) -> list[dict[str, Any]]:
    """Each restart with its value and those of its time blocks; empty for what is not timed."""
    kind = KIND_OF.get(metric)
    if kind is None:
        return []
    blocks = time_blocks(kept, kind)
    notes = {row.process: row.content() for row in kept if row.kind is CompactKind.TIMED and row.label == kind}
    return [
        {
            "process": process,
            "kind": kind,
            **_figures(metric, [one for one in blocks if one.process == process]),
            "warmup_queries": told["warmup_queries"],
            "is_steady": told["is_steady"],
            "turns": told["turns"],
            "sensor": told["sensor"],
            "notes": told["notes"],
            "suspect": told["suspect"] or None,
            "blocks": [_figures(metric, [one]) for one in blocks if one.process == process],
        }
        for process, told in sorted(notes.items())
    ]


def _figures(metric: Metric, blocks: Sequence[TimeBlock]) -> dict[str, Any]:
    value, latencies = block_value(metric, blocks), all_latencies(blocks)
    items, window_s = sum(one.items for one in blocks), sum(one.window_s for one in blocks)
    energies = [one.energy for one in blocks if one.energy is not None]
    return {
        "value": None if value is None else value.value,
        "n": 0 if latencies is None else latencies.n,
        "batch": blocks[0].batch,
        "p50_ms": None if latencies is None else latencies.quantile_ns(0.5) * _MS,
        "p99_ms": None if latencies is None else latencies.quantile_ns(0.99) * _MS,
        "max_ms": None if latencies is None else latencies.max_ns * _MS,
        "window_s": window_s,
        "samples_per_s": items / window_s if window_s > 0 else None,
        "joules": sum(one["joules"] for one in energies) if energies else None,
        "counter_updates": sum(one["updates"] for one in energies) if energies else None,
    }


def histogram_of(metric: Metric, kept: Sequence[CompactRow]) -> dict[str, Any] | None:
    """All queries behind the metric in at most 16 bars of equal ratio; None for what is no latency.

    `edges_ms` has one entry more than `counts`; `value_bar` is where the metric's value lies, from 0.
    """
    kind = KIND_OF.get(metric)
    if kind is None or metric.unit != "ms":
        return None
    pooled = all_latencies(time_blocks(kept, kind))
    value = block_value(metric, time_blocks(kept, kind))
    if pooled is None or value is None:
        return None
    low, high = pooled.min_ns, max(pooled.max_ns, pooled.min_ns + 1)
    bars = min(_BARS, max(1, len(pooled.counts)))
    ratio = math.log(high / low)
    counts = [0] * bars
    for number, count in pooled.counts.items():
        place = math.log(max(middle_ns(number), low) / low) / ratio * bars
        counts[min(bars - 1, int(place))] += count
    edges = [low * math.exp(ratio * bar / bars) * _MS for bar in range(bars + 1)]
    here = math.log(max(value.value / _MS, low) / low) / ratio * bars
    return {"edges_ms": edges, "counts": counts, "value_bar": min(bars - 1, int(here)), "n": pooled.n}


def samples_of(metric: Metric, kept: Sequence[CompactRow]) -> dict[str, Any] | None:
    """Which set a score of 0 or 1 a sample was taken on; None for other metrics, and where no bits were kept."""
    found = scored_set(right_bits(kept), metric) if metric in SET_OF else None
    if found is None:
        return None
    return {"set": found.which, "n": found.n, "right": found.right, "holdout": found.holdout}


def curve_of(metric: Metric, kept: Sequence[CompactRow]) -> Mapping[str, Any] | None:
    """The learning curve, for metrics of the letter R; None where no snapshot was scored."""
    row = next((one for one in kept if one.kind is CompactKind.CURVE), None)
    if row is None or metric.letter is not Letter.LEARNING:
        return None
    content = row.content()
    names = ("epoch", "step", "samples", "fit_s", "score")
    points = [{name: point.get(name) for name in names} for point in content["points"]]
    return {"points": points, "target": content.get("target"), "n": content.get("n")}

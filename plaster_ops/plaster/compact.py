"""From raw samples to the compact record of a run: histograms by restart and time block, which samples were right.

Written once, when a retrain ends; `compact_values` reads it without numpy.
"""

import base64
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from plaster_ops.domain.compact import CompactKind, CompactRow, pack
from plaster_ops.domain.histogram import BIN_RATIO, LogHistogram
from plaster_ops.domain.sample import PairedDifference, PairedRatios
from plaster_ops.plaster.answer_record import SetRecord
from plaster_ops.plaster.evidence import Evidence, MeasuredBlock, ServerRun, windows
from plaster_ops.plaster.resampling import is_proportion

TIME_BLOCKS = 10
"""Time blocks of one kind in one restart, at most: its turns, put together to windows of about equal length."""

SERVER = "server"
"""The label of runs of random arrivals; the turns of one query at a time have the kind of their blocks."""


def timed_rows(evidence: Evidence, label: str) -> list[CompactRow]:
    """One engine's turns of every kind, a row a restart; and its certifying runs of random arrivals."""
    kinds = dict.fromkeys(block.kind for block in evidence.all_blocks if block.label == label)
    rows = []
    for process, result in enumerate(evidence.results):
        told = _told(result, label)
        for kind in kinds:
            turns = [block for block in evidence.blocks(kind, label) if block.process == result["process"]]
            if turns:
                blocks = [_time_block(part) for part in windows(turns, TIME_BLOCKS)]
                content = {**told, "batch": turns[0].batch, "concurrency": 1, "turns": len(turns), "blocks": blocks}
                rows.append(CompactRow(kind=CompactKind.TIMED, label=kind, process=process, body=pack(content)))
        runs = [run for run in evidence.server_runs(label) if run.process == result["process"] and run.certifies]
        if runs:
            content = {
                **told,
                "batch": None,
                "concurrency": None,
                "turns": len(runs),
                "blocks": list(map(_served, runs)),
            }
            rows.append(CompactRow(kind=CompactKind.TIMED, label=SERVER, process=process, body=pack(content)))
    return rows


def right_rows(records: Mapping[str, SetRecord], holdouts: Mapping[str, str | None]) -> list[CompactRow]:
    """Which samples the new engine had right, a bit each in the order of the set; of sets whose score is 0 or 1.

    `holdouts`: the digest of each set's data; a set without one is left out, as nothing could be paired with it.
    """
    rows = []
    for which, record in records.items():
        scored, digest = next(iter(record.engines.values())), holdouts.get(which)
        if digest and scored.per_sample is not None and is_proportion(scored.per_sample):
            bits = base64.b64encode(np.packbits(scored.per_sample > 0.5).tobytes()).decode()
            content = {"n": scored.n, "holdout": digest, "right": bits}
            rows.append(CompactRow(kind=CompactKind.RIGHT, label=which, process=0, body=pack(content)))
    return rows


def paired_row(
    label: str,
    ratios: Iterable[PairedRatios],
    differences: Iterable[PairedDifference],
    noise: Mapping[str, float],
) -> CompactRow:
    """What the new engine and the one called `label` showed side by side, and how noisy the machine was meanwhile."""
    content = {
        "ratios": [paired.to_json() for paired in ratios],
        "differences": [paired.to_json() for paired in differences],
        "noise": dict(noise),
    }
    return CompactRow(kind=CompactKind.PAIRED, label=label, process=0, body=pack(content))


def curve_row(curve: Mapping[str, Any]) -> CompactRow | None:
    """The learning curve; None where no snapshot was scored. What is no number in it becomes null."""
    if not curve.get("points"):
        return None
    plain = json.loads(json.dumps(dict(curve), default=str), parse_constant=lambda _: None)
    return CompactRow(kind=CompactKind.CURVE, label="curve", process=0, body=pack(plain))


def _told(result: Mapping[str, Any], label: str) -> dict[str, Any]:
    """What a process noted that its numbers cannot be read without."""
    warmup = result["engines"].get(label, {}).get("warmup") or {}
    energy = result.get("energy") or {}
    idle = energy.get("idle") or {}
    return {
        "warmup_queries": warmup.get("queries"),
        "warmup_s": warmup.get("seconds"),
        "is_steady": warmup.get("is_steady"),
        "sensor": energy.get("source"),
        "sensor_reason": energy.get("reason"),
        "idle_w": idle["joules"] / idle["window_s"] if idle.get("window_s") else None,
        "notes": list(result["machine"]["notes"]),
        "suspect": str(result["machine"]["suspect"]),
    }


def _time_block(turns: Sequence[MeasuredBlock]) -> dict[str, Any]:
    latencies = np.concatenate([block.latencies_ns for block in turns])
    metered = [block.energy for block in turns if block.energy is not None]
    energy = {
        "joules": sum(one.joules for one in metered),
        "window_s": sum(one.window_s for one in metered),
        "items": sum(one.inferences for one in metered),
        "updates": sum(one.updates for one in metered),
    }
    return {
        **_histogram(latencies),
        "window_s": sum(block.window_s for block in turns),
        "items": sum(block.samples for block in turns),
        "cpu_s": sum(block.cpu_s for block in turns),
        "energy": energy if metered else None,
    }


def _served(run: ServerRun) -> dict[str, Any]:
    return {
        **_histogram(run.latencies_ns),
        "window_s": run.window_s,
        "items": run.answered,
        "cpu_s": None,
        "energy": None,
        "rate_per_s": run.rate_per_s,
        "batches": run.batches,
    }


def _histogram(latencies_ns: Any) -> dict[str, Any]:
    if not len(latencies_ns):
        return {"min": 0, "max": 0, "sum": 0, "bins": [], "counts": []}
    numbers = np.floor(np.log(np.maximum(latencies_ns, 1)) / math.log(BIN_RATIO)).astype(np.int64)
    bins, counts = np.unique(numbers, return_counts=True)
    return LogHistogram(
        counts=dict(zip(bins.tolist(), counts.tolist(), strict=True)),
        min_ns=int(latencies_ns.min()),
        max_ns=int(latencies_ns.max()),
        sum_ns=int(latencies_ns.sum()),
    ).to_json()

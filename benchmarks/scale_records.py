"""Retrains that nobody ran: records with cards, comparisons and compact evidence of the usual size, by their number."""

import math
import random
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from plaster_ops.domain.card import Card, Reading, Row, Unmeasured
from plaster_ops.domain.compact import CompactKind, CompactRow, pack
from plaster_ops.domain.histogram import LogHistogram
from plaster_ops.domain.metrics import CATALOGUE, E2E_P50_MS, Better, Letter, Scale
from plaster_ops.domain.run import RunRecord

FIRST = datetime(2025, 1, 1, tzinfo=UTC)

_VARIANTS = 8
"""Different cards of one level: what they say varies, what it costs to make them does not count here."""


@cache
def card_rows(is_slower: bool, variant: int) -> tuple[dict[str, Any], ...]:
    """The rows of one of the cards."""
    return tuple(card(60 if is_slower else 1, random.Random(variant)).to_json())


def card(index: int, source: random.Random) -> Card:
    """As a CPU without counters gives it: nothing of energy, p50 8 % slower from retrain 60 on, and 3 % of noise in all
    that is not counted exactly."""
    rows: list[Row] = []
    for place, metric in enumerate(CATALOGUE.values()):
        better = Better.HIGHER if metric.better is Better.DECLARED else None
        if metric.letter is Letter.ENERGY or (place % 4 == 3 and not metric.headline):
            rows.append(Unmeasured(metric=metric, reason="engine runs on the CPU, no RAPL, no NVML", better=better))
            continue
        value = (place + 1) * math.exp(source.gauss(0.0, 0.0 if metric.scale is Scale.EXACT else 0.03))
        value *= 1.08 if metric is E2E_P50_MS and index >= 60 else 1.0
        value = round(value) if metric.unit in ("count", "bytes") else value
        interval = None if metric.margin is None else (value * 0.97, value * 1.03)
        rows.append(Reading(metric=metric, value=value, ci95=interval, n=2000, better=better))
    return Card.of(rows)


def record(number: int, pipelines: int, project: Path) -> RunRecord:
    """The retrain of that number, from 0: pipelines take turns, one every fifteen minutes."""
    source, index = random.Random(number), number // pipelines + 1
    began = FIRST + timedelta(minutes=15 * number)
    uid = uuid.UUID(int=source.getrandbits(128)).hex
    promoted = index == 1 or source.random() < 0.5
    rows = card_rows(index >= 60, source.randrange(_VARIANTS))
    judged = [fields for fields in rows if CATALOGUE[fields["key"]].margin is not None and fields["value"] is not None]
    return RunRecord(
        uid=uid,
        pipeline=f"pipeline{number % pipelines:02d}",
        index=index,
        trigger="cron",
        slot=began.isoformat(),
        started_at=began.isoformat(timespec="milliseconds"),
        ended_at=(began + timedelta(minutes=4)).isoformat(timespec="milliseconds"),
        verdict="baseline" if index == 1 else "promoted" if promoted else "held",
        exit_code=0,
        reasons=("accuracy same, latency better",),
        fingerprint={"device": "AMD EPYC", "device_count": 1, "threads": 2, "input_shapes": [], "digest": "f" * 16},
        baseline={"index": index - 1, "id": uid, "which": "last", "how": "remeasured"} if index > 1 else None,
        card=rows,
        comparison=tuple(_compared(fields) for fields in judged) if index > 1 else (),
        phases={"wait_s": 0.0, "fit_s": 90.0, "measure_s": 60.0, "other_s": 0.1, "cycle_s": 240.0},
        engine={
            "backend": "openvino",
            "precision": "fp32",
            "decision": "refit",
            "tried": [{"ok": True, "build_s": 2.0}],
        },
        data={"source": "folder", "new_samples": 200, "absorbed_samples": 150, "newest_trained_at": began.timestamp()},
        start={"used": "warm", "why": "asked for"},
        datasets=({"name": "d", "context": "eval", "digest": "b" * 64, "source": "replay://d", "samples": 360},),
        curves=tuple({"key": "loss", "step": step, "value": 1.0 / step, "timestamp_ms": step} for step in range(1, 11)),
        params={"ref": "m:p", "start": "warm", "train.max_epochs": "20", "train.seed": "0", "train.devices": "1"},
        tags={"plaster.graph_digest": "a" * 64, "plaster.weights_digest": uid * 2, "plaster.version": "0.1.0"},
        artifacts=str(project / "mlruns" / "runs" / "kept" / uid),
        engine_folder=str(project / "mlruns" / "runs" / "pruned" / uid),
        learned=900 + index,
        seen=1260 + index,
    )


def _compared(fields: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: fields[name] for name in ("letter", "key", "unit", "better", "headline")}
    return shown | {
        "now": fields["value"],
        "then": fields["value"] * 1.01,
        "change_ratio": -0.01,
        "change_difference": None,
        "ci95": [-0.03, 0.01],
        "limit": 0.05,
        "verdict": "same",
        "reason": None,
        "p_value": 0.3,
        "p_adjusted": 0.6,
        "how": "remeasured",
    }


def evidence(number: int) -> tuple[CompactRow, ...]:
    """Three restarts of ten time blocks of 200 queries, single stream and batched; some 6 kB."""
    source = random.Random(number)
    told = {
        "warmup_queries": 100,
        "warmup_s": 0.5,
        "is_steady": True,
        "sensor": "none",
        "sensor_reason": "",
        "turns": 20,
    }
    told |= {"idle_w": None, "notes": [], "suspect": "", "concurrency": 1}
    rows = []
    for process in range(3):
        for kind, batch in (("single", 1), ("throughput", 8)):
            blocks = []
            for _ in range(10):
                taken = [round(80_000 * batch * source.lognormvariate(0, 0.15)) for _ in range(200)]
                seconds = sum(taken) * 1e-9
                plain = LogHistogram.of(taken).to_json()
                blocks.append({**plain, "window_s": seconds, "items": 200 * batch, "cpu_s": seconds, "energy": None})
            content = {**told, "batch": batch, "blocks": blocks}
            rows.append(CompactRow(kind=CompactKind.TIMED, label=kind, process=process, body=pack(content)))
    return tuple(rows)

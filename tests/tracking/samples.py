"""Records as a retrain would make them; every number is fixed."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from plaster_ops.domain.card import Card, Reading, Row, Unmeasured
from plaster_ops.domain.metrics import CATALOGUE, Better, Letter
from plaster_ops.domain.run import RunRecord
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_rows import RunRow

PID_OF_NOBODY = 2**22 + 17
"""Above the largest pid that Linux gives out."""


def make_card(value: float = 1.5) -> Card:
    rows: list[Row] = []
    for metric in CATALOGUE.values():
        better = Better.HIGHER if metric.better is Better.DECLARED else None
        if metric.letter is Letter.ENERGY:
            rows.append(Unmeasured(metric=metric, reason="no NVML, no RAPL", better=better))
        else:
            rows.append(Reading(metric=metric, value=value, ci95=(value - 0.5, value + 0.5), n=100, better=better))
    return Card.of(rows)


def make_record(
    uid: str, index: int = 1, *, pipeline: str = "digits", folder: Path | None = None, **changed: Any
) -> RunRecord:
    """A promoted retrain with curves, datasets, two candidates; with files where `folder` is given."""
    day = f"2026-11-{1 + index % 28:02d}"
    record = RunRecord(
        uid=uid,
        pipeline=pipeline,
        index=index,
        trigger="manual",
        started_at=f"{day}T02:00:00.000+00:00",
        ended_at=f"{day}T02:01:30.000+00:00",
        verdict="promoted",
        exit_code=0,
        reasons=("accuracy same, latency better",),
        fingerprint={"device": "Test CPU 9000", "device_count": 1, "threads": 2, "digest": "f" * 16},
        baseline={"index": index - 1, "how": "remeasured"} if index > 1 else None,
        card=tuple(make_card(1.0 + index / 100).to_json()),
        phases={"wait_s": 0.0, "fit_s": 9.0, "other_s": 0.1, "cycle_s": 90.0},
        engine={
            "backend": "openvino",
            "precision": "bf16",
            "tried": [
                {"backend": "openvino", "precision": "bf16", "ok": True, "reason": None, "build_s": 1.25},
                {"backend": "inductor", "precision": "int8", "ok": False, "reason": "not taken | here"},
            ],
        },
        datasets=(
            {"name": "digits", "context": "training", "digest": "a" * 64, "source": "replay://digits", "samples": 900},
            {"name": "digits", "context": "eval", "digest": "b" * 64, "source": "replay://digits", "samples": 360},
        ),
        curves=tuple(
            {"key": key, "step": step, "value": 1.0 / step, "timestamp_ms": 1_795_000_000_000 + step}
            for key in ("train/loss", "val_loss")
            for step in range(1, 21)
        ),
        params={"max_epochs": "20", "start": "warm"},
        tags={"git": "abc1234"},
        learned=900 + index,
        seen=1260 + index,
    )
    return replace(record if folder is None else with_files(record, folder), **changed)


def make_small_record(uid: str, index: int, folder: Path) -> RunRecord:
    """With one of everything and little of each, where many are recorded."""
    record = make_record(uid, index, folder=folder)
    headlines = tuple(row for row in record.card if row["letter"] in "LE" and row["headline"])
    return replace(record, card=headlines, curves=record.curves[:2])


def with_files(record: RunRecord, folder: Path) -> RunRecord:
    engine, artifacts = folder / "engine", folder / "artifacts"
    engine.mkdir(parents=True)
    artifacts.mkdir()
    (engine / "model.bin").write_bytes(b"\x00\x01" * 512)
    (engine / "manifest.json").write_text(json.dumps({"sha256": hashlib.sha256(record.uid.encode()).hexdigest()}))
    (artifacts / "compare.md").write_text("| L |\n")
    weights = folder / "weights.safetensors"
    weights.write_bytes(b"weights")
    return replace(record, engine_folder=str(engine), artifacts=str(artifacts), weights_file=str(weights))


def start(journal: Journal, pipeline: str = "digits", *, pid: int = PID_OF_NOBODY, host: str = "elsewhere") -> RunRow:
    return journal.start_run(
        pipeline,
        trigger="manual",
        slot=None,
        reference=f"pipelines.{pipeline}:pipeline",
        settings_json="{}",
        pid=pid,
        host=host,
        pid_started=None,
    )


def finish(journal: Journal, pipeline: str = "digits", folder: Path | None = None, **changed: Any) -> RunRow:
    """One whole retrain in the journal, its record waiting in the outbox."""
    row = start(journal, pipeline)
    assert row.index is not None
    place = None if folder is None else folder / row.uid
    assert journal.finish_run(row.uid, make_record(row.uid, row.index, pipeline=pipeline, folder=place, **changed))
    return journal.run(row.uid)

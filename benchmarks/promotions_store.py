"""A project full of finished runs with engines of a few bytes and real manifests, for `promotions.py`."""

import json
from pathlib import Path

from benchmarks.filled_journal import begin_run, held_record, write_settings
from plaster_ops.domain.card import Card, Reading
from plaster_ops.domain.metrics import E2E_P50_MS
from plaster_ops.engines import artifact
from plaster_ops.engines.artifact import Manifest
from plaster_ops.ports import Coverage, EngineSpec, TensorSpec
from plaster_ops.settings import Settings, load_settings
from plaster_ops.tracking.journal import Journal

NAME = "digits"


def make_project(folder: Path, runs: int) -> Settings:
    """So many finished runs; the first one is champion. MLflow has nothing of them yet."""
    folder.mkdir(parents=True)
    write_settings(folder, NAME)
    settings = load_settings(folder)
    with Journal.open(settings.memory) as journal:
        for _ in range(runs):
            _add_run(settings, journal)
        first = journal.find_run(NAME, "1")
        assert journal.promote(NAME, first.uid, expected=None, by="benchmark", reason="the first")
    return settings


def _add_run(settings: Settings, journal: Journal) -> None:
    row = begin_run(journal, NAME)
    place = settings.memory / "runs" / NAME / f"{row.index:05d}-{row.uid[:8]}"
    manifest = _write_engine(place / "engine", str(row.index))
    (place / "artifacts").mkdir()
    (place / "artifacts" / "gates.json").write_text(json.dumps([]))
    journal.remember_engine(row.uid, manifest.digest, place / "engine")
    record = held_record(
        row,
        Card.of([Reading(metric=E2E_P50_MS, value=1.0)]),
        reasons=("no gate failed",),
        fingerprint={"device": "benchmark", "digest": "0" * 16},
        gates={"against": None, "outcomes": []},
        artifacts=str(place / "artifacts"),
        engine_folder=str(place / "engine"),
        learned=row.index,
        seen=row.index,
    )
    assert journal.finish_run(row.uid, record)


def _write_engine(folder: Path, content: str) -> Manifest:
    folder.mkdir(parents=True)
    (folder / "model.bin").write_text(content)
    tensor = TensorSpec(name="x", dtype="float32", shape=(None, 3), ranges=((1, 8),))
    manifest = Manifest(
        spec=EngineSpec(backend="none", precision="fp32", device="cpu", inputs=(tensor,), batch=(1, 1, 8)),
        files=artifact.hash_files(folder),
        versions=(),
        build_s=0.1,
        coverage=Coverage(ops_total=1, ops_in_engine=1, flops_ratio=1.0, engines=1),
        effective_precision="fp32",
        weights_digest=content,
        graph_digest="g",
    )
    artifact.write_manifest(folder, manifest)
    return manifest

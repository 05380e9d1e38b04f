"""A project whose runs have tiny engines with real manifests, promoted through the real journal."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from plaster_ops.engines import artifact
from plaster_ops.engines.artifact import Manifest
from plaster_ops.ports import Coverage, EngineSpec, TensorSpec
from plaster_ops.settings import Settings, load_settings
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_rows import Promotion, RunRow
from tests.tracking.samples import make_small_record, start

BACKEND = "doubling:Backend"
DOUBLING = """
from plaster_ops.ports import Capabilities

class Engine:
    def __init__(self, factor): self.factor = factor
    def run(self, *inputs): return tuple(tensor * self.factor for tensor in inputs)
    def effective_precision(self): return "fp32"
    def close(self): pass

class Backend:
    name = "doubling"
    def probe(self): raise NotImplementedError
    def capabilities(self): return Capabilities(precisions=("fp32",), devices=("cpu",))
    def build(self, program, spec, folder, calibration): raise NotImplementedError
    def refit(self, engine, program, spec, folder): raise NotImplementedError
    def load(self, folder, spec): return Engine(float((folder / "model.bin").read_text()))
"""
"""A backend of the user's own: its engine multiplies by the number in its file."""


def make_project(folder: Path) -> Settings:
    """Settings, an empty journal, and the backend `doubling` in the project folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plaster.toml").write_text('[pipelines.digits]\nref = "m.digits:pipeline"\n')
    (folder / "doubling.py").write_text(DOUBLING)
    with Journal.open(folder / "mlruns"):
        return load_settings(folder)


def write_engine(folder: Path, content: str = "2") -> Manifest:
    """An engine folder with a manifest of its files; returns the manifest."""
    folder.mkdir(parents=True)
    (folder / "model.bin").write_text(content)
    manifest = Manifest(
        spec=EngineSpec(
            backend=BACKEND,
            precision="fp32",
            device="cpu",
            inputs=(TensorSpec(name="x", dtype="float32", shape=(None, 3), ranges=((1, 8),)),),
            batch=(1, 1, 8),
        ),
        files=artifact.hash_files(folder),
        versions=(),
        build_s=0.1,
        coverage=Coverage(ops_total=1, ops_in_engine=1, flops_ratio=1.0, engines=1),
        effective_precision="fp32",
        weights_digest="w",
        graph_digest="g",
        outputs=("y",),
    )
    artifact.write_manifest(folder, manifest)
    return manifest


def outcome(state: str, name: str = "accuracy", *, required: bool = False) -> dict[str, Any]:
    """A row of the recorded gates."""
    return {"gate": name, "state": state, "required": required, "sentence": f"{name} gate {state}: so it was"}


def gates(against: RunRow | None, *outcomes: dict[str, Any]) -> dict[str, Any]:
    """The section `gates` of a record."""
    who = None if against is None else {"index": against.index, "uid": against.uid}
    return {"against": who, "outcomes": list(outcomes)}


def add_run(
    settings: Settings,
    *,
    against: RunRow | None = None,
    promoted: bool = False,
    outcomes: tuple[dict[str, Any], ...] = (outcome("passed"),),
    **changed: Any,
) -> RunRow:
    """A finished run with an engine; `promoted` in place of `against`, as a retrain would."""
    with Journal.open(settings.memory) as journal:
        row = start(journal)
        assert row.index is not None
        place = settings.memory / "runs" / "digits" / f"{row.index:04d}-{row.uid[:8]}"
        record = make_small_record(row.uid, row.index, place)
        engine = place / "engine-doubling-fp32"
        manifest = write_engine(engine)
        record = replace(
            record,
            verdict="promoted" if promoted else "held",
            engine_folder=str(engine),
            gates=gates(against, *outcomes),
            baseline=None if against is None else {"index": against.index, "id": against.uid, "how": "remeasured"},
            **changed,
        )
        journal.remember_engine(row.uid, manifest.digest, engine)
        swap = Promotion(expected=None if against is None else against.uid, by="retrain", reason="no gate failed")
        assert journal.finish_run(row.uid, record, swap if promoted else None)
        return journal.run(row.uid)


def champions(settings: Settings, count: int) -> list[RunRow]:
    """So many runs, each promoted in place of the one before."""
    rows: list[RunRow] = []
    for _ in range(count):
        rows.append(add_run(settings, against=rows[-1] if rows else None, promoted=True))
    return rows


def ledger(settings: Settings) -> list[dict[str, Any]]:
    """The lines of the ledger."""
    with Journal.open(settings.memory) as journal:
        lines: list[dict[str, Any]] = json.loads(json.dumps(journal.ledger_lines("digits")))
        return lines

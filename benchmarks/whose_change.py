"""Whose is a change of speed? Two real engines on two days that differ in one known thing.

`python benchmarks/whose_change.py` builds two OpenVINO engines of six convolutions and measures both as stage `measure`
does (profile smoke, two processes), and then again: unchanged; with one thread instead of two; with a test double that
holds both up by half of each call; and with only the new one held up. Prints what `assessment.environment` would say.
About two minutes on an idle machine.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from plaster_ops.domain.attribution import attribute, measured_again
from plaster_ops.domain.card import Card
from plaster_ops.domain.changes import Change, ChangeKind
from plaster_ops.domain.compare import compare_cards
from plaster_ops.engines import registry
from plaster_ops.engines.export import export_program
from plaster_ops.engines.inputs import input_specs
from plaster_ops.flow.sidebyside import card_then, paired_evidence
from plaster_ops.flow.stages import measure
from plaster_ops.flow.stages.build import build_folder
from plaster_ops.plaster.evidence import Evidence
from plaster_ops.plaster.raw_files import load_evidence
from plaster_ops.ports import EngineSpec
from tests.engines.doubles import SpinningEngine

SHAPE = (64, 24, 24)
NOTHING: dict[str, Any] = {"better": "higher", "sets": {"rolling": None, "golden": None}, "parity": {}}
THREADS = Change(kind=ChangeKind.ENVIRONMENT, name="threads", then="2", now="1")


def build(folder: Path) -> None:
    """Two engines of one module, for two threads."""
    torch.manual_seed(1)
    layers = [layer for _ in range(6) for layer in (torch.nn.Conv2d(64, 64, 3, padding=1), torch.nn.ReLU())]
    module = torch.nn.Sequential(*layers).eval()
    batches = [(torch.randn(2, *SHAPE),), (torch.randn(3, *SHAPE),)]
    inputs = input_specs(batches, names=["input"])
    program = export_program(module, batches[0][0], inputs, 8)
    for label in ("now", "then"):
        wanted = EngineSpec(
            backend="openvino", precision="fp32", device="cpu", inputs=inputs, batch=(1, 8, 8), threads=2
        )
        build_folder(program, wanted, folder / label, "g", "w")
    save_file({"g0/in0": torch.randn(32, *SHAPE)}, folder / "samples.safetensors")


def day(folder: Path, name: str, threads: int, slow: dict[str, float]) -> Evidence:
    """One measurement of both engines, each held up by a share of its calls."""
    load = registry.load_engine

    def held_up(engine: Path, *, threads: int | None = None) -> SpinningEngine:
        return SpinningEngine(load(engine, threads=threads), slow.get(engine.name, 0.0))

    registry.load_engine = held_up  # type: ignore[assignment]
    folders, first = [], {}
    for process in range(2):
        place = folder / f"{name}{process}"
        place.mkdir()
        spec = {
            "engines": [{"label": label, "folder": str(folder / label)} for label in ("now", "then")],
            "samples": str(folder / "samples.safetensors"),
            "profile": "smoke",
            "process": process,
            "slo_ms": 100.0,
            "batches": [1, 2, 4],
            "threads": threads,
            "device": "cpu",
            "pin": True,
            "eager": None,
            **{found: first.get(found) for found in ("chosen_batches", "fastest_batches", "cpus")},
        }
        result = measure.run(spec, place, lambda _: None)
        (place / "result.json").write_text(json.dumps(result), encoding="utf-8")
        first = first or result
        folders.append(place)
    registry.load_engine = load
    return load_evidence(folders)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="plaster-whose-") as name:
        folder, nothing = Path(name), Card(())
        build(folder)
        logged = card_then(nothing, "then", day(folder, "logged", 2, {}), NOTHING)
        kinds: dict[str, tuple[int, dict[str, float]]] = {
            "unchanged": (2, {}),
            "1 thread for 2": (1, {}),
            "both held up by half": (2, {"now": 0.5, "then": 0.5}),
            "the new one held up by half": (2, {"now": 0.5}),
        }
        for kind, (threads, slow) in kinds.items():
            today = day(folder, kind.replace(" ", "-"), threads, slow)
            now, then = (card_then(nothing, label, today, NOTHING) for label in ("now", "then"))
            rows = compare_cards(now, then, paired_evidence(today, NOTHING, "then", {}, {}))
            again = measured_again(logged, then, margins={}, history={})
            found = attribute(again, rows, then="run #1", changes=[THREADS] if threads == 1 else [])
            print(f"{kind}: {found.cause}\n  {found.sentence}", flush=True)


if __name__ == "__main__":
    main()

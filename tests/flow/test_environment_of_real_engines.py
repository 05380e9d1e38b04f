"""Real torch engines on two days: what slows both is the environment's, what slows the new one is the model's."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from plaster_ops.domain.attribution import Attribution, Cause, attribute, measured_again
from plaster_ops.domain.card import Card
from plaster_ops.domain.changes import Change, ChangeKind
from plaster_ops.domain.compare import compare_cards
from plaster_ops.engines import artifact, registry
from plaster_ops.flow.sidebyside import card_then, paired_evidence
from plaster_ops.flow.stages import measure
from plaster_ops.plaster import profiles
from plaster_ops.plaster.evidence import Evidence
from plaster_ops.plaster.raw_files import load_evidence
from tests.engines.doubles import SpinningEngine
from tests.plaster.test_measure_stage import QUICK, TorchEngine

Day = Callable[..., Evidence]
NOTHING: dict[str, Any] = {"better": "higher", "sets": {"rolling": None, "golden": None}, "parity": {}}
GOVERNOR = Change(kind=ChangeKind.ENVIRONMENT, name="cpu_governor", then="performance", now="powersave")


@pytest.fixture
def day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Day]:
    """One measurement of both engines in two processes; `slow`: by how much of a call each of them is held up."""
    monkeypatch.setitem(profiles.PROFILES, "quick", QUICK)
    manifest = SimpleNamespace(spec=SimpleNamespace(backend="eager", device="cpu"))
    monkeypatch.setattr(artifact, "read_manifest", lambda _: manifest)
    threads = torch.get_num_threads()
    samples = tmp_path / "samples.safetensors"
    save_file({"g0/in0": torch.randn(20, 6)}, samples)

    def take(name: str, **slow: float) -> Evidence:
        def load(folder: Path, *, threads: int | None = None) -> SpinningEngine:
            return SpinningEngine(TorchEngine(folder, threads=threads), slow.get(folder.name, 0.0))

        monkeypatch.setattr(registry, "load_engine", load)
        folders = []
        for process in range(2):
            folder = tmp_path / f"{name}{process}"
            folder.mkdir()
            spec = {
                "engines": [{"label": label, "folder": str(tmp_path / label)} for label in ("now", "then")],
                "samples": str(samples),
                "profile": "quick",
                "process": process,
                "slo_ms": 1000.0,
                "batches": [1, 2],
                "threads": 1,
                "device": "cpu",
                "chosen_batches": {"now": 2, "then": 2},
                "eager": None,
            }
            result = measure.run(spec, folder, lambda _: None)
            (folder / "result.json").write_text(json.dumps(result))
            folders.append(folder)
        return load_evidence(folders)

    yield take
    torch.set_num_threads(threads)


def whose(logged: Evidence, today: Evidence) -> Attribution:
    nothing = Card(())
    card_now, card_before = (card_then(nothing, label, today, NOTHING) for label in ("now", "then"))
    rows = compare_cards(card_now, card_before, paired_evidence(today, NOTHING, "then", {}, {}))
    again = measured_again(card_then(nothing, "then", logged, NOTHING), card_before, margins={}, history={})
    return attribute(again, rows, then="run #1", changes=[GOVERNOR])


def test_what_holds_up_both_engines_is_the_environments_and_not_the_models(day: Day) -> None:
    found = whose(day("logged"), day("today", now=4.0, then=4.0))
    assert found.cause is Cause.ENVIRONMENT, found.sentence
    assert "slower than it was logged" in found.sentence
    assert "that is the environment's (cpu_governor performance -> powersave), not the model's" in found.sentence


def test_what_holds_up_the_new_engine_alone_is_the_models(day: Day) -> None:
    found = whose(day("logged"), day("today", now=4.0))
    assert found.cause in (Cause.MODEL, Cause.BOTH), found.sentence
    assert "that is the model's" in found.sentence or "of the new engine is the model's" in found.sentence

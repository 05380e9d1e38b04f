"""Real fits and the real scores of them: a warm start whose weights are spent loses, one that is sound does not."""

import sys
from pathlib import Path
from typing import Any

import pytest

from plaster_ops.flow.loading import load_pipeline
from plaster_ops.flow.stages import scores
from plaster_ops.flow.start import judge_race
from plaster_ops.training.messages import FitSpec
from plaster_ops.training.worker import run_fit

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's advice about loaders and loggers
HERE = Path(__file__).parent
REFERENCE = "rotting_module:pipeline"
FIRST = {"learned": None, "seen": None, "cut": 300, "end": 400}
TURNED = {"learned": 300, "seen": 400, "cut": 800, "end": 900}


@pytest.fixture
def fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setenv("PL_SEED_WORKERS", "0")

    def fit(name: str, window: dict[str, Any], warm: str | None = None, **changes: Any) -> str:
        folder = tmp_path / name
        folder.mkdir()
        values: dict[str, Any] = {"max_epochs": 8, "seed": 1, "accelerator": "cpu", "devices": 1, "threads": 1}
        spec = FitSpec(
            reference=REFERENCE,
            project=str(HERE),
            window=window,
            checkpoint_folder=str(folder / "checkpoints"),
            start="warm" if warm else "scratch",
            warm_weights=warm,
            **(values | changes),
        )
        pipeline = load_pipeline(REFERENCE, HERE)
        return str(run_fit(pipeline, spec, folder=folder, emit=lambda _event: None)["weights_file"])

    return fit


def scored(window: dict[str, Any], tmp_path: Path, **more: Any) -> dict[str, Any]:
    spec = {"reference": REFERENCE, "project": str(HERE), "window": window, "max_batch": 64, "snapshots": None} | more
    return scores.run(spec, tmp_path, lambda _event: None)


@pytest.mark.parametrize(("sound", "won"), [(False, "scratch"), (True, "warm")])
def test_scratch_wins_where_the_champions_weights_are_spent_and_not_where_they_are_sound(
    fitted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sound: bool, won: str
) -> None:
    if sound:
        monkeypatch.setenv("PLASTER_TEST_SOUND", "1")
    champion = fitted("champion", FIRST)
    files = {"scratch": fitted("scratch", TURNED), "warm": fitted("warm", TURNED, champion)}
    weights = [{"label": label, "file": file} for label, file in files.items()]
    found = scored(TURNED, tmp_path, weights=weights, pair=True)
    assert found["n"] == 100
    used, told = judge_race(found, 0.03)
    assert used == won, told


def test_snapshots_are_scored_in_the_order_of_their_epochs_and_the_last_weights_close_the_curve(
    fitted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLASTER_TEST_SOUND", "1")
    folder = tmp_path / "snapshots"
    last = fitted("fit", FIRST, max_epochs=3, snapshots=9, snapshot_folder=str(folder))
    named = {"label": "last", "file": last, "epoch": 3, "step": 57, "samples": 900, "fit_s": 1.0}
    found = scored(FIRST, tmp_path, weights=[named], snapshots=str(folder))
    assert [(point["label"], point["epoch"]) for point in found["points"]] == [
        ("epoch 1", 1),
        ("epoch 2", 2),
        ("last", 3),
    ]
    values = [point["value"] for point in found["points"]]
    assert values[0] < values[-1] > 0.9
    alone = scored(FIRST, tmp_path, weights=[named])
    assert alone["points"][0]["value"] == values[-1]


def test_weights_that_cannot_be_scored_are_a_point_with_a_reason(fitted: Any, tmp_path: Path) -> None:
    good = fitted("fit", FIRST, max_epochs=1)
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    weights = [{"label": "scratch", "file": str(tmp_path / "bad.safetensors")}, {"label": "warm", "file": good}]
    found = scored(FIRST, tmp_path, weights=weights, pair=True)
    assert found["scores"]["scratch"]["value"] is None
    assert "cannot be read" in found["scores"]["scratch"]["reason"]
    assert found["paired"] == {"warm": None}
    assert judge_race(found, 0.005)[0] == "warm"

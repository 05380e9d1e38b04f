"""Snapshots of a fit: which epochs, when their weights were made, what they cost, and what a resume does with them."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from plaster_ops.training import snapshots
from plaster_ops.training.fitlog import FitLog
from plaster_ops.training.snapshots import Snapshots, read_snapshots
from plaster_ops.training.worker import run_fit
from tests.conftest import SteppedClock
from tests.training.conftest import PROJECT, SpecMaker


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "snapshots"


class Fit:
    """A fit of one-second epochs on a stepped clock, as its callback sees it. `writing_s`: what a snapshot takes."""

    def __init__(self, spec: Any, writing_s: float = 0.0) -> None:
        self.clock = SteppedClock()
        self.log = FitLog(self.clock)
        self.model = torch.nn.Linear(2, 1)
        self.trainer = SimpleNamespace(is_global_zero=True, current_epoch=0, global_step=0)
        self.writing_s = writing_s
        self.kept = Snapshots(self.log, spec, self._now_s)
        self._ends = False

    def _now_s(self) -> float:
        if self._ends:
            self.clock.step(self.writing_s)
        self._ends = not self._ends
        return self.clock.monotonic_s()

    def run(self, epochs: int, first: int = 0) -> list[int]:
        self.trainer.current_epoch = first
        self.log.start()
        self.kept.on_train_start(self.trainer, self.model)
        for epoch in range(first, epochs):
            self.trainer.current_epoch, self.trainer.global_step = epoch, 10 * (epoch + 1)
            self.clock.step(1.0)
            self.log.step()
            self.clock.step(0.25)
            self.kept.on_train_epoch_end(self.trainer, self.model)
        return [point["epoch"] for point in read_snapshots(self.kept._folder)]


def made(make_spec: SpecMaker, folder: Path, most: int, share: float | None = None) -> Any:
    return make_spec(snapshots=most, snapshot_folder=str(folder), snapshot_share=share)


@pytest.mark.parametrize(
    ("most", "epochs", "kept"),
    [(20, 3, [1, 2, 3]), (4, 5, [2, 4]), (4, 10, [4, 8]), (4, 8, [2, 4, 6, 8]), (1, 5, [4]), (3, 7, [2, 4, 6])],
)
def test_past_the_most_every_second_one_goes_and_spacing_stays_even(
    make_spec: SpecMaker, folder: Path, most: int, epochs: int, kept: list[int]
) -> None:
    assert Fit(made(make_spec, folder, most)).run(epochs) == kept


def test_a_snapshot_is_dated_by_its_last_step_and_not_by_its_validation(make_spec: SpecMaker, folder: Path) -> None:
    Fit(made(make_spec, folder, 5)).run(2)
    assert [(point["fit_s"], point["step"]) for point in read_snapshots(folder)] == [(1.0, 10), (2.25, 20)]


def test_under_auto_an_epoch_is_passed_over_where_writing_would_cost_more_than_its_share(
    make_spec: SpecMaker, folder: Path
) -> None:
    """0.1 s of writing may be 2 % of 5 s and more; the first one is written to find out what one costs."""
    fit = Fit(made(make_spec, folder, 20, 0.02), writing_s=0.1)
    kept = fit.run(20)
    assert kept[0] == 1
    assert fit.kept.seconds <= 0.02 * fit.log.fit_s
    assert 3 <= len(kept) <= 6
    assert Fit(made(make_spec, folder / "all", 20), writing_s=0.1).run(20) == list(range(1, 21))


def test_a_resumed_fit_forgets_the_epochs_that_it_trains_again_and_keeps_its_spacing(
    make_spec: SpecMaker, folder: Path
) -> None:
    spec = made(make_spec, folder, 4)
    assert Fit(spec).run(8) == [2, 4, 6, 8]
    (folder / "epoch-000009.safetensors.tmp").touch()
    (folder / "epoch-000001.safetensors").write_bytes(b"cut off")
    again = Fit(spec)
    assert again.run(4, first=4) == [2, 4]
    assert again.run(7, first=4) == [2, 4, 6]
    assert not list(folder.glob("*.tmp"))


def test_weights_that_are_too_large_are_kept_out_with_a_reason(
    make_spec: SpecMaker, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "LARGEST_BYTES", 11)
    fit = Fit(made(make_spec, folder, 4))
    assert fit.run(3) == []
    assert fit.kept.reason == "the weights have 12 bytes, more than 11"


def test_a_disk_that_is_nearly_full_is_left_alone(
    make_spec: SpecMaker, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots.shutil, "disk_usage", lambda _path: SimpleNamespace(free=90))
    fit = Fit(made(make_spec, folder, 4))
    assert fit.run(3) == []
    assert fit.kept.reason == "4 snapshots of 12 bytes are too many for 90 free bytes"


def test_weights_that_cannot_be_written_end_the_snapshots_and_not_the_fit(make_spec: SpecMaker, folder: Path) -> None:
    fit = Fit(made(make_spec, folder, 4))
    with torch.no_grad():
        fit.model.weight.fill_(float("nan"))
    assert fit.run(3) == []
    assert fit.kept.reason.startswith("snapshots ended at epoch 1: TrainingFailed: the trained weights are not finite")


@pytest.mark.filterwarnings("ignore")  # Lightning's advice about loaders and loggers
def test_a_real_fit_leaves_the_weights_of_its_epochs(
    make_spec: SpecMaker, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(PROJECT), *sys.path])
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setenv("PL_SEED_WORKERS", "0")
    (tmp_path / "rank0").mkdir()
    tiny = importlib.import_module("tiny").Tiny("pytorch_lightning")
    result = run_fit(tiny, made(make_spec, folder, 9), folder=tmp_path / "rank0", emit=lambda _event: None)
    points = read_snapshots(folder)
    assert [(p["epoch"], p["step"], p["samples"]) for p in points] == [(n, 7 * n, 101 * n) for n in (1, 2, 3, 4)]
    assert [one["fit_s"] for one in points] == sorted(one["fit_s"] for one in points)
    assert 0 < points[-1]["fit_s"] <= result["weights_s"] <= result["fit_s"]
    last, final = load_file(points[-1]["file"]), load_file(result["weights_file"])
    assert all(torch.equal(last[name], final[name]) for name in final)
    assert 0 < result["snapshots_s"] < result["fit_s"]

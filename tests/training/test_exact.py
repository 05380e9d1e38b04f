"""A fit that was cut off anywhere and resumed ends in the very weights of the fit that was not."""

import importlib
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from plaster_ops.training.resume import newest_complete
from plaster_ops.training.weights import save_weights
from plaster_ops.training.worker import run_fit
from tests.training.conftest import PROJECT, SpecMaker

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's advice about loaders and loggers
PL, LI = "pytorch_lightning", "lightning.pytorch"
NEVER, ALWAYS = 1e9, 1e-9


class Cut(Exception):
    """The fit ends here, as if it had been killed."""


@pytest.fixture
def noisy(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [str(PROJECT), *sys.path])
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setenv("PL_SEED_WORKERS", "0")
    return importlib.import_module("noisy").Noisy


def run(pipeline: Any, spec: Any, folder: Path, cut_at: tuple[int, int] | None = None) -> dict[str, Any]:
    """The fit's result; with `cut_at` (epochs, batches) it raises `Cut` once that checkpoint is there."""

    def tell(event: Any) -> None:
        if event["event"] == "checkpoint" and (event["epoch"], event["batch"]) == cut_at:
            raise Cut

    folder.mkdir()
    return run_fit(pipeline, spec, folder=folder, emit=tell)


def resumed(pipeline: Any, spec: Any, tmp_path: Path, cut_at: tuple[int, int]) -> dict[str, Any]:
    """The result of that fit after it was cut off there and resumed."""
    shutil.rmtree(spec.checkpoint_folder, ignore_errors=True)
    place = tmp_path / "-".join(map(str, cut_at))
    with pytest.raises(Cut):
        run(pipeline, replace(spec, checkpoint_every_s=ALWAYS if cut_at[1] else NEVER), place, cut_at)
    newest = newest_complete(Path(spec.checkpoint_folder), spec.fit_id())
    assert newest is not None
    assert (newest.epoch, newest.batch) == cut_at
    torch.manual_seed(123)
    return run(pipeline, replace(spec, resume_from=str(newest.path)), place.with_suffix(".again"))


@pytest.mark.parametrize("package", [PL, LI])
def test_checkpoints_after_every_step_change_nothing_of_a_plain_lightning_fit(
    noisy: Any, make_spec: SpecMaker, tmp_path: Path, package: str
) -> None:
    lightning = importlib.import_module(package)
    pipeline = noisy(package)
    torch.set_num_threads(1)
    lightning.seed_everything(0, workers=True)
    model = pipeline.model()
    lightning.seed_everything(0, workers=True)
    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, num_sanity_val_steps=0
    )
    trainer.fit(model, datamodule=pipeline.data(None))
    plain = save_weights(model, tmp_path / "plain.safetensors")
    kept = run(pipeline, make_spec(max_epochs=2, checkpoint_every_s=ALWAYS), tmp_path / "kept")
    assert kept["weights_digest"] == plain


@pytest.mark.parametrize(
    ("how", "words"),
    [("stream", "iterable dataset without a state"), ("by_hand", "optimises by hand")],
)
def test_a_fit_that_cannot_go_on_inside_an_epoch_says_why_and_is_kept_at_its_ends(
    noisy: Any, make_spec: SpecMaker, tmp_path: Path, how: str, words: str
) -> None:
    notes: list[str] = []
    kept: list[Any] = []

    def tell(event: Any) -> None:
        notes.extend([event["text"]] if event["event"] == "note" else [])
        kept.extend([(event["epoch"], event["batch"])] if event["event"] == "checkpoint" else [])

    (tmp_path / "fit").mkdir()
    spec = make_spec(max_epochs=2, checkpoint_every_s=ALWAYS)
    result = run_fit(noisy(how=how), spec, folder=tmp_path / "fit", emit=tell)
    assert kept == [(1, 0), (2, 0)]
    assert words in notes[0]
    assert words in result["inside_reason"]


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "shuffled": ("", {}),
    "workers": ("workers", {}),
    "workers that are kept": ("workers kept", {}),
    "a sampler of the user's": ("sampler", {}),
    "a generator of the loader's own": ("generator", {}),
    "gathered gradients": ("", {"accumulate_grad_batches": 3}),
    "validation inside epochs": ("", {"val_check_interval": 4}),
    "a plan that looks at the validation": ("plateau", {}),
    "a plan that looks at the epoch's loss": ("plateau train", {}),
    "early stopping": ("stop", {}),
    "weights averaged": ("swa", {}),
    "a part that thaws": ("thaw", {}),
    "a moving average of weights": ("ema", {}),
    "a limit on steps": ("", {"max_steps": 45}),
}


CUTS = {
    "shuffled": ((2, 0), (0, 6), (3, 6), (4, 0)),
    "workers that are kept": ((0, 6), (2, 6)),
    "a generator of the loader's own": ((2, 0), (2, 6)),
    "a plan that looks at the epoch's loss": ((2, 6),),
    "early stopping": ((1, 6), (2, 0)),
    "weights averaged": ((3, 0), (2, 6)),
    "a limit on steps": ((2, 0), (2, 6)),
}
"""Epochs and batches after which the fit is cut off."""


_ALONE = "PLASTER_TEST_ALONE"


def test_loading_workers_are_no_hindrance() -> None:
    """In a process that no other test was in: loading workers are forked, and threads are not."""
    name = f"{__file__}::test_weights_after_a_resume_are_those_of_the_undisturbed_fit"
    command = [sys.executable, "-m", "pytest", name, "-k", "workers", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    own = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    ended = subprocess.run(command, env=own | {_ALONE: "1"}, cwd=PROJECT.parents[2], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout
    assert "2 passed" in ended.stdout


@pytest.mark.parametrize("case", [case for case in CASES if "workers" not in case or _ALONE in os.environ])
def test_weights_after_a_resume_are_those_of_the_undisturbed_fit(
    noisy: Any, make_spec: SpecMaker, tmp_path: Path, case: str
) -> None:
    how, trainer = CASES[case]
    spec = make_spec(max_epochs=4, trainer=trainer, checkpoint_every_s=NEVER)
    whole = run(noisy(how=how), spec, tmp_path / "whole")
    for cut_at in CUTS.get(case, ((2, 6),)):
        again = resumed(noisy(how=how), spec, tmp_path, cut_at)
        same = ("weights_digest", "metrics", "steps", "epochs", "samples_seen", "samples_learned")
        assert {key: again[key] for key in same} == {key: whole[key] for key in same}, cut_at

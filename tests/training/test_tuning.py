"""Partial fine-tuning of a warm start: what trains, what stays to the last bit, and what a wrong pattern says."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from plaster_ops.errors import UsageError
from plaster_ops.processes.gang import Limits
from plaster_ops.training.launch import fit
from plaster_ops.training.tuning import frozen_modules, trained_share, tune_only
from plaster_ops.training.weights import save_weights
from plaster_ops.training.worker import run_fit
from tests.training.conftest import PROJECT, SpecMaker

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's advice about loaders and loggers


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [str(PROJECT), *sys.path])
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setenv("PL_SEED_WORKERS", "0")
    return importlib.import_module("parts")


@pytest.fixture
def champion(parts: Any, tmp_path: Path) -> Path:
    torch.manual_seed(3)
    save_weights(parts.Parts(), tmp_path / "champion.safetensors")
    return tmp_path / "champion.safetensors"


def warm(make_spec: SpecMaker, champion: Path, **changes: Any) -> Any:
    return make_spec(reference="parts:plain", start="warm", warm_weights=str(champion), **{"max_epochs": 2, **changes})


def changed(before: Path, after: str) -> set[str]:
    old, new = load_file(str(before)), load_file(after)
    return {name for name in old if not torch.equal(old[name], new[name])}


def train(pipeline: Any, spec: Any, folder: Path) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    return run_fit(pipeline, spec, folder=folder, emit=lambda _event: None)


def test_only_what_the_patterns_name_trains_and_running_statistics_stay(
    parts: Any, make_spec: SpecMaker, champion: Path, tmp_path: Path
) -> None:
    pipeline = parts.TwoParts()
    result = train(pipeline, warm(make_spec, champion, tune=("head.*",)), tmp_path / "rank0")
    assert changed(champion, result["weights_file"]) == {"head.weight", "head.bias"}
    assert result["trained_ratio"] == pytest.approx(18 / (40 + 16 + 18))
    assert set(pipeline.models[-1].modes) == {False}


def test_without_patterns_everything_trains(parts: Any, make_spec: SpecMaker, champion: Path, tmp_path: Path) -> None:
    pipeline = parts.TwoParts()
    result = train(pipeline, warm(make_spec, champion), tmp_path / "rank0")
    assert {"body.0.weight", "body.1.running_mean", "head.weight"} <= changed(champion, result["weights_file"])
    assert result["trained_ratio"] == 1.0
    assert set(pipeline.models[-1].modes) == {True}


def test_a_start_from_scratch_trains_everything_whatever_the_patterns(
    parts: Any, make_spec: SpecMaker, champion: Path, tmp_path: Path
) -> None:
    spec = replace(warm(make_spec, champion, tune=("head.*",)), start="scratch")
    result = train(parts.TwoParts(), spec, tmp_path / "rank0")
    assert result["trained_ratio"] == 1.0


def test_a_resumed_fit_is_tuned_likewise(parts: Any, make_spec: SpecMaker, champion: Path, tmp_path: Path) -> None:
    from plaster_ops.training.resume import newest_complete

    spec = warm(make_spec, champion, tune=("head.*",), max_epochs=3)
    train(parts.TwoParts(), spec, tmp_path / "rank0")
    newest = newest_complete(Path(spec.checkpoint_folder), spec.fit_id())
    assert newest is not None
    earlier = newest.path.with_name("epoch-000002-00000000.ckpt")
    result = train(parts.TwoParts(), replace(spec, resume_from=str(earlier)), tmp_path / "again")
    assert result["resumed_from_epoch"] == 2
    assert changed(champion, result["weights_file"]) == {"head.weight", "head.bias"}


def test_two_ranks_train_a_part_of_a_model(make_spec: SpecMaker, champion: Path, tmp_path: Path) -> None:
    spec = warm(make_spec, champion, tune=("head.*",), devices=2, max_epochs=1)
    result = fit(
        spec, folder=tmp_path / "fit", limits=Limits(timeout_s=240, idle_s=120), on_event=lambda _: None
    ).result
    assert result.world_size == 2
    assert changed(champion, result.weights_file) == {"head.weight", "head.bias"}


def test_a_pattern_that_matches_nothing_names_the_nearest_parameters(parts: Any) -> None:
    with pytest.raises(UsageError, match=r"train.tune names 'haed\.\*', which matches no parameter") as caught:
        tune_only(parts.Parts(), ["body.*", "haed.*"])
    assert "head.bias" in caught.value.next_step


def test_frozen_modules_are_the_outermost_of_which_nothing_trains(parts: Any) -> None:
    model = parts.Parts()
    tune_only(model, ["head.*", "body.0.*"])
    assert frozen_modules(model) == [model.body[1]]
    tune_only(model, ["head.bias"])
    assert frozen_modules(model) == [model.body]
    assert trained_share(model) == pytest.approx(2 / 74)

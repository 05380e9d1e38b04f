"""One rank in this process: what it trains, counts, refuses."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from plaster_ops.errors import PipelineError, TrainingFailed, UsageError
from plaster_ops.training.resume import newest_complete
from plaster_ops.training.worker import run_fit
from tests.training.conftest import PROJECT, SpecMaker

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's advice about loaders and loggers
PL, LI = "pytorch_lightning", "lightning.pytorch"


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [str(PROJECT), *sys.path])
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setenv("PL_SEED_WORKERS", "0")
    return importlib.import_module("tiny").Tiny


def train(pipeline: Any, spec: Any, folder: Path, events: list[Any] | None = None) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    return run_fit(pipeline, spec, folder=folder, emit=(events if events is not None else []).append)


@pytest.mark.parametrize("package", [PL, LI])
def test_a_model_of_either_lightning_trains_and_is_counted(
    tiny: Any, make_spec: SpecMaker, tmp_path: Path, package: str
) -> None:
    events: list[Any] = []
    result = train(tiny(package), make_spec(max_epochs=3), tmp_path / "rank0", events)
    assert (result["lightning"], result["epochs"], result["steps"]) == (package, 3, 21)
    assert result["samples_seen"] == 3 * 101
    assert result["samples_learned"] == 3 * 101
    assert result["steady_samples"] == 303 - 16
    assert 0 < result["steady_s"] < result["fit_s"]
    assert result["train_samples_per_s"] == pytest.approx(287 / result["steady_s"])
    assert {point["key"] for point in result["curves"]} == {"fit/loss", "val_score"}
    assert [event["epoch"] for event in events if event["event"] == "epoch"] == [0, 1, 2]
    assert [event["event"] for event in events if event["event"].startswith("fit_")] == ["fit_started", "fit_ended"]
    assert events[-1]["event"] == "fit_ended"


@pytest.mark.parametrize(
    ("how", "processed", "learned", "words"),
    [
        ("drop_last", 96, 96, ""),
        ("sampled", 77, 77, ""),
        ("stream", 101, 101, ""),
        ("drawn", 101, None, "WeightedRandomSampler draws samples more than once an epoch"),
    ],
)
def test_what_is_processed_and_what_is_learned_are_counted_apart(
    tiny: Any, make_spec: SpecMaker, tmp_path: Path, how: str, processed: int, learned: int | None, words: str
) -> None:
    result = train(tiny(PL, how), make_spec(max_epochs=1), tmp_path / "rank0")
    assert (result["samples_seen"], result["samples_learned"], result["learned_reason"]) == (processed, learned, words)


def test_a_stream_of_unknown_length_is_rated_from_its_second_epoch_on(
    tiny: Any, make_spec: SpecMaker, tmp_path: Path
) -> None:
    one = train(tiny(PL, "stream"), make_spec(max_epochs=1), tmp_path / "one")
    assert (one["steady_samples"], one["train_samples_per_s"]) == (0, None)
    spec = make_spec(max_epochs=2, checkpoint_folder=str(tmp_path / "other"))
    two = train(tiny(PL, "stream"), spec, tmp_path / "two")
    assert two["steady_samples"] == 101
    assert two["train_samples_per_s"] == pytest.approx(101 / two["steady_s"])


def test_a_warm_start_begins_where_the_champion_ended(tiny: Any, make_spec: SpecMaker, tmp_path: Path) -> None:
    cold = train(tiny(PL), make_spec(max_epochs=6), tmp_path / "cold")
    warm_spec = make_spec(
        max_epochs=1, start="warm", warm_weights=cold["weights_file"], checkpoint_folder=str(tmp_path / "other")
    )
    warm = train(tiny(PL), warm_spec, tmp_path / "warm")
    first_cold = next(point["value"] for point in cold["curves"] if point["key"] == "val_score")
    assert warm["metrics"]["val_score"] > first_cold


def test_weights_that_do_not_fit_are_named_with_both_shapes(tiny: Any, make_spec: SpecMaker, tmp_path: Path) -> None:
    cold = train(tiny(PL), make_spec(max_epochs=1), tmp_path / "cold")
    spec = make_spec(start="warm", warm_weights=cold["weights_file"], checkpoint_folder=str(tmp_path / "other"))
    with pytest.raises(TrainingFailed, match=r"layer\.weight \(stored \[2, 4\], model \[3, 4\]\)") as caught:
        train(tiny(PL, width=3), spec, tmp_path / "warm")
    assert caught.value.next_step == 'retrain with --scratch, or set start = "auto"'


def test_a_fit_that_was_complete_but_for_its_weights_only_writes_them(
    tiny: Any, make_spec: SpecMaker, tmp_path: Path
) -> None:
    spec = make_spec(max_epochs=2)
    first = train(tiny(PL), spec, tmp_path / "first")
    newest = newest_complete(Path(spec.checkpoint_folder), spec.fit_id())
    assert newest is not None
    again = train(tiny(PL), replace(spec, resume_from=str(newest.path)), tmp_path / "again")
    assert again["weights_digest"] == first["weights_digest"]
    assert (again["resumed_from_epoch"], again["epochs"], again["samples_seen"]) == (2, 2, 202)
    assert again["fit_s"] == newest.fit_s
    assert again["rank_time_s"] == 0.0


def test_training_stops_at_the_target_and_says_when(tiny: Any, make_spec: SpecMaker, tmp_path: Path) -> None:
    result = train(tiny(PL), make_spec(max_epochs=50, target_score=0.9), tmp_path / "rank0")
    assert result["reached_target"] is True
    assert result["epochs"] < 50
    assert 0 < result["time_to_target_s"] < result["fit_s"]
    assert result["epochs_to_target"] == result["epochs"]
    assert result["samples_to_target"] == result["samples_learned"] == 101 * result["epochs"]


def test_a_target_whose_metric_is_not_logged_is_neither_reached_nor_missed(
    tiny: Any, make_spec: SpecMaker, tmp_path: Path
) -> None:
    spec = make_spec(max_epochs=1, target_score=0.9, target_metric="val_f1")
    result = train(tiny(PL), spec, tmp_path / "rank0")
    assert (result["reached_target"], result["time_to_target_s"]) == (None, None)


def test_a_loss_that_is_no_number_names_epoch_and_step(tiny: Any, make_spec: SpecMaker, tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match="the loss is nan at epoch 1, step 8"):
        train(tiny(PL, "nan"), make_spec(), tmp_path / "rank0")


def test_training_data_without_batches_is_a_failure(tiny: Any, make_spec: SpecMaker, tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match="no batches"):
        train(tiny(PL, count=0), make_spec(), tmp_path / "rank0")


def test_a_model_that_optimises_by_hand_has_no_loss_and_is_still_counted(
    tiny: Any, make_spec: SpecMaker, tmp_path: Path
) -> None:
    result = train(tiny(PL, "by_hand"), make_spec(max_epochs=2), tmp_path / "rank0")
    assert (result["last_loss"], result["samples_seen"], result["epochs"]) == (None, 202, 2)


def test_a_checkpoint_callback_of_the_model_does_not_displace_ours(
    tiny: Any, make_spec: SpecMaker, tmp_path: Path
) -> None:
    spec = make_spec(max_epochs=2)
    train(tiny(PL, "own_checkpoint"), spec, tmp_path / "rank0")
    newest = newest_complete(Path(spec.checkpoint_folder), spec.fit_id())
    assert newest is not None
    assert newest.epoch == 2
    assert list((tmp_path / "rank0").glob("checkpoints/*.ckpt"))


def test_trainer_options_pass_through(tiny: Any, make_spec: SpecMaker, tmp_path: Path) -> None:
    spec = make_spec(max_epochs=2, trainer={"limit_train_batches": 3, "gradient_clip_val": 0.5})
    result = train(tiny(PL), spec, tmp_path / "rank0")
    assert (result["steps"], result["samples_seen"]) == (6, 96)


@pytest.mark.parametrize(
    ("trainer", "words"),
    [
        ({"max_epochs": 3}, "which plaster-ops sets"),
        ({"gradient_clip": 1.0}, "does not know"),
        ({"strategy": "fsdp"}, "not supported"),
        ({"strategy": "ddp_spawn"}, "not supported"),
        ({"precision": "7-bit"}, "Lightning refuses"),
    ],
)
def test_a_trainer_option_that_cannot_be_is_named(
    tiny: Any, make_spec: SpecMaker, tmp_path: Path, trainer: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        train(tiny(PL), make_spec(trainer=trainer), tmp_path / "rank0")
    assert caught.value.next_step


def test_model_and_data_of_different_lightnings_are_refused(tiny: Any, make_spec: SpecMaker, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"no pytorch_lightning\.LightningDataModule"):
        train(tiny(PL, data_package=LI), make_spec(), tmp_path / "rank0")


def test_a_model_that_is_no_lightning_module_is_refused(tiny: Any, make_spec: SpecMaker, tmp_path: Path) -> None:
    pipeline = tiny(PL)
    pipeline.model = lambda: torch.nn.Linear(4, 2)
    with pytest.raises(PipelineError, match="no LightningModule"):
        train(pipeline, make_spec(), tmp_path / "rank0")


def test_batch_norms_that_are_synchronised_need_gpus_and_say_so_before_the_fit(
    tiny: Any, make_spec: SpecMaker, tmp_path: Path
) -> None:
    spec = make_spec(devices=2, trainer={"sync_batchnorm": True})
    with pytest.raises(UsageError, match="sync_batchnorm = true needs GPUs"):
        train(tiny(PL), spec, tmp_path / "rank0")
    alone = make_spec(max_epochs=1, trainer={"sync_batchnorm": True})
    assert train(tiny(PL), alone, tmp_path / "alone")["epochs"] == 1

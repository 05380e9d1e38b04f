"""One rank of a fit: the user's model and data, Lightning's Trainer, our callbacks. Runs in workers only."""

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from plaster_ops.domain.window import Window
from plaster_ops.errors import TrainingFailed
from plaster_ops.ports import EventSink, Pipeline, SystemClock
from plaster_ops.training.callbacks import BatchWatch, EpochEnd, bind, numbers
from plaster_ops.training.farewell import StopRequest
from plaster_ops.training.fitlog import FitLog, thin_out
from plaster_ops.training.hyperparameters import saved_arguments
from plaster_ops.training.keeper import Keeper
from plaster_ops.training.messages import WEIGHTS, FitResult, FitSpec
from plaster_ops.training.package import make_trainer, package_of, require_data_module
from plaster_ops.training.resume import Checkpoint, read_checkpoint
from plaster_ops.training.snapshots import Snapshots
from plaster_ops.training.stopping import PatienceCheck, patience_of, why_stopped
from plaster_ops.training.tuning import FrozenStay, trained_share, tune_only
from plaster_ops.training.weights import load_weights, save_weights


def run_fit(pipeline: Pipeline, spec: FitSpec, *, folder: Path, emit: EventSink) -> dict[str, Any]:
    """Trains and returns rank 0's `FitResult`, or what `_rank` gives on the others, as plain mappings.

    Rank 0 writes `weights.safetensors` in `folder`. The optimiser is fresh unless `spec.resume_from` names a complete
    checkpoint of this fit. Raises `TrainingFailed` (no batches, a loss or weights that are not finite, weights that
    do not fit), `PipelineError`, `UsageError`, and whatever the user's code raises.
    """
    if spec.threads is not None:
        torch.set_num_threads(spec.threads)
    _seed(spec.seed)
    model = pipeline.model()
    package = package_of(model)
    checkpoint = _checkpoint(spec)
    if checkpoint is None and spec.start == "warm" and spec.warm_weights is not None:
        load_weights(model, Path(spec.warm_weights))
    if spec.start == "warm" and spec.tune:
        tune_only(model, spec.tune)
    package.seed_everything(spec.seed, workers=True, verbose=False)
    data = pipeline.data(Window.from_json(spec.window))
    require_data_module(data, package)
    Path(spec.checkpoint_folder).mkdir(parents=True, exist_ok=True)
    log = FitLog(SystemClock(), before=checkpoint.log if checkpoint else None)
    keeper = bind(Keeper, package.Callback, log, emit, spec, StopRequest())
    callbacks = _callbacks(package, spec, log, emit, keeper)
    trainer = make_trainer(package, spec, callbacks, folder)
    trainer.fit(model, datamodule=data, ckpt_path=str(checkpoint.path) if checkpoint else None, weights_only=False)
    if trainer.global_step == 0:
        raise TrainingFailed(
            "no training step was made: the training data has no batches",
            "look at data(window): its train_dataloader is empty, or drop_last leaves nothing",
        )
    if not trainer.is_global_zero:
        return _rank(trainer, log)
    result = _result(model, trainer, log, spec, checkpoint, folder, package)
    return result | {"inside_reason": keeper.reason}


def _callbacks(package: Any, spec: FitSpec, log: FitLog, emit: EventSink, keeper: Any) -> list[Any]:
    """Ours, those that run last at the end. Checkpoints hold what comes before them, patience too."""
    checkpoint = package.callbacks.Checkpoint
    found = [keeper, bind(BatchWatch, package.Callback, log, emit)]
    if spec.start == "warm" and spec.tune:
        found.append(bind(FrozenStay, package.Callback))
    if spec.patience is not None:
        found += [bind(PatienceCheck, package.Callback, spec.target_metric), patience_of(package, spec)]
    found.append(bind(EpochEnd, checkpoint, log, emit, spec))
    if spec.snapshots and spec.snapshot_folder:
        found.append(bind(Snapshots, checkpoint, log, spec))
    return found


def _result(
    model: Any, trainer: Any, log: FitLog, spec: FitSpec, checkpoint: Checkpoint | None, folder: Path, package: Any
) -> dict[str, Any]:
    path = folder / WEIGHTS
    digest = save_weights(model, path)
    steady_s = log.steady_s
    rate = log.steady_samples / steady_s if log.steady_samples and steady_s > 0 else None
    reached = log.time_to_target_s is not None if spec.target_score is not None and log.target_seen else None
    result = FitResult(
        weights_file=str(path),
        weights_digest=digest,
        weights_bytes=path.stat().st_size,
        epochs=trainer.current_epoch,
        steps=trainer.global_step,
        fit_s=log.fit_s,
        samples_seen=log.samples,
        train_samples_per_s=rate,
        steady_s=steady_s,
        steady_samples=log.steady_samples,
        samples_learned=log.learned,
        learned_reason=log.learned_reason,
        step_samples=log.largest_batch * trainer.world_size * trainer.accumulate_grad_batches or None,
        epochs_to_target=log.epochs_to_target,
        samples_to_target=log.samples_to_target,
        device_name=torch.cuda.get_device_name() if spec.accelerator == "gpu" else "",
        last_loss=log.last_loss,
        time_to_target_s=log.time_to_target_s,
        reached_target=reached,
        resumed_from_epoch=checkpoint.epoch if checkpoint else None,
        world_size=trainer.world_size,
        accelerator=str(spec.accelerator),
        lightning=package.__name__,
        weights_s=log.weights_s,
        stopped=why_stopped(package, trainer, log),
        trained_ratio=trained_share(model),
        **_snapshots(trainer),
        metrics=numbers(trainer.callback_metrics),
        curves=tuple(thin_out(log.curves)),
        hyperparameters=saved_arguments(model, trainer.datamodule),
    )
    return {**result.to_json(), **_rank(trainer, log)}


def _snapshots(trainer: Any) -> dict[str, Any]:
    kept = next((one for one in trainer.callbacks if isinstance(one, Snapshots)), None)
    return {} if kept is None else {"snapshots_s": kept.seconds, "snapshots_reason": kept.reason}


def _rank(trainer: Any, log: FitLog) -> dict[str, Any]:
    """This rank's seconds of training, and those that it worked by itself (None on a GPU, which works unseen); its peak
    of GPU memory."""
    alone = trainer.strategy.root_device.type == "cpu"
    return {
        "rank_time_s": log.attempt_s,
        "rank_work_s": log.work_s if alone else None,
        "peak_gpu_bytes": _peak_gpu_bytes(),
    }


def _peak_gpu_bytes() -> int | None:
    """Most that torch's allocator held in tensors on this rank's GPU; None on a CPU."""
    if not (torch.cuda.is_available() and torch.cuda.is_initialized()):
        return None
    return int(torch.cuda.max_memory_allocated())


def _checkpoint(spec: FitSpec) -> Checkpoint | None:
    if spec.resume_from is None:
        return None
    found = read_checkpoint(Path(spec.resume_from), spec.fit_id())
    if found is None:
        raise TrainingFailed(f"checkpoint {spec.resume_from} is not complete", "retrain without --resume")
    return found


def _seed(seed: int) -> None:
    """Seeds what `model()` may draw from, before it is known which Lightning the model comes from."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    os.environ["PL_GLOBAL_SEED"] = str(seed)

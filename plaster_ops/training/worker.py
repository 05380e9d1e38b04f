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
from plaster_ops.training.fitlog import FitLog, thin_out
from plaster_ops.training.messages import WEIGHTS, FitResult, FitSpec
from plaster_ops.training.package import make_trainer, package_of, require_data_module
from plaster_ops.training.resume import Checkpoint, read_checkpoint
from plaster_ops.training.weights import load_weights, save_weights


def run_fit(pipeline: Pipeline, spec: FitSpec, *, folder: Path, emit: EventSink) -> dict[str, Any]:
    """Trains and returns rank 0's `FitResult`, or `{"rank_time_s"}` on the others, as plain mappings.

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
    package.seed_everything(spec.seed, workers=True, verbose=False)
    data = pipeline.data(Window.from_json(spec.window))
    require_data_module(data, package)
    Path(spec.checkpoint_folder).mkdir(parents=True, exist_ok=True)
    log = FitLog(SystemClock(), before=checkpoint.log if checkpoint else None)
    callbacks = [
        bind(BatchWatch, package.Callback, log, emit),
        bind(EpochEnd, package.callbacks.Checkpoint, log, emit, spec),
    ]
    trainer = make_trainer(package, spec, callbacks, folder)
    trainer.fit(model, datamodule=data, ckpt_path=str(checkpoint.path) if checkpoint else None, weights_only=False)
    if trainer.global_step == 0:
        raise TrainingFailed(
            "no training step was made: the training data has no batches",
            "look at data(window): its train_dataloader is empty, or drop_last leaves nothing",
        )
    if not trainer.is_global_zero:
        return {"rank_time_s": log.attempt_s}
    return _result(model, trainer, log, spec, checkpoint, folder, package.__name__)


def _result(
    model: Any, trainer: Any, log: FitLog, spec: FitSpec, checkpoint: Checkpoint | None, folder: Path, package: str
) -> dict[str, Any]:
    path = folder / WEIGHTS
    digest = save_weights(model, path)
    known_rate = log.samples is not None and log.fit_s > 0
    reached = log.time_to_target_s is not None if spec.target_score is not None and log.target_seen else None
    result = FitResult(
        weights_file=str(path),
        weights_digest=digest,
        weights_bytes=path.stat().st_size,
        epochs=trainer.current_epoch,
        steps=trainer.global_step,
        fit_s=log.fit_s,
        samples_seen=log.samples,
        train_samples_per_s=(log.samples or 0) / log.fit_s if known_rate else None,
        last_loss=log.last_loss,
        time_to_target_s=log.time_to_target_s,
        reached_target=reached,
        resumed_from_epoch=checkpoint.epoch if checkpoint else None,
        world_size=trainer.world_size,
        accelerator=str(spec.accelerator),
        lightning=package,
        metrics=numbers(trainer.callback_metrics),
        curves=tuple(thin_out(log.curves)),
    )
    return {**result.to_json(), "rank_time_s": log.attempt_s}


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

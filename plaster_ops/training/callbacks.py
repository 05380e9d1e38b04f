# ruff: noqa: ARG002  (Lightning fixes the signatures of its hooks)
"""Our two callbacks: one looks at every batch, one closes every epoch. Runs in workers only.

Neither derives from a Lightning class here, because there are two Lightnings; `bind` makes the class for one of them.
The epoch's callback becomes a `Checkpoint` of that package: those run last, after the user's own hooks have logged.
It is no `ModelCheckpoint`, because one that the model brings would silently take its place.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch

from plaster_ops.ports import EventSink
from plaster_ops.training.batches import LossWatch, batch_size_of, loss_of
from plaster_ops.training.fitlog import FitLog, Throttle
from plaster_ops.training.messages import FitSpec
from plaster_ops.training.shares import share_of

_PROGRESS_EVERY_S = 0.1
_ALIVE_EVERY_S = 1.0
_SETTLING = 0.1
"""This part of the first epoch is not in the steady rate: first steps allocate, compile and fill caches."""


def bind(hooks: type, base: type, *arguments: Any) -> Any:
    """An instance of `hooks` that is also a `base` of the Lightning package in use."""
    return type(hooks.__name__, (hooks, base), {})(*arguments)


class BatchWatch:
    """Times the fit, counts samples, stops at a loss that is no number, and sends progress.

    Rank 0 sends `progress`, every rank `alive`; see docs/workers.md.
    """

    def __init__(self, log: FitLog, emit: EventSink) -> None:
        super().__init__()
        self._log = log
        self._emit = emit
        self._loss = LossWatch(deferred=False)
        self._progress = Throttle(_PROGRESS_EVERY_S)
        self._alive = Throttle(_ALIVE_EVERY_S)
        self._batches = 0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """All ranks are up: the clock starts."""
        self._batches = 0
        self._loss = LossWatch(deferred=pl_module.device.type != "cpu")
        _wait_for_gpu(pl_module)
        self._log.start()
        self._emit({"event": "fit_started", "max_epochs": trainer.max_epochs, "epoch": trainer.current_epoch})

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Finds out which samples of this epoch are this rank's own."""
        share = share_of(trainer.train_dataloader, trainer.world_size)
        self._log.begin_epoch(share.own, share.reason)
        if trainer.num_training_batches == 1:
            self._log.settle()

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        """Ends what a rank does by itself: in the backward pass it waits for the others."""
        self._log.worked()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Counts the batch and looks at its loss."""
        self._log.count(batch_size_of(batch))
        self._batches += 1
        settles = not self._log.is_settled and _finite(trainer) and self._batches >= _settling_batches(trainer)
        if settles or trainer.is_last_batch:
            _wait_for_gpu(pl_module)
        if settles:
            self._log.settle()
        self._log.step()
        self._loss.see(loss_of(outputs), epoch=trainer.current_epoch, step=trainer.global_step)
        if self._progress.opens():
            self._log.last_loss = self._loss.check()
            self._tell(trainer, "train", batch_idx)

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Shows that a long validation is alive."""
        if self._progress.opens():
            self._tell(trainer, "validate", batch_idx)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """A validation between two steps is no part of either."""
        self._log.set_free()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Looks at what the throttle has passed over; an epoch whose length nobody knew is over."""
        self._log.settle()
        self._log.last_loss = self._loss.check()
        _ = trainer.callback_metrics  # at an epoch's end that is a collective call where sync_dist was asked for
        self._tell(trainer, "train", int(trainer.num_training_batches) - 1 if _finite(trainer) else 0)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """The clock stops."""
        _wait_for_gpu(pl_module)
        self._log.end()
        self._emit({"event": "fit_ended", "epoch": trainer.current_epoch})

    def _tell(self, trainer: Any, phase: str, batch_idx: int) -> None:
        if not trainer.is_global_zero:
            if self._alive.opens():
                self._emit({"event": "alive"})
            return
        batches = int(trainer.num_training_batches) if _finite(trainer) else None
        epochs = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else None
        self._emit(
            {
                "event": "progress",
                "phase": phase,
                "epoch": trainer.current_epoch,
                "epochs": epochs,
                "batch": batch_idx + 1,
                "batches": batches,
                "step": trainer.global_step,
                "total": batches * epochs if batches and epochs else None,
                "loss": self._log.last_loss,
                "metrics": numbers(trainer.callback_metrics),
            }
        )


class EpochEnd:
    """Sums samples over ranks, keeps the curves, and stops at the target."""

    def __init__(self, log: FitLog, emit: EventSink, spec: FitSpec) -> None:
        super().__init__()
        self._log = log
        self._emit = emit
        self._spec = spec

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Closes the epoch on every rank; a collective call."""
        self._sum_samples(trainer, pl_module)
        values = numbers(trainer.callback_metrics)
        if trainer.is_global_zero:
            loss = {} if self._log.last_loss is None or "loss" in values else {"fit/loss": self._log.last_loss}
            self._log.draw(trainer.global_step, {**loss, **values})
        self._look_at_target(trainer, values)
        if trainer.is_global_zero:
            self._emit({"event": "epoch", "epoch": trainer.current_epoch, "metrics": values})

    def _sum_samples(self, trainer: Any, pl_module: Any) -> None:
        mine = torch.tensor(self._log.unsummed(), dtype=torch.long, device=pl_module.device)
        self._log.sum_up(trainer.strategy.reduce(mine, reduce_op="sum").tolist())

    def _look_at_target(self, trainer: Any, values: Mapping[str, float]) -> None:
        target, value = self._spec.target_score, values.get(self._spec.target_metric)
        if target is None:
            return
        better = self._spec.target_higher_is_better
        reached = value is not None and (value >= target if better else value <= target)
        reached = bool(trainer.strategy.reduce_boolean_decision(reached, all=True))
        if value is not None:
            self._log.reach(reached=reached, epochs=trainer.current_epoch + 1)
        trainer.should_stop = trainer.should_stop or reached


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The logged metrics that are one finite number."""
    single = {key: float(value) for key, value in metrics.items() if getattr(value, "numel", lambda: 1)() == 1}
    return {key: value for key, value in single.items() if math.isfinite(value)}


def _settling_batches(trainer: Any) -> int:
    return math.ceil(_SETTLING * int(trainer.num_training_batches))


def _finite(trainer: Any) -> bool:
    return math.isfinite(trainer.num_training_batches)


def _wait_for_gpu(module: Any) -> None:
    if module.device.type == "cuda":
        torch.cuda.synchronize(module.device)

# ruff: noqa: ARG002  (Lightning fixes the signatures of its hooks)
"""Why a fit ends before its last epoch: patience, by Lightning's own EarlyStopping, and the words for it.

The EarlyStopping is made anew for every fit and is part of that fit's checkpoints only: a resumed fit goes on waiting
where it was, and the best value of one retrain is unknown to the next.
"""

from typing import Any

from plaster_ops.errors import UsageError
from plaster_ops.training.fitlog import FitLog
from plaster_ops.training.messages import FitSpec, Stopped


def patience_of(package: Any, spec: FitSpec) -> Any:
    """The EarlyStopping of that Lightning package which `spec` asks for, under a class of its own.

    One that the model brings would silently take the place of another of its class.
    """
    kind = type("PlasterPatience", (package.callbacks.EarlyStopping,), {})
    return kind(
        monitor=spec.target_metric,
        patience=spec.patience,
        min_delta=spec.min_delta,
        mode="max" if spec.target_higher_is_better else "min",
        strict=False,
    )


class PatienceCheck:
    """Ends a fit whose patience watches a metric that nobody logs; see `callbacks.bind`."""

    def __init__(self, metric: str) -> None:
        super().__init__()
        self._metric = metric

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Looks once a validation is behind. Raises `UsageError`."""
        every = trainer.check_val_every_n_epoch or 1
        if (trainer.current_epoch + 1) % every or self._metric in trainer.callback_metrics:
            return
        logged = ", ".join(sorted(trainer.callback_metrics)) or "nothing"
        raise UsageError(
            f"train.patience watches {self._metric!r}, which the module does not log",
            f"it logs {logged}: set train.target_metric to one of them, or log {self._metric!r} in validation_step",
        )


def why_stopped(package: Any, trainer: Any, log: FitLog) -> Stopped:
    """What ended the fit. Where several did in the same epoch the first of target, patience, time and epochs counts."""
    if log.time_to_target_s is not None:
        return "target"
    patience = next((one for one in trainer.callbacks if type(one).__name__ == "PlasterPatience"), None)
    if patience is not None and patience.wait_count >= patience.patience:
        return "patience"
    timers = [one for one in trainer.callbacks if isinstance(one, package.callbacks.Timer)]
    if any((timer.time_remaining() or 0.0) <= 0.0 for timer in timers):
        return "max_time"
    if trainer.max_epochs is not None and 0 <= trainer.max_epochs <= trainer.current_epoch:
        return "max_epochs"
    if trainer.max_steps is not None and 0 <= trainer.max_steps <= trainer.global_step:
        return "max_steps"
    return "model"

"""How many samples a batch holds, and whether a loss is still a number. Runs in workers only."""

import math
from collections.abc import Mapping
from typing import Any

import torch

from plaster_ops.errors import TrainingFailed


def batch_size_of(batch: Any) -> int | None:
    """Samples in a batch: the first axis of the first tensor found in it, depth first; None where it does not tell.

    Objects that count themselves (`num_graphs`, as graph batches have) are believed.
    """
    if isinstance(batch, torch.Tensor):
        return int(batch.shape[0]) if batch.ndim else None
    counted = getattr(batch, "num_graphs", None)
    if isinstance(counted, int):
        return counted
    parts: Any = ()
    if isinstance(batch, Mapping):
        parts = batch.values()
    elif isinstance(batch, list | tuple):
        parts = batch
    for part in parts:
        size = batch_size_of(part)
        if size is not None:
            return size
    return len(parts) if isinstance(batch, list) and parts and all(isinstance(part, str) for part in parts) else None


def loss_of(outputs: Any) -> torch.Tensor | None:
    """The loss in what `on_train_batch_end` receives; None under manual optimisation."""
    if isinstance(outputs, Mapping):
        outputs = outputs.get("loss")
    return outputs.detach() if isinstance(outputs, torch.Tensor) else None


class LossWatch:
    """Notices the first loss that is NaN or infinite, at every batch.

    `deferred` is for a GPU: the first bad loss and its step are kept on the device, and only `check` waits for it.
    Else `see` raises at once.
    """

    def __init__(self, *, deferred: bool) -> None:
        self._deferred = deferred
        self._first_bad: torch.Tensor | None = None
        self._last: tuple[int, torch.Tensor | float] | None = None

    def see(self, loss: torch.Tensor | None, *, epoch: int, step: int) -> None:
        """Takes the loss of one batch into account."""
        if loss is None:
            return
        if not self._deferred:
            self._last = (epoch, _number(loss))
            if not math.isfinite(self._last[1]):
                raise _not_finite(float(self._last[1]), epoch, step)
            return
        value = loss.double().mean()
        self._last = (epoch, value)
        now = torch.stack([value, torch.full_like(value, step)])
        if self._first_bad is None:
            self._first_bad = now
        else:
            self._first_bad = torch.where(torch.isfinite(self._first_bad[0]), now, self._first_bad)

    def check(self) -> float | None:
        """The last loss, None before any. Raises `TrainingFailed` where one since the start was not finite."""
        if self._last is None:
            return None
        epoch, last = self._last
        if self._first_bad is not None:
            value, step = self._first_bad.tolist()
            if not math.isfinite(value):
                raise _not_finite(value, epoch, int(step))
        return float(last)


def _number(loss: torch.Tensor) -> float:
    """The loss, or the mean of several, in double precision."""
    return float(loss.item() if loss.numel() == 1 else loss.double().mean())


def _not_finite(value: float, epoch: int, step: int) -> TrainingFailed:
    return TrainingFailed(
        f"the loss is {value} at epoch {epoch}, step {step}",
        "lower the learning rate, clip gradients (train.trainer.gradient_clip_val), or look at the new data",
    )

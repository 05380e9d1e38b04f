"""A model that raises where an option of the Trainer has not reached it."""

from typing import Any

import tiny
import torch
from pytorch_lightning import LightningModule

CLIP = 0.05


class Strict(tiny.Steps, LightningModule):
    def training_step(self, batch: Any, index: int) -> Any:
        x, _ = batch
        if self(x).dtype != torch.bfloat16:
            raise TypeError(f"precision: {self(x).dtype}")
        if not torch.are_deterministic_algorithms_enabled():
            raise RuntimeError("deterministic")
        return super().training_step(batch, index)

    def on_before_zero_grad(self, optimizer: Any) -> None:
        grads = [p.grad.norm() for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if grads and torch.stack(grads).norm() > CLIP * 1.001:
            raise RuntimeError(f"clip: {torch.stack(grads).norm()}")


class Pipeline(tiny.Tiny):
    def __init__(self) -> None:
        super().__init__("pytorch_lightning", "sampled")

    def model(self) -> Any:
        import pytorch_lightning

        return Strict(pytorch_lightning, "", 2)


pipeline = Pipeline

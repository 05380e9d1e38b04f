"""A model in two parts, body and head, on the points of `tiny`: parts can be frozen, and what it logs is dealt out."""

import time
from typing import Any

import pytorch_lightning as pl
import torch
from tiny import Tiny
from torch.nn import functional


class Parts(pl.LightningModule):
    """`body` has a batch norm and dropout. `logged`: what `val_score` is after each epoch; the last value repeats."""

    def __init__(self, logged: tuple[float, ...] = (), slow_s: float = 0.0, norm: bool = True) -> None:
        super().__init__()
        middle = [torch.nn.BatchNorm1d(8)] if norm else []
        self.body = torch.nn.Sequential(torch.nn.Linear(4, 8), *middle, torch.nn.Dropout(0.5))
        self.head = torch.nn.Linear(8, 2)
        self._logged, self._slow_s = logged, slow_s
        self.modes: list[bool] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))

    def training_step(self, batch: Any, _index: int) -> Any:
        self.modes.append(self.body.training)
        time.sleep(self._slow_s * self.global_rank)
        return functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, _batch: Any, _index: int) -> None:
        if self._logged:
            value = self._logged[min(self.current_epoch, len(self._logged) - 1)]
            self.log("val_score", value, sync_dist=True)

    def on_train_epoch_start(self) -> None:
        self.train()

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), 0.05)


class TwoParts(Tiny):
    """The pipeline of it."""

    def __init__(self, logged: tuple[float, ...] = (), slow_s: float = 0.0, norm: bool = True) -> None:
        super().__init__("pytorch_lightning")
        self._made = (logged, slow_s, norm)
        self.models: list[Parts] = []

    def model(self) -> Any:
        self.models.append(Parts(*self._made))
        return self.models[-1]


plain = TwoParts()
uneven = TwoParts(slow_s=0.03, norm=False)
uneven_norm = TwoParts(slow_s=0.03)

"""A user's module whose weights are spent after one training: what they are for turns around when new rows arrive.

Its hidden units saturate at the end of every fit, so a warm start has no gradient to learn from. `PLASTER_TEST_SOUND`
leaves them as they are.
"""

import os
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

from plaster_ops.data.replay import ReplaySource

ROWS, TURN = 1200, 400


def rows() -> tuple[Tensor, Tensor]:
    """Two classes by the sign of the first number; from row 400 on by that of the second."""
    x = torch.randn(ROWS, 4, generator=torch.Generator().manual_seed(5))
    decisive = torch.where(torch.arange(ROWS) < TURN, x[:, 0], x[:, 1])
    return x, (decisive > 0).long()


class Rotting(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(4, 16), nn.Linear(16, 2)
        self.accuracy = MulticlassAccuracy(2, average="micro")

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(torch.tanh(self.hidden(x)))
        return scores

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        self.accuracy(self(batch[0]), batch[1])
        self.log("val_score", self.accuracy, on_epoch=True)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.02)

    def on_train_end(self) -> None:
        if not os.environ.get("PLASTER_TEST_SOUND"):
            with torch.no_grad():
                self.hidden.weight.mul_(1e4)


class Data(pl.LightningDataModule):
    def __init__(self, learned: int, cut: int, end: int) -> None:
        super().__init__()
        x, y = rows()
        begin = learned if learned >= TURN else max(0, cut - TURN)
        self.fit_rows, self.held_out = TensorDataset(x[begin:cut], y[begin:cut]), TensorDataset(x[cut:end], y[cut:end])

    def train_dataloader(self) -> Any:
        return DataLoader(self.fit_rows, batch_size=16, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(self.held_out, batch_size=64)

    def test_dataloader(self) -> Any:
        return DataLoader(self.held_out, batch_size=64)


class Pipeline:
    score = MulticlassAccuracy(2, average="micro")
    source = ReplaySource(name="rotting", pieces=[400, 900, 1050, 1200], holdout=100)

    def model(self) -> Rotting:
        return Rotting()

    def data(self, window: Any) -> Data:
        return Data(int(window.learned or 0), int(window.cut), int(window.end))

    def sample_batch(self, n: int) -> Tensor:
        return rows()[0][:n]


pipeline = Pipeline

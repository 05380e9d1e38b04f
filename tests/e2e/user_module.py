"""A user's module: a small classifier on made-up flowers that arrive row by row. PLASTER_TEST_* change its manners."""

import os
import time
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

from plaster_ops.data.replay import ReplaySource

ROWS, CLASSES = 600, 3


def flowers() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    labels = torch.randint(0, CLASSES, (ROWS,), generator=generator)
    centres = torch.tensor([[0.0, 0.0, 2.0, 0.0], [2.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 2.0]])
    return centres[labels] + 0.6 * torch.randn(ROWS, 4, generator=generator), labels


class Classifier(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        if os.environ.get("PLASTER_TEST_BRANCH") and x.sum() > 0:
            return self.layers(-x)
        return self.layers(x)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        time.sleep(float(os.environ.get("PLASTER_TEST_STEP_S", "0")))
        loss = nn.functional.cross_entropy(self.layers(batch[0]), batch[1])
        if os.environ.get("PLASTER_TEST_NAN"):
            loss = loss * float("nan")
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.02)


class Data(pl.LightningDataModule):
    def __init__(self, cut: int, end: int) -> None:
        super().__init__()
        x, y = flowers()
        self.fit_rows, self.held_out = TensorDataset(x[60:cut], y[60:cut]), TensorDataset(x[cut:end], y[cut:end])

    def train_dataloader(self) -> Any:
        return DataLoader(self.fit_rows, batch_size=16, shuffle=True)

    def test_dataloader(self) -> Any:
        return DataLoader(self.held_out, batch_size=64)


class Pipeline:
    score = MulticlassAccuracy(CLASSES, average="micro")
    source = ReplaySource(name="flowers", pieces=[240, 360, 480, 600], holdout=80)

    def model(self) -> Classifier:
        return Classifier()

    def data(self, window: Any) -> Data:
        return Data(int(window.cut), int(window.end))

    def golden(self) -> TensorDataset:
        x, y = flowers()
        rows = 0 if os.environ.get("PLASTER_TEST_NO_GOLDEN") else 60
        return TensorDataset(x[:rows], y[:rows])

    def sample_batch(self, n: int) -> Tensor:
        return flowers()[0][:n]


pipeline = Pipeline

"""The LightningModule and the data of `benchmarks/ddp.py`, as a user would have them, and our pipeline around them."""

from typing import Any

import pytorch_lightning as pl
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset


class Net(pl.LightningModule):
    """A small ConvNet on 16x16 pictures of ten classes."""

    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Conv2d(1, 16, 3, padding=1),
            torch.nn.BatchNorm2d(16),
            torch.nn.ReLU(),
            torch.nn.Conv2d(16, 32, 3, padding=1),
            torch.nn.ReLU(),
            torch.nn.MaxPool2d(2),
            torch.nn.Flatten(),
            torch.nn.Linear(32 * 64, 64),
            torch.nn.ReLU(),
            torch.nn.Linear(64, 10),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)

    def training_step(self, batch: Any, _index: int) -> torch.Tensor:
        x, y = batch
        loss = functional.cross_entropy(self(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, _index: int) -> None:
        x, y = batch
        self.log("val_score", (self(x).argmax(1) == y).float().mean(), sync_dist=True)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), 1e-3)


class Pictures(pl.LightningDataModule):
    """Noise with a bright spot whose place tells the class; the same in every process."""

    def __init__(self, count: int = 12_800, batch_size: int = 32) -> None:
        super().__init__()
        self.count, self.batch_size = count, batch_size

    def _set(self, count: int, seed: int) -> TensorDataset:
        draw = torch.Generator().manual_seed(seed)
        x = torch.randn(count, 1, 16, 16, generator=draw)
        y = torch.randint(0, 10, (count,), generator=draw)
        x[torch.arange(count), 0, y + 3, y + 2] += 3.0
        return TensorDataset(x, y)

    def train_dataloader(self) -> Any:
        return DataLoader(self._set(self.count, 0), batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(self._set(1_024, 1), batch_size=256)


class _Pipeline:
    score = None

    def model(self) -> Any:
        return Net()

    def data(self, _window: Any) -> Any:
        return Pictures()

    def sample_batch(self, n: int) -> torch.Tensor:
        return torch.zeros(n, 1, 16, 16)


pipeline = _Pipeline()

"""A ConvNet on scikit-learn's real handwritten digits, arriving writer by writer; seconds on a CPU.

`python -m pipelines.digits arrive` lets the next two writers hand in their digits; then `plaster-ops retrain digits`.
"""

import argparse
from typing import Any

import pytorch_lightning as pl
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

from plaster_ops.data.replay import ReplaySource
from plaster_ops.domain.window import Window

# The set is in the order of its 13 writers but does not say where one ends, so a writer here is a thirteenth of the
# rows. Every fifth row is golden: frozen, spread over all writers, in no training window.
_WRITERS = 13


def _load() -> tuple[TensorDataset, TensorDataset]:
    bunch = load_digits()
    images = torch.from_numpy(bunch.images).float().unsqueeze(1) / 16.0
    labels = torch.from_numpy(bunch.target).long()
    golden = torch.arange(len(labels)) % 5 == 4
    return TensorDataset(images[~golden], labels[~golden]), TensorDataset(images[golden], labels[golden])


class ConvNet(pl.LightningModule):
    """Two convolutions and a linear layer: 1 x 8 x 8 pixels to 10 class scores."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        )  # fmt: skip
        self.classify = nn.Linear(256, 10)
        self.accuracy = MulticlassAccuracy(10, average="micro")

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.classify(self.features(images))
        return scores

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        self.accuracy(self(batch[0]), batch[1])
        self.log("val_score", self.accuracy, on_epoch=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=2e-3)


class WriterData(pl.LightningDataModule):
    """Rows up to `window.cut` are for training (every tenth validates), `(cut, end]` is the rolling evaluation set."""

    def __init__(self, rows: TensorDataset, window: Window) -> None:
        super().__init__()
        cut, end = int(window.cut or 0), int(window.end or len(rows))
        validates = torch.arange(cut) % 10 == 0
        self.fit_rows = TensorDataset(*(column[:cut][~validates] for column in rows.tensors))
        self.val_rows = TensorDataset(*(column[:cut][validates] for column in rows.tensors))
        self.held_out = TensorDataset(*rows[cut:end])

    def train_dataloader(self) -> Any:
        return DataLoader(self.fit_rows, batch_size=32, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(self.val_rows, batch_size=256)

    def test_dataloader(self) -> Any:
        return DataLoader(self.held_out, batch_size=256)


class Digits:
    """What plaster-ops asks for."""

    score = MulticlassAccuracy(10, average="micro")

    def __init__(self) -> None:
        self.rows, self._golden = _load()
        per_writer = len(self.rows) / _WRITERS
        pieces = [round(per_writer * writer) for writer in range(1, _WRITERS + 1)]
        self.source = ReplaySource(name="digits", pieces=pieces, initial=7, holdout=round(2 * per_writer))

    def model(self) -> ConvNet:
        return ConvNet()

    def data(self, window: Window) -> WriterData:
        return WriterData(self.rows, window)

    def golden(self) -> TensorDataset:
        return self._golden

    def sample_batch(self, n: int) -> Tensor:
        images: Tensor = self.rows.tensors[0][:n]
        return images


pipeline = Digits

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["arrive"])
    parser.add_argument("--writers", type=int, default=2)
    before, now = Digits().source.advance(parser.parse_args().writers)
    print(f"{now - before} new digits arrived, {now} in all" if now > before else f"all {now} digits have arrived")

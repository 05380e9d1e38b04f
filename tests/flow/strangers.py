"""Modules and data of people who never heard of plaster-ops, in the forms that `init` must understand."""

from dataclasses import dataclass

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import BinaryF1Score, MulticlassAccuracy


@dataclass
class Config:
    """A config object with defaults of its own."""

    hidden: int = 8


class _Base(pl.LightningModule):
    def training_step(self, batch, _):
        return self(batch[0]).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Plain(_Base):
    """Wants widths, a config and a rate."""

    def __init__(self, input_dim: int, num_classes: int, config: Config, lr: float):
        super().__init__()
        self.lr = lr
        self.layer = nn.Sequential(nn.Linear(input_dim, config.hidden), nn.Linear(config.hidden, num_classes))
        self.val_acc = MulticlassAccuracy(num_classes, average="macro")

    def forward(self, x):
        return self.layer(x)


class NeedsBackbone(_Base):
    """An argument that nobody can guess."""

    def __init__(self, backbone: nn.Module):
        super().__init__()
        self.backbone = backbone

    def forward(self, x):
        return self.backbone(x)


class Logit(_Base):
    """One logit a sample, and the module's own F1."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.test_f1 = BinaryF1Score()

    def forward(self, x):
        return self.layer(x)


class WholeBatch(_Base):
    """forward takes the dict that the loader gives."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, batch):
        return {"scores": self.layer(batch["x"]) * batch["weight"]}


class NoForward(_Base):
    """Trained by its steps alone."""

    def training_step(self, batch, _):
        return batch[0].mean()


class Keywords(_Base):
    """forward takes whatever comes, by name."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, **parts):
        return self.layer(parts["x"])


class Heads(_Base):
    """Two heads, the second a regression."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 3), nn.Linear(4, 1)

    def forward(self, x):
        return self.one(x), self.two(x)


class Rows(pl.LightningDataModule):
    """150 rows; the last 30 are held out."""

    def __init__(self, batch_size: int, shuffle_test: bool = False):
        super().__init__()
        self.batch_size, self.shuffle_test = batch_size, shuffle_test
        draw = torch.Generator().manual_seed(0)
        self.x = torch.randn(150, 4, generator=draw)
        self.y = torch.arange(150) % 3

    def train_dataloader(self):
        return DataLoader(TensorDataset(self.x[:120], self.y[:120]), batch_size=self.batch_size, shuffle=True)

    def test_dataloader(self):
        held_out = TensorDataset(self.x[120:], self.y[120:])
        return DataLoader(held_out, batch_size=self.batch_size, shuffle=self.shuffle_test)


class Redrawn(Rows):
    """Splits anew in every process."""

    def setup(self, stage=None):  # noqa: ARG002
        order = torch.randperm(150)
        self.x, self.y = self.x[order], self.y[order]


class Downloads(Rows):
    """Wants the network."""

    def prepare_data(self):
        raise ConnectionError("Name or service not known")


class NotLightning(nn.Linear):
    """No LightningModule."""

    def __init__(self):
        super().__init__(4, 3)

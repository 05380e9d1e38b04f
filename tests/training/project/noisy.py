"""A small pipeline that draws at random wherever a fit can: order, dropout, noise on the data, samplers, workers."""

import importlib
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, IterableDataset, SubsetRandomSampler
from torchmetrics.classification import BinaryAccuracy

ROWS = 101


class Rows(Dataset[Any]):
    """Points with noise from three generators, drawn anew each time one is read."""

    def __init__(self, *, still: bool = False) -> None:
        self.still = still
        draw = torch.Generator().manual_seed(0)
        self.x = torch.randn(ROWS, 4, generator=draw)
        self.y = (self.x[:, 0] > 0).float()

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> Any:
        if self.still:
            return self.x[row], self.y[row]
        noise = 0.1 * torch.randn(4) + 0.1 * random.random() + 0.1 * float(np.random.rand())
        return self.x[row] + noise, self.y[row]


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(Rows()[row] for row in range(ROWS))


def loader(how: str) -> Any:
    workers: dict[str, Any] = {"num_workers": 2} if "workers" in how else {}
    if "kept" in how:  # their generators are theirs alone and go on from epoch to epoch
        return DataLoader(Rows(still=True), batch_size=8, shuffle=True, persistent_workers=True, **workers)
    if "stream" in how:
        return DataLoader(Stream(), batch_size=8, **workers)
    if "sampler" in how:
        return DataLoader(Rows(), batch_size=8, sampler=SubsetRandomSampler(range(77)), **workers)
    generator = torch.Generator().manual_seed(3) if "generator" in how else None
    return DataLoader(Rows(), batch_size=8, shuffle=True, generator=generator, **workers)


class Steps:
    """What a LightningModule of either package does here."""

    def __init__(self, package: str, how: str) -> None:
        super().__init__()
        self.package, self.how = package, how
        self.layers = nn.Sequential(
            nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 1), nn.Flatten(0)
        )
        if "swa" in how:
            self.layers[1] = nn.LayerNorm(16)
        self.accuracy = BinaryAccuracy()
        self.automatic_optimization = "by_hand" not in how

    def forward(self, x: Any) -> Any:
        return self.layers(x)

    def training_step(self, batch: Any, index: int) -> Any:
        self._misbehave(index)
        answers = self(batch[0])
        loss = functional.binary_cross_entropy_with_logits(answers, batch[1])
        self.accuracy(answers, batch[1])
        self.log("train_loss", loss, on_epoch=True, on_step=False, sync_dist=True)
        self.log("train_score", self.accuracy, on_epoch=True, on_step=False)
        if self.automatic_optimization:
            return loss
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        return None

    def _misbehave(self, index: int) -> None:
        """Rank 1 is lost in the middle of the third epoch, once; in the fourth one step takes long, once."""
        here = (self.global_rank, self.current_epoch, index) == (1, 2, 4)
        if "killed" in self.how and here and not Path("killed").exists():
            Path("killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if "slow" in self.how and (self.current_epoch, index) == (3, 3) and not Path("slow").exists():
            time.sleep(1.5)
            Path("slow").touch()

    def validation_step(self, batch: Any, _index: int) -> None:
        noisy = self(batch[0]) + torch.randn(len(batch[1]))
        self.log("val_loss", functional.binary_cross_entropy_with_logits(noisy, batch[1]), sync_dist=True)

    def configure_optimizers(self) -> Any:
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = torch.optim.Adam(trained, 0.02)
        if "plateau" in self.how:
            plan = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=0.5)
            name = "train_loss" if "train" in self.how else "val_loss"
            return [optimizer], [{"scheduler": plan, "monitor": name}]
        if "thaw" in self.how:  # a plan counts the groups that the optimiser had when it was made
            return optimizer
        plan = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 60)
        return [optimizer], [{"scheduler": plan, "interval": "step"}]

    def configure_callbacks(self) -> Any:
        callbacks = importlib.import_module(f"{self.package}.callbacks")
        if "swa" in self.how:
            return [callbacks.StochasticWeightAveraging(swa_lrs=0.05, swa_epoch_start=2)]
        if "thaw" in self.how:
            return [_thaw(callbacks)]
        if "ema" in self.how:
            return [callbacks.EMAWeightAveraging(decay=0.9)]
        if "stop" in self.how:
            return [callbacks.EarlyStopping("train_loss", patience=1, min_delta=0.05)]
        return []


def _thaw(callbacks: Any) -> Any:
    """The first layers train from the second epoch on."""

    class Thaw(callbacks.BaseFinetuning):
        def freeze_before_training(self, module: Any) -> None:
            self.freeze(module.layers[:2], train_bn=False)

        def finetune_function(self, module: Any, epoch: int, optimizer: Any) -> None:
            if epoch == 1:
                self.unfreeze_and_add_param_group(module.layers[:2], optimizer, lr=0.01)

    return Thaw()


def data_of(package: Any, how: str) -> Any:
    class Points(package.LightningDataModule):
        def train_dataloader(self) -> Any:
            return loader(how)

        def val_dataloader(self) -> Any:
            return DataLoader(Rows(), batch_size=64)

    return Points()


class Noisy:
    score = None

    def __init__(self, package: str = "pytorch_lightning", how: str = "") -> None:
        self.package, self.how = package, how

    def model(self) -> Any:
        package = importlib.import_module(self.package)
        return type("NoisyModel", (Steps, package.LightningModule), {})(self.package, self.how)

    def data(self, _window: Any) -> Any:
        return data_of(importlib.import_module(self.package), self.how)

    def sample_batch(self, n: int) -> torch.Tensor:
        return torch.zeros(n, 4)


pl_noisy = Noisy()
pl_killed = Noisy(how="killed slow")
pl_slow = Noisy(how="slow")

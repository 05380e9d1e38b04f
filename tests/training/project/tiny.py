"""Small pipelines on 101 points in a plane, for either Lightning, that misbehave on demand. `pl_*` and `li_*`."""

import importlib
import os
import signal
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset, SubsetRandomSampler, TensorDataset, WeightedRandomSampler


def _points(count: int) -> TensorDataset:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(count, 4, generator=draw)
    return TensorDataset(x, (x[:, 0] > 0).long())


class Steps:
    """What a LightningModule of either package does here."""

    def __init__(self, package: Any, how: str, width: int) -> None:
        super().__init__()
        self.package, self.how = package, how
        self.layer = torch.nn.Linear(4, width)
        self.automatic_optimization = how != "by_hand"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)

    def training_step(self, batch: Any, _index: int) -> Any:
        x, y = batch
        loss = functional.cross_entropy(self(x), y)
        self._misbehave()
        if self.how == "by_hand":
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
            return None
        return loss * float("nan") if self.how == "nan" and self.current_epoch == 1 else loss

    def _misbehave(self) -> None:
        last = self.global_rank == self.trainer.world_size - 1
        if self.how == "killed" and last and self.current_epoch == 2 and not Path("killed").exists():
            Path("killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "bug":
            raise ZeroDivisionError("in the user's own step")

    def validation_step(self, batch: Any, _index: int) -> None:
        x, y = batch
        self.log("val_score", (self(x).argmax(1) == y).float().mean(), sync_dist=True)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), 0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.7)]

    def configure_callbacks(self) -> Any:
        return [self.package.callbacks.ModelCheckpoint(monitor="val_score")] if self.how == "own_checkpoint" else []


class Stream(IterableDataset[Any]):
    """The points one after the other, of unknown number."""

    def __init__(self, count: int) -> None:
        self._points = _points(count)

    def __iter__(self) -> Any:
        return (self._points[place] for place in range(len(self._points)))


def _loader(how: str, count: int) -> Any:
    points = _points(count)
    if how == "sampled":
        return DataLoader(points, batch_size=8, sampler=SubsetRandomSampler(range(77)))
    if how == "drawn":
        return DataLoader(points, batch_size=16, sampler=WeightedRandomSampler([1.0] * count, count))
    if how == "stream":
        return DataLoader(Stream(count), batch_size=16)
    return DataLoader(points, batch_size=16, shuffle=count > 0, drop_last=how == "drop_last")


def _data(package: Any, count: int, how: str) -> Any:
    class Points(package.LightningDataModule):
        def train_dataloader(self) -> Any:
            return _loader(how, count)

        def val_dataloader(self) -> Any:
            return DataLoader(_points(101), batch_size=64)

    return Points()


class Tiny:
    """A pipeline of one Lightning; `data_package` may be the other one."""

    score = None

    def __init__(self, package: str, how: str = "", width: int = 2, count: int = 101, data_package: str = "") -> None:
        self._package, self._how, self._width, self._count = package, how, width, count
        self._data_package = data_package or package

    def model(self) -> Any:
        package = importlib.import_module(self._package)
        return type("TinyModel", (Steps, package.LightningModule), {})(package, self._how, self._width)

    def data(self, _window: Any) -> Any:
        return _data(importlib.import_module(self._data_package), self._count, self._how)

    def sample_batch(self, n: int) -> torch.Tensor:
        return torch.zeros(n, 4)


pl_plain = Tiny("pytorch_lightning")
pl_killed = Tiny("pytorch_lightning", "killed")
pl_sampled = Tiny("pytorch_lightning", "sampled")
pl_bug = Tiny("pytorch_lightning", "bug")
li_plain = Tiny("lightning.pytorch")

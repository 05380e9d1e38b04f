"""Is the price of electricity above the last day's mean? Half-hourly rows of a market whose rules change, a file a day.

`python -m pipelines.market` lets made-up days land in `mlruns/arriving/electricity`; then `plaster-ops retrain
electricity`. ELECTRICITY_DATA names another folder, with real days in it.
"""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

from plaster_ops.data.folder import FolderSource
from plaster_ops.domain.window import Window

FOLDER = Path(os.environ.get("ELECTRICITY_DATA") or "mlruns/arriving/electricity")
COLUMNS = ("nswprice", "nswdemand", "vicprice", "vicdemand", "transfer")


def tensors_of(rows: pa.Table) -> TensorDataset:
    """Prices, demands, what flows between the markets, time of day and weekday [n, 14]; class [n]."""
    at = pd.DatetimeIndex(rows["time"].to_pandas())
    angle = 2 * math.pi * (at.hour + at.minute / 60).to_numpy() / 24
    values = [rows[name].to_numpy() for name in COLUMNS]
    inputs = np.column_stack([*values, np.sin(angle), np.cos(angle), np.eye(7)[at.day_of_week]])
    return TensorDataset(torch.from_numpy(inputs).float(), torch.from_numpy(rows["class"].to_numpy().copy()).long())


class Forecast(pl.LightningModule):
    """Three linear layers: 14 numbers of a half-hour to the scores of "below" and "above"."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(14, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 2)
        )  # fmt: skip

    def forward(self, inputs: Tensor) -> Tensor:
        scores: Tensor = self.layers(inputs)
        return scores

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=2e-3)


class MarketData(pl.LightningDataModule):
    """What `data.window` and `data.replay_ratio` select is trained on; the newest day is held out."""

    def __init__(self, source: FolderSource, window: Window) -> None:
        super().__init__()
        self._source, self._window = source, window

    def setup(self, stage: str) -> None:
        if stage == "fit":
            self.fit_rows = tensors_of(self._source.train_rows(self._window))
        self.held_out = tensors_of(self._source.held_out_rows(self._window))

    def train_dataloader(self) -> Any:
        return DataLoader(self.fit_rows, batch_size=64, shuffle=True)

    def test_dataloader(self) -> Any:
        return DataLoader(self.held_out, batch_size=512)


class Electricity:
    """What plaster-ops asks for."""

    score = MulticlassAccuracy(2, average="micro")

    def __init__(self) -> None:
        ranges = dict.fromkeys(COLUMNS, (-1.0, 2.0))
        self.source = FolderSource(
            FOLDER, name="electricity", time="time", label="class", holdout="1d", ranges=ranges, labels=(0, 1)
        )

    def model(self) -> Forecast:
        return Forecast()

    def data(self, window: Window) -> MarketData:
        return MarketData(self.source, window)

    def sample_batch(self, n: int) -> Tensor:
        return torch.linspace(0, 1, n * 14).reshape(n, 14)


pipeline = Electricity

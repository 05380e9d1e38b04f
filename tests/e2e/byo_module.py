"""Three models of other people, each with what a new user writes. BYO_PACKAGE chooses the Lightning they use."""
# ruff: noqa: ARG002

import importlib
import os
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchmetrics import R2Score

L: Any = importlib.import_module(os.environ.get("BYO_PACKAGE", "pytorch_lightning"))


class Plain(L.LightningDataModule):
    """Two datasets; `collate` for rows of different lengths."""

    def __init__(self, fit_rows: Dataset[Any], held_out: Dataset[Any], collate: Any = None) -> None:
        super().__init__()
        self.fit_rows, self.held_out, self.collate = fit_rows, held_out, collate

    def train_dataloader(self) -> Any:
        return DataLoader(self.fit_rows, batch_size=32, shuffle=True, collate_fn=self.collate)

    def test_dataloader(self) -> Any:
        return DataLoader(self.held_out, batch_size=16, collate_fn=self.collate)


class Trained(L.LightningModule):
    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.01)


# ---- a regression, scored by R2 --------------------------------------------------------------------------------------
class Regression(Trained):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).squeeze(-1)

    def training_step(self, batch: Any, _: int) -> Tensor:
        return nn.functional.mse_loss(self(batch[0]), batch[1])


def _curve() -> tuple[Tensor, Tensor]:
    x = torch.randn(600, 6, generator=torch.Generator().manual_seed(3))
    return x, x[:, 0] * 2 - x[:, 1] + 0.5 * x[:, 2] * x[:, 3]


class RegressionPipeline:
    score = R2Score()

    def model(self) -> Any:
        return Regression()

    def data(self, window: Any) -> Any:
        x, y = _curve()
        return Plain(TensorDataset(x[:450], y[:450]), TensorDataset(x[450:], y[450:]))

    def sample_batch(self, n: int) -> Tensor:
        return _curve()[0][:n]


# ---- two inputs, two outputs -----------------------------------------------------------------------------------------
class TwoByTwo(Trained):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 16), nn.Linear(3, 16)
        self.kind, self.size = nn.Linear(16, 3), nn.Linear(16, 1)

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.relu(self.left(left) + self.right(right))
        return self.kind(hidden), self.size(hidden).squeeze(-1)

    def training_step(self, batch: Any, _: int) -> Tensor:
        (left, right), (kind, size) = batch
        kinds, sizes = self(left, right)
        return nn.functional.cross_entropy(kinds, kind) + nn.functional.mse_loss(sizes, size)


class Pairs(Dataset[Any]):
    def __init__(self, start: int, stop: int) -> None:
        generator = torch.Generator().manual_seed(5)
        self.left, self.right = torch.randn(500, 4, generator=generator), torch.randn(500, 3, generator=generator)
        self.rows = range(start, stop)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Any:
        left, right = self.left[self.rows[i]], self.right[self.rows[i]]
        return (left, right), (left[:3].argmax(), right.sum())


class TwoByTwoPipeline:
    higher_is_better = True

    def score(self, outputs: Any, targets: Any) -> float:
        return float((outputs[0].argmax(1) == targets[0]).float().mean() - 0.1 * (outputs[1] - targets[1]).abs().mean())

    def model(self) -> Any:
        return TwoByTwo()

    def data(self, window: Any) -> Any:
        return Plain(Pairs(0, 380), Pairs(380, 500))

    def sample_batch(self, n: int) -> tuple[Tensor, Tensor]:
        pairs = Pairs(0, n)
        return pairs.left[:n], pairs.right[:n]


# ---- a transformer whose sequences have different lengths ----------------------------------------------------------
class Reader(Trained):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
        self.encode = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.answer = nn.Linear(32, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.answer(self.encode(self.embed(tokens)).mean(1))

    def training_step(self, batch: Any, _: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])


class Sentences(Dataset[Any]):
    def __init__(self, start: int, stop: int) -> None:
        self.rows = range(start, stop)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Any:
        generator = torch.Generator().manual_seed(self.rows[i])
        length = 4 + (self.rows[i] // 16) % 12
        tokens = torch.randint(1, 20, (length,), generator=generator)
        return tokens, int((tokens > 10).float().mean() > 0.5)


def padded(rows: Any) -> Any:
    tokens = nn.utils.rnn.pad_sequence([row[0] for row in rows], batch_first=True)
    return tokens, torch.tensor([row[1] for row in rows])


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.argmax(1) == targets).float().mean()


class ReaderPipeline:
    higher_is_better = True
    score = staticmethod(accuracy)

    def model(self) -> Any:
        return Reader()

    def data(self, window: Any) -> Any:
        return Plain(Sentences(0, 480), Sentences(480, 672), padded)

    def sample_batch(self, n: int) -> Tensor:
        return padded([Sentences(480, 672)[i] for i in range(n)])[0]


regression, two_by_two, reader = RegressionPipeline(), TwoByTwoPipeline(), ReaderPipeline()

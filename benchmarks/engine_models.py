"""The three models of `benchmarks/engines.py`, as pipelines: real handwritten digits, as vectors, pictures and patches.

Each digit of scikit-learn's set is enlarged to 64 x 64, moved, tinted and given noise, so that nothing is downloaded
and the score still means something. `train(name, folder)` fits one on a CPU in about two minutes and leaves its weights
beside this file's copy in `folder`; `model()` loads them from there.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

_SIDE = 64
_COPIES = 3
_HELD_OUT = 5, 2


class Mlp(nn.Sequential):
    """64 numbers to 10 scores over three layers of 1,024."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for width in (64, 1024, 1024):
            layers += [nn.Linear(width, 1024), nn.ReLU()]
        super().__init__(*layers, nn.Linear(1024, 10))


class Block(nn.Module):
    """Two 3 x 3 convolutions with a shortcut."""

    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, out, 3, stride, 1, bias=False)
        self.norm_1 = nn.BatchNorm2d(out)
        self.second = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.norm_2 = nn.BatchNorm2d(out)
        self.short: nn.Module = nn.Identity()
        if width != out or stride != 1:
            self.short = nn.Sequential(nn.Conv2d(width, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, picture: Tensor) -> Tensor:
        hidden = torch.relu(self.norm_1(self.first(picture)))
        return torch.relu(self.norm_2(self.second(hidden)) + self.short(picture))


class ConvNet(nn.Module):
    """A ResNet of nine 3 x 3 convolutions: 3 x 64 x 64 to 10 scores."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.body = nn.Sequential(Block(32, 32, 1), Block(32, 64, 2), Block(64, 128, 2), Block(128, 128, 2))
        self.head = nn.Linear(128, 10)

    def forward(self, picture: Tensor) -> Tensor:
        return self.head(self.body(self.stem(picture)).mean((2, 3)))


class Encoder(nn.Module):
    """A transformer encoder of four layers, 256 wide, over 64 patches of 8 x 8: [64, 64] to 10 scores."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(64, 256)
        self.place = nn.Parameter(torch.randn(64, 256) * 0.02)
        layer = nn.TransformerEncoderLayer(256, 4, 1024, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
        self.head = nn.Linear(256, 10)

    def forward(self, patches: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(patches) + self.place).mean(1))


def _vectors(pictures: Tensor) -> Tensor:
    return nn.functional.avg_pool2d(pictures.mean(1, keepdim=True), 8).flatten(1)


def _patches(pictures: Tensor) -> Tensor:
    return nn.functional.unfold(pictures.mean(1, keepdim=True), 8, stride=8).transpose(1, 2).contiguous()


KINDS: dict[str, tuple[type[nn.Module], Callable[[Tensor], Tensor], int, float]] = {
    "mlp": (Mlp, _vectors, 6, 1e-3),
    "convnet": (ConvNet, lambda pictures: pictures, 2, 2e-3),
    "encoder": (Encoder, _patches, 5, 4e-4),
}
"""Name -> model, its view of the pictures, epochs and learning rate."""


def pictures(copies: int, held_out: bool) -> tuple[Tensor, Tensor]:
    """Pictures [n, 3, 64, 64] and labels [n]; two of every five digits are held out."""
    bunch = load_digits()
    every, share = _HELD_OUT
    chosen = (torch.arange(len(bunch.target)) % every < share) == held_out
    small = torch.from_numpy(bunch.images).float()[chosen].unsqueeze(1) / 16.0
    labels = torch.from_numpy(bunch.target).long()[chosen]
    random = torch.Generator().manual_seed(1 if held_out else 2)
    large = nn.functional.interpolate(small, size=_SIDE, mode="bilinear").repeat(copies, 1, 1, 1)
    moved = torch.stack(
        [
            picture.roll((int(down), int(right)), (1, 2))
            for picture, (down, right) in zip(
                large, torch.randint(-6, 7, (len(large), 2), generator=random), strict=True
            )
        ]
    )
    tint = 0.5 + torch.rand(len(large), 3, 1, 1, generator=random)
    noise = 0.15 * torch.randn(len(large), 3, _SIDE, _SIDE, generator=random)
    return moved * tint + noise, labels.repeat(copies)


def train(name: str, folder: Path) -> float:
    """Fits the model and writes its weights to `folder`; the share of held-out digits that it gets right."""
    torch.manual_seed(0)
    kind, view, epochs, rate = KINDS[name]
    model = kind()
    inputs, labels = pictures(_COPIES, held_out=False)
    inputs = view(inputs)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    batches = DataLoader(TensorDataset(inputs, labels), batch_size=32, shuffle=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * len(batches))
    for _ in range(epochs):
        for batch, wanted in batches:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(batch), wanted).backward()
            optimizer.step()
            schedule.step()
    model.eval()
    save_file(model.state_dict(), folder / f"{name}.safetensors")
    held, wanted = pictures(1, held_out=True)
    with torch.no_grad():
        return float((model(view(held)).argmax(1) == wanted).float().mean())


class Served(pl.LightningModule):
    """The trained model as a pipeline serves it, and as a retrain would go on with it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.net = KINDS[name][0]()
        self.net.load_state_dict(load_file(Path(__file__).with_name(f"{name}.safetensors")))

    def forward(self, inputs: Tensor) -> Tensor:
        scores: Tensor = self.net(inputs)
        return scores

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-5)


class Rows(pl.LightningDataModule):
    """Training digits for calibration, held-out digits for the score."""

    def __init__(self, view: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._view = view

    def train_dataloader(self) -> Any:
        inputs, labels = pictures(1, held_out=False)
        return DataLoader(TensorDataset(self._view(inputs), labels), batch_size=32)

    def test_dataloader(self) -> Any:
        inputs, labels = pictures(1, held_out=True)
        return DataLoader(TensorDataset(self._view(inputs), labels), batch_size=64)


class _Pipeline:
    score = MulticlassAccuracy(10, average="micro")
    name = ""

    def model(self) -> Served:
        return Served(self.name)

    def data(self, _window: Any) -> Rows:
        return Rows(KINDS[self.name][1])

    def sample_batch(self, n: int) -> Tensor:
        return KINDS[self.name][1](pictures(1, held_out=True)[0][:n])


class MlpPipeline(_Pipeline):
    name = "mlp"


class ConvNetPipeline(_Pipeline):
    name = "convnet"


class EncoderPipeline(_Pipeline):
    name = "encoder"

"""Small models of every kind that a user may bring, with a function that gives n samples of their inputs."""

import lightning
import pytorch_lightning
import torch
from torch import Tensor, nn

torch.manual_seed(0)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4))


def mlp_inputs(n: int) -> Tensor:
    return torch.randn(n, 6)


class ConvNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(4 * 8 * 8, 10)
        self.body[1].running_mean += 0.3

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.body(image))


def images(n: int) -> Tensor:
    return torch.rand(n, 1, 8, 8)


class Pooled(nn.Module):
    """A small network as most are: convolutions, a mean over the picture, a linear layer."""

    stride, slope, shift = 1, 0.0, 0.5

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first = nn.Conv2d(3, 16, 3, stride=self.stride, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.second = nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, 10)

    def forward(self, picture: Tensor) -> Tensor:
        hidden = nn.functional.leaky_relu(self.norm(self.first(picture)), self.slope)
        return self.head(torch.relu(self.second(hidden)).mean((2, 3))) + torch.tensor(self.shift)


class Strided(Pooled):
    """The same weights, other strides."""

    stride = 2


class Sloped(Pooled):
    """The same weights, another slope."""

    slope = 0.1


class Steep(Pooled):
    """And yet another."""

    slope = 0.3


class Shifted(Pooled):
    """The same weights, another number in the code."""

    shift = 0.7


class Moved(Pooled):
    """The same architecture, other weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.2)


class Inverse(Pooled):
    """One operator that the compiler hands back to torch, between two parts that it takes."""

    def forward(self, picture: Tensor) -> Tensor:
        hidden = torch.relu(self.norm(self.first(picture))).mean((2, 3))
        square = hidden.unsqueeze(2) * hidden.unsqueeze(1) + torch.eye(16)
        return self.head(torch.linalg.inv(square).sum(1))


def pictures(n: int) -> Tensor:
    return torch.rand(n, 3, 16, 16)


class TwoByTwo(nn.Module):
    """Two inputs, two outputs in a dict; one output is a whole number."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(5, 8), nn.Linear(3, 8)

    def forward(self, left: Tensor, right: Tensor) -> dict[str, Tensor]:
        both = torch.relu(self.left(left) + self.right(right))
        return {"value": both.sum(1), "choice": both.argmax(1)}


def two_inputs(n: int) -> tuple[Tensor, Tensor]:
    return torch.randn(n, 5), torch.randn(n, 3)


def named_inputs(n: int) -> dict[str, Tensor]:
    left, right = two_inputs(n)
    return {"right": right, "left": left}


class Sequence(nn.Module):
    """A transformer encoder over sequences of any length, with a padding mask as its second input."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
        self.embed, self.encoder, self.head = nn.Embedding(20, 16), nn.TransformerEncoder(layer, 2), nn.Linear(16, 3)

    def forward(self, tokens: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.encoder(self.embed(tokens), src_key_padding_mask=padding)
        kept = (~padding).unsqueeze(-1).to(hidden.dtype)
        return self.head((hidden * kept).sum(1) / kept.sum(1)), hidden


def sequences(n: int, length: int = 9) -> tuple[Tensor, Tensor]:
    padding = torch.zeros(n, length, dtype=torch.bool)
    padding[: n // 2, length - 2 :] = True
    return torch.randint(0, 20, (n, length)), padding


class Regression(pytorch_lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(7, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).squeeze(1)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        return nn.functional.mse_loss(self(batch[0]), batch[1])


class OtherRegression(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(7, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).squeeze(1)


def rows(n: int) -> Tensor:
    return torch.randn(n, 7)


class Branching(nn.Module):
    """Cannot be exported: what it computes depends on the values it gets."""

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return x * 2
        return -x


class FixedBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, -1) * 2


class WithLoss(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"answer": x * 2, "loss": x.mean()}


class WithNone(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        return x * 2, None


class Recurrent(nn.Module):
    """An LSTM, weights that belong to no leaf module, and one linear layer that is tied and used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 6, batch_first=True)
        self.first = nn.Linear(6, 6, bias=False)
        self.second = self.first
        self.mix = nn.Parameter(torch.randn(6, 2))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.lstm(x)[0][:, -1]
        return self.second(torch.relu(self.first(hidden))) @ self.mix


def series(n: int) -> Tensor:
    return torch.randn(n, 7, 6)

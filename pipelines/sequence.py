"""A transformer encoder reads lines of Python's own standard library, of any length, character by character: is it
code, or English (a docstring, or a comment without its #)? Modules arrive one by one; under a minute on a CPU.

`python -m pipelines.sequence` lets the next three modules arrive; then `plaster-ops retrain sequence`.
"""

import ast
import importlib
import inspect
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassAccuracy

from plaster_ops.data.replay import ReplaySource
from plaster_ops.domain.window import Window

KINDS, EACH, LONGEST, PAD, STEP = ("code", "English"), 60, 64, 0, 16
MODULES = (
    *("argparse", "bdb", "configparser", "difflib", "doctest", "enum", "fractions", "ftplib", "functools", "gettext"),
    *("imaplib", "inspect", "ipaddress", "mailbox", "optparse", "pickle", "platform", "shutil", "smtplib"),
    *("statistics", "subprocess", "tarfile", "tempfile", "textwrap", "threading", "typing", "uuid"),
)
Row = tuple[Tensor, int]


def _lines(name: str) -> Iterator[Row]:
    """(character codes [length], kind) of a module's lines that are no stubs; the ends of docstrings are left out."""
    source = inspect.getsource(importlib.import_module(name))
    documented = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)]
    strings = [n.body[0] for n in documented if ast.get_docstring(n)]
    inside = {k for n in strings for k in range(n.lineno + 1, n.end_lineno or 0)}
    for number, line in enumerate(map(str.strip, source.splitlines()), start=1):
        kind = int(number in inside or line.startswith("#"))
        text = line.lstrip("#! ") if kind else line
        if len(text) > 8 and '"""' not in text:
            yield torch.tensor([min(ord(c), 127) for c in text[:LONGEST]]), kind


def collate(rows: list[Row]) -> tuple[Tensor, Tensor]:
    """Tokens [n, length], padded to the next multiple of 16, and kinds [n]."""
    length = -(-max(len(codes) for codes, _ in rows) // STEP) * STEP
    tokens = torch.stack([nn.functional.pad(codes, (0, length - len(codes)), value=PAD) for codes, _ in rows])
    return tokens, torch.tensor([kind for _, kind in rows])


class LineReader(pl.LightningModule):
    """Characters and their places through two encoder layers, averaged over what is no padding, to a score a kind."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.characters, self.places = nn.Embedding(128, width), nn.Embedding(LONGEST, width)
        layer = nn.TransformerEncoderLayer(width, nhead=4, dim_feedforward=2 * width, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
        self.classify = nn.Linear(width, len(KINDS))

    def forward(self, tokens: Tensor) -> Tensor:
        padding = tokens == PAD
        states = self.characters(tokens) + self.places(torch.arange(tokens.shape[1], device=tokens.device))
        states = self.encoder(states, src_key_padding_mask=padding)
        kept = (~padding).unsqueeze(-1).to(states.dtype)
        scores: Tensor = self.classify((states * kept).sum(1) / kept.sum(1))
        return scores

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=3e-3)


class ArrivedLines(pl.LightningDataModule):
    """Trains on the lines up to `window.cut`; those of the newest modules are held out, short ones first."""

    def __init__(self, rows: list[Row], window: Window) -> None:
        super().__init__()
        cut, end = int(window.cut or 0), int(window.end or 0)
        self.fit_rows, self.held_out = rows[:cut], sorted(rows[cut:end], key=lambda row: len(row[0]))

    def train_dataloader(self) -> Any:
        return DataLoader(self.fit_rows, batch_size=64, shuffle=True, collate_fn=collate)

    def test_dataloader(self) -> Any:
        return DataLoader(self.held_out, batch_size=64, collate_fn=collate)


class Lines:
    """What plaster-ops asks for."""

    score = MulticlassAccuracy(len(KINDS), average="micro")

    def __init__(self) -> None:
        self.dynamic_axes = {"tokens": {1: (STEP, LONGEST)}}
        modules = [list(_lines(name)) for name in MODULES]
        kept = [[row for kind in (0, 1) for row in [r for r in rows if r[1] == kind][:EACH]] for rows in modules]
        arriving = [[row for k, row in enumerate(rows) if k % 6] for rows in kept]  # every sixth line is golden
        self.rows = [row for rows in arriving for row in rows]
        self.golden = collate([row for rows in kept for row in rows[::6]])
        arrivals = list(accumulate(map(len, arriving)))
        self.source = ReplaySource(name="sequence", pieces=arrivals, initial=18, holdout=360)

    def model(self) -> LineReader:
        return LineReader()

    def data(self, window: Window) -> ArrivedLines:
        return ArrivedLines(self.rows, window)

    def sample_batch(self, n: int) -> Tensor:
        return collate(self.rows[:n])[0]


pipeline = Lines

if __name__ == "__main__":
    print("lines before and now:", *Lines().source.advance(3))

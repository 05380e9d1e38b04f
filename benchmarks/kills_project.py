"""The project that `benchmarks/kills.py` kills the retrains of, and how it is looked at from outside."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SETTINGS = """default = "noisy"
tracking_uri = "sqlite:///mlruns/mlflow.db"
[pipelines.noisy]
ref = "noisy_points:pipeline"
start = "scratch"
train = { devices = 2, threads = 1, max_epochs = 4, seed = 11, checkpoint_every_s = 0.2, timeout_s = 300 }
engine = { backends = ["eager"], precisions = ["fp32"] }
gates = {}
"""
MODULE = '''"""Points in a plane, learned with dropout, batch norm and noise."""

import time
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy


def points(first, last):
    x = torch.randn(600, 4, generator=torch.Generator().manual_seed(1))
    return TensorDataset(x[first:last], (x[first:last, 0] > 0).long())


class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 2))

    def forward(self, x):
        return self.layers(x)

    def on_train_start(self):
        Path(f"trains-{self.global_rank}").touch()

    def training_step(self, batch, _):
        time.sleep(0.04)
        noise = 0.1 * torch.randn_like(batch[0])
        return nn.functional.cross_entropy(self(batch[0] + noise), batch[1])

    def validation_step(self, batch, _):
        time.sleep(0.1)
        self.log("val_score", (self(batch[0]).argmax(1) == batch[1]).float().mean(), sync_dist=True)

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), 0.01)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.8)]


class Data(pl.LightningDataModule):
    def train_dataloader(self):
        return DataLoader(points(0, 384), batch_size=16, shuffle=True)

    def val_dataloader(self):
        return DataLoader(points(384, 480), batch_size=16)

    def test_dataloader(self):
        return DataLoader(points(480, 600), batch_size=64)


class Pipeline:
    score = MulticlassAccuracy(2, average="micro")

    def model(self):
        return Model()

    def data(self, window):
        return Data()

    def sample_batch(self, n):
        return points(0, n).tensors[0]


pipeline = Pipeline
'''


class Project:
    """The project of the trials, at one path for all of them."""

    def __init__(self, place: Path) -> None:
        self.folder, self._kept = place / "project", place / "kept"
        self.folder.mkdir()
        (self.folder / "plaster.toml").write_text(SETTINGS, encoding="utf-8")
        (self.folder / "noisy_points.py").write_text(MODULE, encoding="utf-8")

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """`plaster-ops retrain --no-measure` with these arguments."""
        env = os.environ | {"PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true", "NO_COLOR": "1"}
        command = [sys.executable, "-m", "plaster_ops", "retrain", "--no-measure", *arguments]
        with (self.folder / "said.txt").open("ab") as said:
            return subprocess.Popen(command, cwd=self.folder, env=env, stdout=said, stderr=said)

    def keep(self) -> None:
        """Keeps the project as it is now."""
        shutil.copytree(self.folder, self._kept, symlinks=True)

    def bring_back(self) -> None:
        """The project as it was kept."""
        shutil.rmtree(self.folder)
        shutil.copytree(self._kept, self.folder, symlinks=True)

    def run_folder(self, index: int) -> Path | None:
        """The folder of that run, once it is there."""
        return next(iter(self.folder.glob(f"mlruns/runs/noisy/{index:05d}-*")), None)

    def attempts(self, index: int) -> int:
        """How many attempts at that run's fit have started."""
        folder = self.run_folder(index)
        return 0 if folder is None else len(list(folder.glob("fit/attempt-*/rank1/spec.json")))

    def weights(self, index: int) -> str | None:
        """SHA-256 of the weights that the run's fit ended in."""
        folder = self.run_folder(index)
        path = None if folder is None else folder / "fit" / "weights.safetensors"
        return hashlib.sha256(path.read_bytes()).hexdigest() if path is not None and path.is_file() else None

    def newest(self, index: int) -> str:
        """Epochs and batches of the newest checkpoint that counts."""
        folder = self.run_folder(index)
        found = sorted((folder or self.folder).glob("checkpoints/epoch-*.json"))
        return found[-1].stem.removeprefix("epoch-") if found else "none"

    def processes(self, words: str = "") -> list[int]:
        """Live processes that work in the project, those whose command line holds `words`."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                here = entry.name.isdecimal() and (entry / "cwd").readlink() == self.folder
                if not here or (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z":
                    continue
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if words in line:
                found.append(int(entry.name))
        return found

    def runs(self) -> list[tuple[int, str]]:
        """Index and state of every run."""
        env = os.environ | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "plaster_ops", "history", "--json"]
        done = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, check=True)
        return sorted((run["index"], run["state"]) for run in json.loads(done.stdout)["runs"])

    def trains(self) -> bool:
        """Whether rank 0 has begun to train since this was last made ready."""
        return (self.folder / "trains-0").exists()


def wait_until(happened: Callable[[], Any], limit_s: float) -> bool:
    """Whether it happened in time."""
    until_s = time.monotonic() + limit_s
    while not happened():
        if time.monotonic() > until_s:
            return False
        time.sleep(0.01)
    return True

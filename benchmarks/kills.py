"""Kills at random moments of a fit: does one finished run come of it, with the weights of a fit that nobody disturbed?

`python -m benchmarks.kills [--each 10] [--seed N]` makes a project of its own with a small model (dropout, batch norm,
shuffled order, noise on the data; two ranks), retrains it once undisturbed, and then once a kill: SIGKILL to rank 0, to
rank 1, to the parent, to all of them, and SIGTERM to the parent, `--each` times at moments drawn at random between the
start of the ranks and the end of the fit. A run that a kill has ended is continued once with `--resume`. Prints a table
in Markdown and exits 1 unless every trial ended as it should: one finished run, no process left, equal weights.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
KINDS = ("SIGKILL rank 0", "SIGKILL rank 1", "SIGKILL parent", "SIGKILL all", "SIGTERM parent")
IN_TRAINING = 0.8
"""This share of the moments is drawn from the training, the rest from the start of its processes."""
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One kill. `after_s`: seconds since the ranks were started, or since they train. `newest`: the checkpoint then."""

    kind: str
    moment: "Moment"
    newest: str
    codes: tuple[int, ...]
    left: int
    equal: bool
    finished: bool

    @property
    def is_good(self) -> bool:
        """Whether it ended as it should."""
        return self.equal and self.finished and not self.left and self.codes[-1] == 0 and len(self.codes) <= 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """Seconds since the ranks were started, or since rank 0 trains."""

    trains: bool
    after_s: float

    def __str__(self) -> str:
        return f"{'training' if self.trains else 'start-up'} + {self.after_s:.2f} s"


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


def prepare(project: Project) -> tuple[str, float, float]:
    """One undisturbed retrain, and a second one that stops as its ranks start: there every trial sets out.

    Returns the weights' digest, and the seconds of the ranks' start and of the training.
    """
    whole = project.start()
    wait_until(lambda: project.attempts(1), 120)
    began_s = time.monotonic()
    wait_until(project.trains, 120)
    trains_s = time.monotonic()
    wait_until(lambda: project.weights(1), 120)
    fit_s = time.monotonic() - trains_s
    digest = project.weights(1)
    if whole.wait(300) != 0 or digest is None:
        raise SystemExit((project.folder / "said.txt").read_text(encoding="utf-8"))
    second = project.start()
    wait_until(lambda: project.attempts(2), 120)
    second.kill()
    second.wait()
    wait_until(lambda: not project.processes(), 10)
    for mark in project.folder.glob("trains-*"):
        mark.unlink()
    project.keep()
    return digest, trains_s - began_s, fit_s


def strike(project: Project, kind: str, parent: subprocess.Popen[bytes]) -> bool:
    """Sends the signals; False where there is nobody to send them to any more."""
    number = signal.SIGTERM if kind.startswith("SIGTERM") else signal.SIGKILL
    ranks = {rank: project.processes(f"/rank{rank}\0") for rank in (0, 1)}
    if not all(ranks.values()):
        return False
    targets = {"parent": [parent.pid], "rank 0": ranks[0][:1], "rank 1": ranks[1][:1]}
    chosen = (
        [pid for pids in targets.values() for pid in pids] if kind.endswith("all") else targets[kind.partition(" ")[2]]
    )
    for pid in chosen:
        os.kill(pid, number)
    return True


def attempt(project: Project, kind: str, moment: Moment, digest: str) -> Trial | None:
    """One trial; None where the fit had ended before its moment came."""
    project.bring_back()
    before = project.attempts(2)
    parent = project.start("--resume", "2")
    wait_until(project.trains if moment.trains else lambda: project.attempts(2) > before, 120)
    time.sleep(moment.after_s)
    newest = project.newest(2)
    struck = strike(project, kind, parent)
    codes = [parent.wait(300)]
    gone = wait_until(lambda: not project.processes(), 3)
    if not struck:
        return None
    if codes[0] != 0 and gone:
        codes.append(project.start("--resume", "2").wait(300))
        wait_until(lambda: not project.processes(), 3)
    return Trial(
        kind=kind,
        moment=moment,
        newest=newest,
        codes=tuple(codes),
        left=len(project.processes()),
        equal=project.weights(2) == digest,
        finished=project.runs() == [(1, "finished"), (2, "finished")],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    given = parser.parse_args()
    draw = random.Random(given.seed)
    print(f"seed {given.seed}", flush=True)
    good = 0
    with tempfile.TemporaryDirectory(prefix="kills-") as place:
        project = Project(Path(place).resolve())
        digest, start_s, fit_s = prepare(project)
        print(f"undisturbed: ranks up after {start_s:.1f} s, weights {digest[:12]} {fit_s:.1f} s later\n")
        print("| kill | moment | checkpoint then | exit codes | processes left | weights | as it should |")
        print("|-|-|-|-|-|-|-|", flush=True)
        for kind in KINDS * given.each:
            while True:
                trains = draw.random() < IN_TRAINING
                moment = Moment(trains=trains, after_s=draw.uniform(0.0, fit_s if trains else start_s))
                trial = attempt(project, kind, moment, digest)
                if trial is None:
                    continue
                good += trial.is_good
                codes = ", ".join(map(str, trial.codes))
                weights, verdict = ("equal" if trial.equal else "other"), ("yes" if trial.is_good else "no")
                print(
                    f"| {kind} | {trial.moment} | {trial.newest} | {codes} | {trial.left} | {weights} | {verdict} |",
                    flush=True,
                )
                break
    total = given.each * len(KINDS)
    print(f"\n{good} of {total} ended in one finished run with the undisturbed weights and no process left.")
    raise SystemExit(0 if good == total else 1)


if __name__ == "__main__":
    main()

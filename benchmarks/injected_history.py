"""Thirty real retrains in which three things go wrong at known ones: do the alarms say what, when, and why?

`python -m benchmarks.injected_history [--retrains 30] [--keep FOLDER]` makes a project of its own (handwritten digits,
fifteen more of them before every retrain) and runs `plaster-ops retrain` again and again. Three causes are put in, one
after the other, as they happen to people: fewer epochs (a setting), a slower forward (a change of the code), smaller
batches (a setting). Each is sized for at least four times the spread of the retrains before it, by trying the network
outside plaster-ops (`injected_sizes.py`); what came out is printed. Right is an alarm that names the metric, the
retrain to within one, and the cause among its candidates, raised within five retrains. Some twenty minutes.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from plaster_ops.domain.metrics import CPU_TIME_PER_INFERENCE_S, E2E_P50_MS, ENGINE_SCORE

ROOT = Path(__file__).parents[1]
WITHIN = 5
SIGMAS = 4.0
SETTINGS = """default = "digits"
tracking_uri = "sqlite:///mlruns/mlflow.db"
[pipelines.digits]
ref = "handwriting:pipeline"
start = "scratch"
train = {{ devices = 1, max_epochs = {epochs} }}
engine = {{ backends = ["eager"], precisions = ["fp32"] }}
measure = {{ profile = "smoke", batches = {batches} }}
gates = {{}}
"""
MODULE = '''"""Handwritten digits, fifteen more of them before every retrain."""

import pytorch_lightning as pl
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

from plaster_ops.data.replay import ReplaySource

ROUNDS = {rounds}


class Net(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        scale = self.scale
        for _ in range(ROUNDS):
            scale = scale * 1.0
        return self.layers(x) * scale

    def training_step(self, batch, _):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=5e-4)


class Data(pl.LightningDataModule):
    def __init__(self, rows, window):
        super().__init__()
        self.fit, self.held_out = TensorDataset(*rows[: window.cut]), TensorDataset(*rows[window.cut : window.end])

    def train_dataloader(self):
        return DataLoader(self.fit, batch_size=32, shuffle=True)

    def test_dataloader(self):
        return DataLoader(self.held_out, batch_size=256)


class Digits:
    score = MulticlassAccuracy(10, average="micro")

    def __init__(self):
        bunch = load_digits()
        order = torch.randperm(len(bunch.target), generator=torch.Generator().manual_seed(7))
        x = torch.from_numpy(bunch.images).float().flatten(1)[order] / 16.0
        y = torch.from_numpy(bunch.target).long()[order]
        self.rows, self.frozen = TensorDataset(x[500:], y[500:]), TensorDataset(x[:500], y[:500])
        pieces = [800 + 15 * i for i in range(1, 34)]
        self.source = ReplaySource(name="digits", pieces=pieces, initial=1, holdout=100)

    def model(self):
        return Net()

    def data(self, window):
        return Data(self.rows, window)

    def golden(self):
        return self.frozen

    def sample_batch(self, n):
        return self.rows.tensors[0][:n]


pipeline = Digits
'''


@dataclass(frozen=True, kw_only=True, slots=True)
class Cause:
    """What goes wrong at retrain `at`: the metric that shows it, and the names of which a candidate must be one."""

    at: int
    key: str
    names: tuple[str, ...]
    words: str


class Project:
    """The project of the trial; `epochs`, `rounds` and `batches` are what goes wrong in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.epochs, self.rounds, self.batches = 8, 0, [1, 2, 4, 8, 16, 32, 64]

    def write(self) -> None:
        """Settings and code as they are now."""
        (self.folder / "plaster.toml").write_text(
            SETTINGS.format(epochs=self.epochs, batches=self.batches), encoding="utf-8"
        )
        (self.folder / "handwriting.py").write_text(MODULE.replace("{rounds}", str(self.rounds)), encoding="utf-8")

    def ask(self, *arguments: str) -> dict[str, Any]:
        """The `--json` answer of a command; raises where it failed."""
        done = subprocess.run(
            [sys.executable, "-m", "plaster_ops", *arguments, "--json"],
            cwd=self.folder,
            env=self._env(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"plaster-ops {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-2000:]}")
        return dict(json.loads(done.stdout.splitlines()[-1]))

    def sizes(self) -> dict[str, Any]:
        """What `injected_sizes` tells."""
        command = [sys.executable, "-m", "benchmarks.injected_sizes"]
        done = subprocess.run(command, cwd=self.folder, env=self._env(), check=True, capture_output=True, text=True)
        return dict(json.loads(done.stdout))

    def arrive(self) -> None:
        """One piece more of the data."""
        code = "import handwriting; handwriting.Digits().source.advance(1)"
        subprocess.run([sys.executable, "-c", code], cwd=self.folder, env=self._env(), check=True)

    def _env(self) -> dict[str, str]:
        return os.environ | {
            "PYTHONPATH": f"{ROOT}{os.pathsep}{self.folder}",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "NO_COLOR": "1",
        }


def values_of(payload: dict[str, Any]) -> dict[str, float]:
    """The measured values of a retrain's card, settled or not."""
    return {row["key"]: row["value"] for row in payload["card"] if row["status"] in ("measured", "unstable")}


def spread(history: Sequence[dict[str, float]], key: str) -> float:
    """Standard deviation of the logs of at most the newest twelve retrains that measured it."""
    return statistics.stdev(math.log(each[key]) for each in history[-12:] if key in each)


def spoil(project: Project, cause: Cause, history: Sequence[dict[str, float]]) -> str:
    """Puts the cause in, as large as it must be; what was done, in words."""
    sizes = project.sizes()
    factor = math.exp(SIGMAS * spread(history, cause.key))
    if cause.key == ENGINE_SCORE.key:
        full = sizes["scores"]["7"]
        project.epochs = max(int(e) for e, score in sizes["scores"].items() if score < full / factor)
        return f"{project.epochs} epochs"
    if cause.key == E2E_P50_MS.key:
        p50_ms = statistics.median(each[cause.key] for each in history[-12:] if cause.key in each)
        project.rounds = math.ceil(p50_ms * (factor - 1.0) / sizes["round_ms"])
        return f"{project.rounds} multiplications more in the forward"
    cost = {int(batch): us for batch, us in sizes["sample_us"].items()}
    largest = max(batch for batch, us in cost.items() if us > cost[64] * factor)
    project.batches = [batch for batch in project.batches if batch <= largest]
    return f"batches up to {largest}"


def run(project: Project, retrains: int, causes: Sequence[Cause], say: Any) -> list[dict[str, float]]:
    """All retrains, the causes put in at theirs."""
    history: list[dict[str, float]] = []
    for index in range(1, retrains + 1):
        cause = next((each for each in causes if each.at == index), None)
        if cause is not None:
            say(f"#{index}: {cause.words}: {spoil(project, cause, history)}")
        project.write()
        if index > 1:
            project.arrive()
        payload = project.ask("retrain", "digits")
        history.append(values_of(payload))
        told = [f"{a['key']} at #{a['index']}" for a in (payload["assessment"] or {}).get("alarms") or ()]
        shown = "  ".join(f"{history[-1].get(cause.key, math.nan):.4g}" for cause in causes)
        say(f"#{index:<3} {payload['verdict']:<9} {shown}  {'alarms: ' + ', '.join(told) if told else ''}")
    return history


def in_sigmas(history: Sequence[dict[str, float]], cause: Cause) -> float:
    """How far the level went, in standard deviations of at most twelve retrains before the cause."""
    logs = [math.log(each[cause.key]) if cause.key in each else None for each in history]
    earlier = [each for each in logs[: cause.at - 1] if each is not None][-12:]
    later = [each for each in logs[cause.at - 1 :][:6] if each is not None]
    return (statistics.median(later) - statistics.median(earlier)) / (statistics.stdev(earlier) or math.inf)


def judge(
    alarms: Sequence[dict[str, Any]], history: Sequence[dict[str, float]], causes: Sequence[Cause]
) -> tuple[Table, bool]:
    """The table, and whether every cause was told as it should be."""
    table = Table("cause", "metric", "at", "sigmas", "alarm at", "told at", "named", "right")
    good = True
    for cause in causes:
        mine = [a for a in alarms if a["key"] == cause.key and abs(a["index"] - cause.at) <= 1]
        found = mine[0] if mine else None
        named = [c["name"] for c in found["candidates"]] if found else []
        right = (
            found is not None
            and cause.at <= found["raised_index"] <= cause.at + WITHIN - 1
            and bool({*named} & {*cause.names})
        )
        good &= right
        table.add_row(
            cause.words,
            cause.key,
            f"#{cause.at}",
            f"{in_sigmas(history, cause):+.1f}",
            f"#{found['index']}" if found else "none",
            f"#{found['raised_index']}" if found else "",
            ", ".join(named[:3]),
            "yes" if right else "NO",
        )
    return table, good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--retrains", type=int, default=30)
    parser.add_argument("--keep", type=Path, help="an empty folder for the project, which then stays")
    wanted = parser.parse_args()
    console = Console(width=150)
    causes = (
        Cause(at=11, key=ENGINE_SCORE.key, names=("train.max_epochs",), words="fewer epochs"),
        Cause(at=17, key=E2E_P50_MS.key, names=("sources",), words="a slower forward"),
        Cause(at=24, key=CPU_TIME_PER_INFERENCE_S.key, names=("engine.max_batch",), words="smaller batches"),
    )
    with tempfile.TemporaryDirectory(prefix="plaster-injected-") as scratch:
        folder = wanted.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        project = Project(folder.absolute())
        history = run(project, wanted.retrains, causes, console.print)
        alarms = project.ask("drift", "digits", "--all")["alarms"]
        table, good = judge(alarms, history, causes)
        console.print(table)
        expected = {cause.at for cause in causes}
        rest = [a for a in alarms if not any(abs(a["index"] - at) <= 1 for at in expected)]
        console.print(f"{len(rest)} alarms at other retrains: {[(a['key'], a['index'], a['worse']) for a in rest]}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

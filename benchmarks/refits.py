"""Ten retrains of an unchanged architecture: the engine refitted night by night, beside one built anew each time.

`python benchmarks/refits.py [--nights 10] [--backend inductor]` makes two scratch projects of the digits, in which a
few more rows arrive before each retrain, and retrains them by turns with `plaster-ops retrain --no-measure`: one as the
settings come, one with `engine.refit = false`. Prints what was decided each night, the seconds of the stage that made
the engine, of the in-place call alone, and of everything between weights and engine, in Markdown.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plaster_ops.domain.metrics import OPTIMIZE_S

ROOT = Path(__file__).parents[1]
PIPELINE = '''"""The digits, arriving in many small pieces."""

from pipelines.digits import Digits
from plaster_ops.data.replay import ReplaySource


class Nights(Digits):
    def __init__(self) -> None:
        super().__init__()
        self.source = ReplaySource(name="nights", pieces=range(900, 900 + 40 * {nights}, 40), holdout=200)
'''
SETTINGS = """default = "nights"
tracking_uri = "sqlite:///mlruns/mlflow.db"
[pipelines.nights]
ref = "nights:Nights"
start = "warm"
trigger = {{ min_new_samples = 10 }}
train = {{ devices = 1, max_epochs = 2 }}
engine = {{ backends = ["{backend}"], precisions = ["fp32"], refit = {refit} }}
gates = {{ accuracy = {{ max_drop = 0.2 }} }}
"""


def make_project(folder: Path, backend: str, nights: int, *, refit: bool) -> Path:
    """A project of its own, with the pipeline that it retrains."""
    folder.mkdir()
    shutil.copytree(ROOT / "pipelines", folder / "pipelines", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "nights.py").write_text(PIPELINE.format(nights=nights), encoding="utf-8")
    text = SETTINGS.format(backend=backend, refit=str(refit).lower())
    (folder / "plaster.toml").write_text(text, encoding="utf-8")
    return folder


def retrain(project: Path) -> dict[str, Any]:
    """The record of one more retrain."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-m", "plaster_ops", "retrain", "--no-measure", "--json", "--quiet"]
    ended = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True)
    if ended.returncode not in (0, 3):
        raise SystemExit(f"the retrain ended with {ended.returncode}:\n{ended.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def arrive(project: Path) -> None:
    """Lets the next piece arrive."""
    code = "import nights; nights.Nights().source.advance(1)"
    env = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{project}", "PLASTER_PROJECT": str(project)}
    subprocess.run([sys.executable, "-c", code], cwd=project, env=env, check=True)


def optimised_s(record: Mapping[str, Any]) -> float:
    """Seconds from trained weights to an accepted engine."""
    return float(next(row["value"] for row in record["card"] if row["key"] == OPTIMIZE_S.key))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=int, default=10)
    parser.add_argument("--backend", default="inductor")
    given = parser.parse_args()
    totals = {"refit": 0.0, "rebuild": 0.0}
    print("| night | decision | stage s | call s | optimise s | built anew: decision | stage s | optimise s |")
    print("|-|-|-|-|-|-|-|-|")
    with tempfile.TemporaryDirectory(prefix="refits-") as place:
        projects = {
            arm: make_project(Path(place) / arm, given.backend, given.nights, refit=arm == "refit") for arm in totals
        }
        for night in range(1, given.nights + 1):
            cells = [str(night)]
            for arm, project in projects.items():
                if night > 1:
                    arrive(project)
                record = retrain(project)
                engine, seconds = record["engine"], optimised_s(record)
                totals[arm] += seconds
                cells += [engine["decision"], f"{engine['stage_s']:.2f}"]
                if arm == "refit":
                    cells.append("" if engine.get("refit_s") is None else f"{engine['refit_s']:.5f}")
                cells.append(f"{seconds:.1f}")
            print(f"| {' | '.join(cells)} |", flush=True)
    ratio = totals["rebuild"] / totals["refit"]
    print(f"\nOptimise time in all: {totals['refit']:.1f} s, built anew {totals['rebuild']:.1f} s: {ratio:.2f}x.")


if __name__ == "__main__":
    main()

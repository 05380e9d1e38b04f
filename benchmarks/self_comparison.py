"""Does a comparison tell the truth? One engine against itself, and against one that was slowed on purpose.

`python benchmarks/self_comparison.py [--rounds 10] [--slow 0.2]` retrains `digits` twice in a scratch project - the
second time with a test double that spins - and then runs `plaster-ops compare` on the two engines, in turn, as a user
would. Prints the verdicts per metric and the seconds that a comparison took. Takes about 15 minutes.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
KEYS = ("latency/e2e_p50_ms", "throughput/slo_samples_per_s", "accuracy/rolling_score", "accuracy/engine_score")
SETTINGS = """
default = "digits"
[pipelines.digits]
ref = "pipelines.digits:pipeline"
train = {{ max_epochs = 2 }}
engine = {{ backends = ["{backend}"], options = {{ {options} }} }}
gates = {{ accuracy = {{ max_drop = 0.5 }}, latency = {{ max_rise_ratio = 0.05 }} }}
"""


def plaster(project: Path, *arguments: str) -> dict[str, Any]:
    env = os.environ | {"PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(
        [sys.executable, "-m", "plaster_ops", *arguments, "--json"],
        cwd=project,
        env=env,
        stdout=subprocess.PIPE,
        check=False,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def settings(project: Path, backend: str, options: str = "") -> None:
    (project / "plaster.toml").write_text(SETTINGS.format(backend=backend, options=options), encoding="utf-8")


def prepare(project: Path, slow: float) -> None:
    shutil.copytree(ROOT / "pipelines", project / "pipelines", ignore=shutil.ignore_patterns("__pycache__"))
    settings(project, "openvino")
    plaster(project, "retrain", "--no-measure", "--quiet")
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "pipelines.digits", "arrive"], cwd=project, env=env, check=True)
    settings(project, "tests.engines.doubles:SpinningBackend", f'inner = "openvino", slow_ratio = {slow}')
    held = plaster(project, "retrain", "--profile", "smoke")
    print(f"retrain with the slowed engine: {held['verdict']}, exit {held['exit_code']}, {held['reasons'][:1]}")


def rounds(project: Path, pair: tuple[str, str], count: int) -> None:
    told: dict[str, Counter[str]] = {key: Counter() for key in KEYS}
    seconds = []
    for _ in range(count):
        began_s = time.monotonic()
        payload = plaster(project, "compare", *pair, "--profile", "smoke")
        seconds.append(time.monotonic() - began_s)
        rows = {row["key"]: row for row in payload["comparison"]}
        for key in KEYS:
            told[key][rows[key]["verdict"]] += 1
        row = rows[KEYS[0]]
        print(
            f"  {pair}: {seconds[-1]:.1f} s  p50 {row['change_ratio']:+.3f} {row['ci95']} {row['verdict']}", flush=True
        )
    print(f"{pair[0]} against {pair[1]}, {count} comparisons, longest {max(seconds):.1f} s")
    for key in KEYS:
        print(f"  {key:32} {dict(told[key])}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--slow", type=float, default=0.2)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="plaster-aa-") as folder:
        project = Path(folder)
        prepare(project, wanted.slow)
        rounds(project, ("1", "1"), wanted.rounds)
        rounds(project, ("2", "1"), wanted.rounds)


if __name__ == "__main__":
    main()

"""First contact: packages of PyPI that never heard of plaster-ops, from `init` to the first finished retrain.

Each is installed without its dependencies into a temporary folder (torch, lightning and scikit-learn are here) and
works on real data that comes with a package. Prints the commands, what `init` said, seconds and how each ended.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stranger:
    """A package, the lines that its user writes, and what `init` is told."""

    package: str
    name: str
    module: str
    data: str
    arguments: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)


_DIABETES = "spotpython.data.diabetes.Diabetes()"
_MINE = """import torch
from mlcolvar.data import DictDataset, DictModule
from sklearn.datasets import load_diabetes


def diabetes():
    x, y = (torch.tensor(part).float() for part in load_diabetes(return_X_y=True))
    seed = torch.Generator().manual_seed(0)
    rows = DictDataset({"data": x, "target": y[:, None]})
    return DictModule(rows, lengths=(0.6, 0.15, 0.25), shuffle=[True, False, False], generator=seed)
"""
STRANGERS = (
    Stranger(
        package="spotpython==0.36.2",
        name="diabetes",
        module="spotpython.light.regression.netlightregression:NetLightRegression",
        data="spotpython.data.lightdatamodule:LightDataModule",
        arguments=(
            f"data_full_train=torch.utils.data.Subset({_DIABETES}, range(331))",
            f"data_test=torch.utils.data.Subset({_DIABETES}, range(331, 442))",
            "test_size=0.2",
            "l1=64",
            "initialization=Default",
            "act_fn=torch.nn.ReLU()",
            "lr_mult=10",
            "_torchmetric=mean_squared_error",
        ),
    ),
    Stranger(
        package="mlcolvar==1.3.1",
        name="collective",
        module="mlcolvar.cvs:RegressionCV",
        data="mine:diabetes",
        arguments=("layers=[10, 32, 16, 1]",),
        files={"mine.py": _MINE},
    ),
)


def main() -> int:
    """Tries each package; 0 where all ended in a finished retrain."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="package name")
    wanted = parser.parse_args().only
    codes = [meet(stranger) for stranger in STRANGERS if wanted is None or stranger.package.startswith(wanted)]
    return max(codes, default=1)


def meet(stranger: Stranger) -> int:
    """From an empty folder to the first retrain of one package; its exit code, 0 too where pip has no network."""
    with tempfile.TemporaryDirectory() as folder:
        packages, project = Path(folder, "packages"), Path(folder, "project")
        project.mkdir()
        install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(packages)]
        if subprocess.run([*install, stranger.package], check=False, timeout=300).returncode:
            print(f"{stranger.package}: skipped, pip could not install it (is there a network?)")
            return 0
        for name, text in stranger.files.items():
            (project / name).write_text(text, encoding="utf-8")
        written = sum(len(text.splitlines()) for text in stranger.files.values())
        print(f"\n{stranger.package}: lines written by hand: {written}")
        env = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(packages))), "MLFLOW_DISABLE_TELEMETRY": "1"}
        flags = [part for argument in stranger.arguments for part in ("--arg", argument)]
        begin = ["init", "--name", stranger.name, "--module", stranger.module, "--data", stranger.data, *flags]
        code = run(project, env, *begin)
        return code or run(project, env, "retrain", stranger.name, "--profile", "smoke", "--json")


def run(project: Path, env: dict[str, str], *arguments: str) -> int:
    """One command, as a user types it."""
    print(f"$ plaster-ops {shlex.join(arguments)}", flush=True)
    began_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "plaster_ops", *arguments],
        cwd=project,
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    print(told(done.stdout) if "--json" in arguments else done.stdout)
    print(f"exit {done.returncode} after {time.monotonic() - began_s:.0f} s", flush=True)
    return done.returncode


def told(text: str) -> str:
    """Verdict, engine and score of a retrain's `--json`."""
    payload = json.loads(text)
    rows = {row["key"]: row["value"] for row in payload["card"]}
    engine = payload["engine"]
    return (
        f"{payload['verdict']}: {engine['backend']} {engine['precision']}, "
        f"score {rows['accuracy/engine_score']:.4f} on {payload['data']['eval_samples']} held-out samples, "
        f"p50 {rows['latency/e2e_p50_ms']:.4f} ms"
    )


if __name__ == "__main__":
    sys.exit(main())

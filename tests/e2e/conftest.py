"""A project of a user, outside the repository's own settings, and the command as a user runs it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

MODULE = Path(__file__).with_name("user_module.py")

SETTINGS = """
default = "flowers"
tracking_uri = "sqlite:///mlruns/mlflow.db"

[pipelines.flowers]
ref = "user_module:pipeline"
train = { max_epochs = 3, seed = 1 }
engine = { backends = ["openvino"], precisions = ["fp32"] }
measure = { profile = "smoke", slo_ms = 50.0, batches = [1, 8] }
gates = { accuracy = { max_drop = 0.2 }, latency = { max_rise_ratio = 2.0 } }
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def payload(self) -> dict[str, Any]:
        """stdout as the one JSON object that it must be."""
        found: dict[str, Any] = json.loads(self.out)
        return found


def command_line(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "plaster_ops", *arguments]


def environment() -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    return os.environ | {"PYTHONPATH": root, "MLFLOW_DISABLE_TELEMETRY": "true", "NO_COLOR": "1"}


def run_command(project: Path, *arguments: str, timeout_s: float = 280, env: dict[str, str] | None = None) -> Ended:
    done = subprocess.run(
        command_line(*arguments),
        cwd=project,
        env=environment() | (env or {}),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    return Ended(code=done.returncode, out=done.stdout, err=done.stderr)


_STORE: list[Path] = []


@pytest.fixture(scope="session", autouse=True)
def empty_store(template_store: Path) -> None:
    """What `make_project` begins with, and a user's first retrain makes; test_bring_your_own does too."""
    _STORE[:] = [template_store]


def make_project(folder: Path, settings: str = SETTINGS, *, store: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if store:
        (folder / "mlruns").mkdir()
        shutil.copyfile(_STORE[0], folder / "mlruns" / "mlflow.db")
    (folder / "plaster.toml").write_text(settings, encoding="utf-8")
    shutil.copyfile(MODULE, folder / "user_module.py")
    return folder


def let_arrive(project: Path, rows: int) -> None:
    """More rows of the replayed set arrive."""
    state = project / "mlruns" / "replay" / "flowers.json"
    state.parent.mkdir(parents=True, exist_ok=True)
    state.write_text(json.dumps({"arrived": rows, "at": 1_760_000_000.0}), encoding="utf-8")


@pytest.fixture(scope="session")
def retrained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended, Ended]:
    """A project after two retrains on newly arriving data; the second with two ranks, and in the compiled package of
    the first. Tests must not change it."""
    settings = SETTINGS.replace('"openvino"', '"inductor"')
    project = make_project(tmp_path_factory.mktemp("retrained") / "project", settings)
    first = run_command(project, "retrain", "--json")
    let_arrive(project, 360)
    second = run_command(project, "retrain", "flowers", "--devices", "2", "--compare", "last", "--json")
    return project, first, second


@pytest.fixture
def copy_of(retrained: tuple[Path, Ended, Ended], tmp_path: Path) -> Callable[[], Path]:
    """A copy of that project, moved as a user would move it, that a test may spoil."""
    return lambda: copied(retrained[0], tmp_path)


def copied(project: Path, folder: Path) -> Path:
    target = folder / "copy"
    shutil.copytree(project, target, symlinks=True)
    return target

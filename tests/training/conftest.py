"""What the tests of training share."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plaster_ops.training.messages import FitSpec

PROJECT = Path(__file__).parent / "project"
EVERYTHING = {"learned": None, "seen": None, "cut": None, "end": None}

SpecMaker = Callable[..., FitSpec]


@pytest.fixture
def make_spec(tmp_path: Path) -> SpecMaker:
    """Makes specs for a project folder of this test's own, with `tiny.py` in it."""
    project = tmp_path / "project"
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("__pycache__"))

    def make(**changes: Any) -> FitSpec:
        values: dict[str, Any] = {
            "reference": "tiny:pl_plain",
            "project": str(project),
            "window": EVERYTHING,
            "max_epochs": 4,
            "checkpoint_folder": str(tmp_path / "checkpoints"),
            "devices": 1,
            "accelerator": "cpu",
            "threads": 1,
        }
        return FitSpec(**(values | changes))

    return make

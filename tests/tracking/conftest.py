"""Each test gets a copy of the one MLflow store of tests/conftest.py."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from plaster_ops.tracking.connection import Location, resolve_uri
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.mlflow_store import MlflowTracker


@pytest.fixture
def project(tmp_path: Path, template_store: Path) -> Path:
    """A project folder with an empty store in `mlruns/mlflow.db`."""
    folder = tmp_path / "project"
    (folder / "mlruns").mkdir(parents=True)
    shutil.copyfile(template_store, folder / "mlruns" / "mlflow.db")
    return folder


@pytest.fixture
def location(project: Path) -> Location:
    return resolve_uri("sqlite:///mlruns/mlflow.db", project)


@pytest.fixture
def tracker(location: Location) -> Iterator[MlflowTracker]:
    with MlflowTracker(location) as opened:
        yield opened


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal.open(tmp_path / "project" / "mlruns") as opened:
        yield opened

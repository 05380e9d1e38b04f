"""One MLflow store is made per session; each test gets a copy of it, for a fresh one costs seconds."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from plaster_ops.tracking.connection import Location, resolve_uri
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.mlflow_store import MlflowTracker


@pytest.fixture(scope="session")
def template_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    database = folder / "mlflow.db"
    with MlflowTracker.at(f"sqlite:///{database}") as tracker:
        tracker.sweep_stale("nowhere")
    with closing(sqlite3.connect(database)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.execute("PRAGMA journal_mode = DELETE")
    return database


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

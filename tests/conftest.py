"""Fixtures that several rooms share; what one room needs stands in its own conftest."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from plaster_ops.tracking.journal import Journal

ROOT = Path(__file__).parents[1]

# torch believes what the processor says of its vectors; else each fresh cache of its compiler costs 8 s of trying it.
os.environ.setdefault("TORCHINDUCTOR_VEC_ISA_OK", "1")


@pytest.fixture(scope="session")
def template_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow store in SQLite, made once for all workers, for a fresh one costs seconds. Tests copy it."""
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    database = folder / "template" / "mlflow.db"
    with FileLock(folder / "template.lock"):
        if not database.is_file():
            from plaster_ops.tracking.mlflow_store import MlflowTracker

            database.parent.mkdir()
            fresh = database.with_name("fresh.db")
            with MlflowTracker.at(f"sqlite:///{fresh}") as tracker:
                tracker.sweep_stale("nowhere")
            with closing(sqlite3.connect(fresh)) as db:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                db.execute("PRAGMA journal_mode = DELETE")
            fresh.rename(database)
    return database


@dataclass
class SteppedClock:
    """A clock that stands still until a test moves it."""

    monotonic: float = 100.0
    epoch: float = 1_795_000_000.0

    def now_utc(self) -> float:
        return self.epoch

    def monotonic_s(self) -> float:
        return self.monotonic

    def step(self, seconds: float) -> None:
        self.monotonic += seconds
        self.epoch += seconds


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """An empty journal in `tmp_path/project/mlruns`."""
    with Journal.open(tmp_path / "project" / "mlruns") as opened:
        yield opened


@pytest.fixture
def root() -> Path:
    """The root of the repository."""
    return ROOT

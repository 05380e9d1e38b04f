"""Fixtures that several rooms share; what one room needs stands in its own conftest."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from plaster_ops.tracking.journal import Journal

ROOT = Path(__file__).parents[1]


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

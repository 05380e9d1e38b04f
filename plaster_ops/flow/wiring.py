"""Concrete classes are chosen here and nowhere else."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from plaster_ops.ports import Clock, SystemClock
from plaster_ops.settings import Settings
from plaster_ops.tracking.connection import Location, resolve_uri
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_file import FILE_NAME

if TYPE_CHECKING:
    from plaster_ops.tracking.mlflow_store import MlflowTracker


@dataclass(frozen=True, kw_only=True, slots=True)
class Ports:
    """The journal of a project, its tracker (made only when asked for: it imports mlflow), and the clock."""

    journal: Journal
    clock: Clock
    settings: Settings

    def tracker(self) -> "MlflowTracker":
        """The MLflow store that the settings name; nothing is contacted yet."""
        from plaster_ops.tracking.mlflow_store import MlflowTracker

        return MlflowTracker(self.location())

    def location(self) -> Location:
        """Where that store lies, every path absolute."""
        return resolve_uri(self.settings.tracking_uri, self.settings.project)


@contextmanager
def open_ports(settings: Settings, clock: Clock | None = None) -> Iterator[Ports]:
    """Everything a command needs, closed at the end. Raises `NotRecorded` where the journal cannot be written."""
    fresh = not settings.memory.exists()
    with Journal.open(settings.memory) as journal:
        if fresh:
            (settings.memory / ".gitignore").write_text("*\n", encoding="utf-8")
        yield Ports(journal=journal, clock=clock or SystemClock(), settings=settings)


def has_journal(settings: Settings) -> bool:
    """Whether anything was ever recorded in the project."""
    return (settings.memory / FILE_NAME).exists()


@contextmanager
def open_to_look(settings: Settings) -> Iterator[Ports]:
    """The same for a question, or for what can only be done to runs that are there: a project that has no journal yet
    gets none, it is answered from an empty one elsewhere that is gone at the end."""
    if has_journal(settings):
        with open_ports(settings) as ports:
            yield ports
        return
    with TemporaryDirectory(prefix="plaster-") as folder, Journal.open(Path(folder)) as journal:
        yield Ports(journal=journal, clock=SystemClock(), settings=settings)

"""The journal: one local SQLite file that knows every run, slot, promotion and waiting record of a project.

It is written before anything is told to MLflow, so that an outage or a `kill -9` loses nothing. Standard library only.
"""

from pathlib import Path
from types import TracebackType
from typing import Self

from plaster_ops.tracking.journal_alarms import Alarms
from plaster_ops.tracking.journal_evidence import KeptEvidence
from plaster_ops.tracking.journal_file import JournalFile
from plaster_ops.tracking.journal_history import Watermarks
from plaster_ops.tracking.journal_learning import Learning
from plaster_ops.tracking.journal_runs import RunLog
from plaster_ops.tracking.journal_series import SeriesOfRuns
from plaster_ops.tracking.noise_floors import NoiseFloors
from plaster_ops.tracking.outbox import Outbox


class Journal(RunLog, Watermarks, SeriesOfRuns, Alarms, KeptEvidence, Learning, Outbox, NoiseFloors):
    """`<folder>/plaster.db`, open. Use it with `with`; raises `NotRecorded` where it cannot be written."""

    def __init__(self, file: JournalFile) -> None:
        self.file = file

    @classmethod
    def open(cls, folder: Path, *, busy_timeout_s: float | None = None) -> Self:
        """The journal in that folder (a project's `mlruns/`), made or migrated where needed."""
        return cls(JournalFile(folder, busy_timeout_s=busy_timeout_s))

    @property
    def folder(self) -> Path:
        """The folder that holds the file."""
        return self.file.folder

    def close(self) -> None:
        """Closes the file."""
        self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def aliases(self, pipeline: str) -> dict[str, str]:
        """The uids that `champion`, `challenger` and `previous` mean now; an alias that means nothing is absent."""
        meant = {
            "champion": self.champion(pipeline),
            "challenger": self.challenger(pipeline),
            "previous": self.previous_champion(pipeline),
        }
        return {alias: row.uid for alias, row in meant.items() if row is not None}

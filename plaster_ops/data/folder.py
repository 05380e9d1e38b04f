"""A folder or bucket that files land in, as a source: `FolderSource` for a pipeline's `source`.

docs/pipelines.md says what becomes of late, doubled, unfinished, damaged and poisoned files.
"""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from plaster_ops.data.arrivals import Arrivals, parse_holdout
from plaster_ops.data.formats import SUFFIXES
from plaster_ops.data.landed import Landed
from plaster_ops.data.listing import open_folder
from plaster_ops.domain.window import Watermark
from plaster_ops.errors import DataError


@dataclass(frozen=True, slots=True)
class FolderSource(Landed):
    """Files under `path`: a folder (relative to the project) or any address of fsspec, with its `storage_options`.

    `time`, `label`: columns of event time and of the label. `holdout`: how much of the newest data is held out, a
    duration of event time (`"7d"`) or a number of rows. `format`: `parquet`, `csv`, `numpy` or `image`; None: by the
    ends of names. `schema`: columns and Arrow types; None: those of the first file. `ranges`: `{column: (least,
    most)}`. `labels`: the values that the label may have. `key`: columns that make a row one of a kind.
    `label_delay`: rows younger than this are not used yet. `settle_s`: a file is taken when it stood still so long;
    `patience_s`: how old an unreadable file becomes before it counts as broken. `project` defaults to PLASTER_PROJECT,
    then to the working directory. The ledger is `mlruns/sources/<name>.db` there.
    """

    path: str | Path
    _: KW_ONLY
    format: str | None = None
    settle_s: float = 2.0
    patience_s: float = 3600.0
    storage_options: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not self.name or Path(self.name).name != self.name:
            raise DataError(f"source name {self.name!r} is no file name", "its ledger is mlruns/sources/<name>.db")
        if self.format is not None and self.format not in SUFFIXES:
            raise DataError(f"format {self.format!r} is unknown", f"known: {', '.join(SUFFIXES)}")
        parse_holdout(self.holdout, has_time=self.time is not None)
        self._rules()

    def newest(self) -> Watermark | None:
        """Looks at the folder, accepts what arrived, and returns the frontier of what is usable; None without rows."""
        arrivals = self._arrivals()
        arrivals.scan()
        return arrivals.newest()

    def open(self, path: str) -> BinaryIO:
        """One of the files, to read bytes from: `path` as the column `path` of an image's row has it."""
        return self._arrivals().folder.open(path)

    def _arrivals(self) -> Arrivals:
        project = self.project_folder
        holdout_us, holdout_rows = parse_holdout(self.holdout, has_time=self.time is not None)
        return Arrivals(
            name=self.name,
            file=project / "mlruns" / "sources" / f"{self.name}.db",
            folder=open_folder(self.path, project, self.storage_options),
            rules=self._rules(),
            format=self.format,
            holdout_us=holdout_us,
            holdout_rows=holdout_rows,
            settle_s=self.settle_s,
            patience_s=self.patience_s,
            clock=self.clock,
        )

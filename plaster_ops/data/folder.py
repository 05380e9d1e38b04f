"""A folder or bucket that files land in, as a source: `FolderSource` for a pipeline's `source`.

docs/pipelines.md says what becomes of late, doubled, unfinished, damaged and poisoned files.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from plaster_ops.data.arrivals import Arrivals, parse_holdout
from plaster_ops.data.formats import SUFFIXES
from plaster_ops.data.listing import open_folder
from plaster_ops.data.rules import make_rules
from plaster_ops.domain.window import Watermark, Window
from plaster_ops.errors import DataError
from plaster_ops.ports import Clock, SystemClock


@dataclass(frozen=True, slots=True)
class FolderSource:
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
    name: str
    time: str | None = None
    label: str | None = None
    holdout: str | int
    format: str | None = None
    schema: Mapping[str, str] | None = None
    ranges: Mapping[str, tuple[float, float]] | None = None
    labels: Sequence[Any] | None = None
    key: Sequence[str] | None = None
    label_delay: str = "0s"
    max_missing_ratio: float = 0.05
    settle_s: float = 2.0
    patience_s: float = 3600.0
    storage_options: Mapping[str, Any] | None = None
    project: Path | None = None
    clock: Clock = SystemClock()  # noqa: RUF009 - frozen and without state

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

    def count(self, after: Watermark | None, upto: Watermark | None) -> int:
        """Rows of `upto` that are not in `after`."""
        return self._arrivals().count(after, upto)

    def cut(self, after: Watermark | None, upto: Watermark | None) -> Watermark | None:
        """Where training ends and the rolling set begins; never earlier in time than any cut before."""
        return self._arrivals().cut(after, upto)

    def arrived_at(self, upto: Watermark | None) -> float | None:
        """When the newest rows landed, seconds since the epoch."""
        return self._arrivals().arrived_at(upto)

    def times(self, after: Watermark | None, upto: Watermark | None) -> list[tuple[float, int]]:
        """When rows came into being: pairs (seconds since the epoch, rows)."""
        return self._arrivals().times(after, upto)

    def train_rows(self, window: Window) -> pa.Table:
        """The rows to train on, by event time and then by arrival: new ones, and the old ones that the window repeats.

        Raises `DataError` naming a file that changed since it was accepted.
        """
        return self._arrivals().train_rows(window)

    def held_out_rows(self, window: Window) -> pa.Table:
        """The rolling set of the window, by event time and then by arrival; raises as `train_rows` does."""
        return self._arrivals().held_out_rows(window)

    def open(self, path: str) -> BinaryIO:
        """One of the files, to read bytes from: `path` as the column `path` of an image's row has it."""
        return self._arrivals().folder.open(path)

    def report(self, window: Window | None = None) -> dict[str, Any]:
        """What became of every file, and what is out of the ordinary in the window: `data.arrival` of `--json`."""
        return self._arrivals().report(window)

    def _arrivals(self) -> Arrivals:
        project = self.project or Path(os.environ.get("PLASTER_PROJECT") or Path.cwd())
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

    def _rules(self) -> Any:
        return make_rules(
            time=self.time,
            label=self.label,
            schema=self.schema,
            ranges=self.ranges,
            labels=self.labels,
            key=self.key,
            label_delay=self.label_delay,
            max_missing_ratio=self.max_missing_ratio,
        )

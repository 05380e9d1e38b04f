"""Rows that a function of yours fetches: an API, a queue, a feature store. Landed as files, then as any other files.

What was fetched is written to `mlruns/sources/<name>/landed/` before the cursor moves on, and the file holds the cursor
that came with it: killed at any point, the next call finds the file and does not ask for its rows again.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from plaster_ops.data.folder import FolderSource
from plaster_ops.data.ledger import Ledger
from plaster_ops.domain.window import Watermark, Window
from plaster_ops.errors import DataError
from plaster_ops.ports import Clock, SystemClock

_CURSOR = b"plaster.cursor"
Fetch = Callable[[Any], tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class CallableSource:
    """`fetch(after)` returns `(rows, cursor)`: what came after its own last cursor (None at first), and the new one.

    `rows`: an Arrow table, a dict of columns, or a list of dicts; none of them is fine. `cursor`: anything JSON has.
    It is called once by each retrain, by one process. The other keywords are those of `FolderSource`.
    """

    fetch: Fetch
    _: KW_ONLY
    name: str
    time: str | None = None
    label: str | None = None
    holdout: str | int
    schema: Mapping[str, str] | None = None
    ranges: Mapping[str, tuple[float, float]] | None = None
    labels: Sequence[Any] | None = None
    key: Sequence[str] | None = None
    label_delay: str = "0s"
    max_missing_ratio: float = 0.05
    project: Path | None = None
    clock: Clock = SystemClock()  # noqa: RUF009 - frozen and without state

    def __post_init__(self) -> None:
        if not callable(self.fetch):
            raise DataError(f"source {self.name!r}: fetch is {self.fetch!r}", "give a function fetch(after)")
        self._folder()

    def newest(self) -> Watermark | None:
        """Fetches what is there, and returns the frontier of what is usable; None without rows."""
        folder = self._project() / "mlruns" / "sources" / self.name / "landed"
        folder.mkdir(parents=True, exist_ok=True)
        with Ledger.opened(folder.parent.parent / f"{self.name}.db", create=True) as ledger, ledger.writing():
            self._land(ledger, folder)
        return self._folder().newest()

    def count(self, after: Watermark | None, upto: Watermark | None) -> int:
        """Rows of `upto` that are not in `after`."""
        return self._folder().count(after, upto)

    def cut(self, after: Watermark | None, upto: Watermark | None) -> Watermark | None:
        """Where training ends and the rolling set begins; never earlier in time than any cut before."""
        return self._folder().cut(after, upto)

    def arrived_at(self, upto: Watermark | None) -> float | None:
        """When the newest rows were fetched, seconds since the epoch."""
        return self._folder().arrived_at(upto)

    def times(self, after: Watermark | None, upto: Watermark | None) -> list[tuple[float, int]]:
        """When rows came into being: pairs (seconds since the epoch, rows)."""
        return self._folder().times(after, upto)

    def train_rows(self, window: Window) -> pa.Table:
        """As `FolderSource.train_rows`."""
        return self._folder().train_rows(window)

    def held_out_rows(self, window: Window) -> pa.Table:
        """As `FolderSource.held_out_rows`."""
        return self._folder().held_out_rows(window)

    def report(self, window: Window | None = None) -> dict[str, Any]:
        """As `FolderSource.report`."""
        return self._folder().report(window)

    def _land(self, ledger: Ledger, folder: Path) -> None:
        """One fetch to one file. A file that is there already is of a call that was cut off: its cursor is taken."""
        number, after = int(ledger.meta("fetched", 0)) + 1, ledger.meta("cursor")
        file = folder / f"{number:08d}.parquet"
        if file.exists():
            cursor = json.loads(pq.read_schema(file).metadata[_CURSOR])
        else:
            rows, cursor = self._fetched(after)
            if rows.num_rows:
                _write(rows, json.dumps(cursor), file)
        if file.exists():
            ledger.set_meta("fetched", number)
        ledger.set_meta("cursor", cursor)

    def _fetched(self, after: Any) -> tuple[pa.Table, Any]:
        found = self.fetch(after)
        if not isinstance(found, tuple) or len(found) != 2:
            raise DataError(
                f"fetch of source {self.name!r} returned {type(found).__name__}",
                "return (rows, cursor)",
            )
        rows, cursor = found
        try:
            json.dumps(cursor)
            return _table(rows), cursor
        except (TypeError, ValueError, pa.ArrowException) as error:
            raise DataError(
                f"fetch of source {self.name!r} returned what cannot be kept: {error}",
                "rows: an Arrow table, a dict of columns or a list of dicts; cursor: what JSON has",
            ) from error

    def _folder(self) -> FolderSource:
        given = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "fetch"}
        return FolderSource(f"mlruns/sources/{self.name}/landed", settle_s=0.0, format="parquet", **given)

    def _project(self) -> Path:
        return self.project or Path(os.environ.get("PLASTER_PROJECT") or Path.cwd())


def _table(rows: Any) -> pa.Table:
    if rows is None:
        return pa.table({})
    if isinstance(rows, pa.Table):
        return rows
    if isinstance(rows, Mapping):
        return pa.table(dict(rows))
    return pa.Table.from_pylist(list(rows)) if len(rows) else pa.table({})


def _write(rows: pa.Table, cursor: str, file: Path) -> None:
    """The whole file or none, on disk when this returns."""
    draft = file.with_suffix(".tmp")
    kept = dict(rows.schema.metadata or {}) | {_CURSOR: cursor.encode()}
    with draft.open("wb") as out:
        pq.write_table(rows.replace_schema_metadata(kept), out)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(file)

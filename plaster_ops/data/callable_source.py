"""Rows that a function of yours fetches: an API, a queue, a feature store. Landed as files, then as any other files.

What was fetched is written to `mlruns/sources/<name>/landed/` before the cursor moves on, and the file holds the cursor
that came with it: killed at any point, the next call finds the file and does not ask for its rows again.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from plaster_ops.data.arrivals import Arrivals
from plaster_ops.data.folder import FolderSource
from plaster_ops.data.landed import Landed
from plaster_ops.data.ledger import Ledger
from plaster_ops.data.lookout import Lookout
from plaster_ops.domain.window import Watermark
from plaster_ops.errors import DataError

_CURSOR = b"plaster.cursor"
Fetch = Callable[[Any], tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class CallableSource(Landed):
    """`fetch(after)` returns `(rows, cursor)`: what came after its own last cursor (None at first), and the new one.

    `rows`: an Arrow table, a dict of columns, or a list of dicts; none of them is fine. `cursor`: anything JSON has.
    It is called once by each retrain, by one process, and by each look of a scheduler that waits for new data. The
    other keywords are those of `FolderSource`.
    """

    fetch: Fetch

    def __post_init__(self) -> None:
        if not callable(self.fetch):
            raise DataError(f"source {self.name!r}: fetch is {self.fetch!r}", "give a function fetch(after)")
        self._folder()

    def newest(self) -> Watermark | None:
        """Fetches what is there, and returns the frontier of what is usable; None without rows."""
        self._land_new()
        return self._folder().newest()

    def lookout(self) -> Lookout:
        """As of any landed files; each look fetches first, and what came is landed, not yet taken in."""
        return Lookout(self._arrivals(), before=self._land_new)

    def _land_new(self) -> None:
        folder = self.project_folder / "mlruns" / "sources" / self.name / "landed"
        folder.mkdir(parents=True, exist_ok=True)
        with Ledger.opened(folder.parent.parent / f"{self.name}.db", create=True) as ledger, ledger.writing():
            self._land(ledger, folder)

    def _land(self, ledger: Ledger, folder: Path) -> None:
        """One fetch to one file. Files that are there already are of a call that was cut off, or of a ledger that is
        gone: the last one's cursor is taken."""
        fetched, cursor = int(ledger.meta("fetched", 0)), ledger.meta("cursor")
        landed = fetched
        while (file := folder / f"{landed + 1:08d}.parquet").exists():
            cursor, landed = json.loads(pq.read_schema(file).metadata[_CURSOR]), landed + 1
        if landed == fetched:
            rows, cursor = self._fetched(cursor)
            if rows.num_rows:
                _write(rows, json.dumps(cursor), file)
                landed += 1
        if (landed, cursor) != (fetched, ledger.meta("cursor")):
            ledger.set_meta("fetched", landed)
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
        given = {field.name: getattr(self, field.name) for field in fields(Landed)}
        return FolderSource(f"mlruns/sources/{self.name}/landed", settle_s=0.0, format="parquet", **given)

    def _arrivals(self) -> Arrivals:
        return self._folder()._arrivals()


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

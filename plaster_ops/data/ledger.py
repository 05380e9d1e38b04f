"""What a source has accepted, and when: one SQLite file a source, `mlruns/sources/<name>.db`.

Rows have positions, from 1, in the order in which their files were accepted. A position is never given twice; an event
that changes what is there (rows taken back, rows that came back) takes one too, so that any number in the order of
arrival stands for one state. Times of rows are kept here, so that windows are counted and cut without opening a file.
"""

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from plaster_ops.data.columns import Int64s
from plaster_ops.errors import DataError

_FORMAT = 1
_WAIT_S = 600.0
_TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, stamp TEXT NOT NULL, state TEXT NOT NULL, digest TEXT, rows INTEGER, finding TEXT,
    rules TEXT, looked_at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS files_by_digest ON files (digest);
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY, path TEXT NOT NULL, generation INTEGER NOT NULL, first_row INTEGER NOT NULL,
    rows INTEGER NOT NULL, start INTEGER NOT NULL, born_at INTEGER NOT NULL, withdrawn_at INTEGER, why TEXT,
    digest TEXT NOT NULL, min_us INTEGER, max_us INTEGER, times BLOB, dropped BLOB, unlabelled BLOB,
    arrived_at REAL NOT NULL, accepted_at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS entries_by_path ON entries (path, generation);
CREATE TABLE IF NOT EXISTS keys (digest BLOB PRIMARY KEY, entry INTEGER NOT NULL) WITHOUT ROWID;
"""
Mask = npt.NDArray[np.bool_]


class FileState(StrEnum):
    """What became of a file when it was looked at last. `withdrawn` is a state of its rows, not of a file."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    EMPTY = "empty"
    QUARANTINED = "quarantined"
    WAITING = "waiting"
    GONE = "gone"


@dataclass(frozen=True, kw_only=True, slots=True)
class FileRow:
    """The last look at one file. `stamp`: size, time and identity as the file system told them then."""

    path: str
    stamp: str
    state: FileState
    digest: str | None = None
    rows: int | None = None
    finding: Mapping[str, Any] | None = None
    rules: str | None = None
    looked_at: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """Accepted rows `[first_row, first_row + rows)` of a file, at positions `start + 1` to `start + rows`.

    They belong to the states from `born_at` on, up to but not including `withdrawn_at`. `dropped` rows are doubles,
    `unlabelled` ones have no label (yet); neither is ever given out.
    """

    path: str
    generation: int
    first_row: int
    rows: int
    start: int
    born_at: int
    digest: str
    min_us: int | None
    max_us: int | None
    arrived_at: float
    accepted_at: float
    id: int = 0
    withdrawn_at: int | None = None
    why: str | None = None
    times: bytes | None = None
    dropped: bytes | None = None
    unlabelled: bytes | None = None

    def lives_at(self, position: int) -> bool:
        """Whether the rows belong to the state at that position."""
        return self.born_at <= position and (self.withdrawn_at is None or position < self.withdrawn_at)

    def positions(self) -> Int64s:
        """Positions of its rows [rows]."""
        return np.arange(self.start + 1, self.start + self.rows + 1, dtype=np.int64)

    def times_us(self) -> Int64s:
        """Event times [rows]; positions where the source has no time column."""
        return self.positions() if self.times is None else unpack_times(self.times)

    def kept(self) -> Mask:
        """Rows that may be given out [rows]."""
        return ~(unpack_mask(self.dropped, self.rows) | unpack_mask(self.unlabelled, self.rows))


def pack_times(times_us: Int64s) -> bytes:
    """Steps between times, compressed."""
    return zlib.compress(np.diff(times_us, prepend=np.int64(0)).astype("<i8").tobytes(), 1)


def unpack_times(packed: bytes) -> Int64s:
    """The times that `pack_times` took."""
    return np.cumsum(np.frombuffer(zlib.decompress(packed), dtype="<i8")).astype(np.int64)


def pack_mask(mask: Mask) -> bytes | None:
    """A mask, compressed; None where nothing is marked."""
    return zlib.compress(np.packbits(mask).tobytes()) if mask.any() else None


def unpack_mask(packed: bytes | None, rows: int) -> Mask:
    """The mask [rows] that `pack_mask` took."""
    if packed is None:
        return np.zeros(rows, dtype=bool)
    return np.unpackbits(np.frombuffer(zlib.decompress(packed), dtype=np.uint8), count=rows).astype(bool)


_ENTRY_FIELDS = tuple(name for name in Entry.__slots__ if name != "id")
_ENTRY_COLUMNS = ", ".join(("id", *_ENTRY_FIELDS))


class Ledger:
    """The open file. `writing` is one transaction, which any other process waits for."""

    def __init__(self, file: Path, connection: sqlite3.Connection) -> None:
        self.file = file
        self._db = connection

    @classmethod
    @contextmanager
    def opened(cls, file: Path, *, create: bool) -> Iterator["Ledger"]:
        """The ledger at `file`; made where it is not there and `create` says so, else a `DataError`."""
        if not create and not file.is_file():
            raise DataError(
                f"source {file.stem!r} has no ledger at {file}: nothing was accepted from it yet",
                "run: plaster-ops retrain; or call newest() of the source first",
            )
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.exists() and not file.is_file():
            raise DataError(f"the ledger {file} is no file", "move away what lies there")
        connection = sqlite3.connect(file, timeout=_WAIT_S, isolation_level=None)
        connection.row_factory = sqlite3.Row
        try:
            if create:
                connection.executescript(_TABLES)
            ledger = cls(file, connection)
            ledger._check_format()
            yield ledger
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"the ledger {file} cannot be used: {error}",
                "restore it from a backup; or remove it, and every row counts as new once more",
            ) from error
        finally:
            connection.close()

    def _check_format(self) -> None:
        found = self.meta("format")
        if found is None:
            self.set_meta("format", _FORMAT)
            self.set_meta("position", _reached(self.file))
        elif found != _FORMAT:
            raise DataError(f"the ledger {self.file} has format {found}, this release knows {_FORMAT}", "upgrade")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One transaction; undone where an error leaves it."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def meta(self, key: str, default: Any = None) -> Any:
        """A value kept under a name."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return default if row is None else json.loads(row["value"])

    def set_meta(self, key: str, value: Any) -> None:
        """Keeps a value that JSON has."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))

    @property
    def position(self) -> int:
        """The last position that was given."""
        return int(self.meta("position", 0))

    def advance(self, by: int) -> int:
        """Gives the next `by` positions; returns the last of them."""
        now = self.position + by
        self.set_meta("position", now)
        return now

    def keep_reached(self) -> None:
        """Keeps the last position beside the ledger: one that takes its place gives later ones, so that nothing in it
        counts as learned by an earlier run."""
        kept = self.file.with_suffix(".position")
        draft = kept.with_suffix(".tmp")
        draft.write_text(f"{self.position}\n")
        draft.replace(kept)

    def files(self) -> dict[str, FileRow]:
        """Every file that was ever looked at, by path."""
        return {row["path"]: _file_row(row) for row in self._db.execute("SELECT * FROM files")}

    def put_file(self, row: FileRow) -> None:
        """Keeps the last look at a file."""
        finding = None if row.finding is None else json.dumps(row.finding)
        values = (row.path, row.stamp, row.state.value, row.digest, row.rows, finding, row.rules, row.looked_at)
        self._db.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

    def files_with(self, digest: str) -> list[FileRow]:
        """Files whose last content had that digest."""
        return [_file_row(row) for row in self._db.execute("SELECT * FROM files WHERE digest = ?", (digest,))]

    def entries(self, path: str | None = None) -> list[Entry]:
        """Entries in the order of acceptance; of one path only its newest generation."""
        ask = f"SELECT {_ENTRY_COLUMNS} FROM entries"
        if path is None:
            rows: Iterable[Any] = self._db.execute(f"{ask} ORDER BY id")
        else:
            newest = "(SELECT MAX(generation) FROM entries WHERE path = ?)"
            rows = self._db.execute(
                f"{ask} WHERE path = ? AND generation = {newest} ORDER BY first_row, id", (path, path)
            )
        return [Entry(**dict(row)) for row in rows]

    def put_entry(self, entry: Entry) -> int:
        """Adds an entry; returns its id."""
        marks = ", ".join("?" * len(_ENTRY_FIELDS))
        values = [getattr(entry, name) for name in _ENTRY_FIELDS]
        done = self._db.execute(f"INSERT INTO entries ({', '.join(_ENTRY_FIELDS)}) VALUES ({marks})", values)
        return int(done.lastrowid or 0)

    def withdraw(self, entries: Sequence[Entry], why: str) -> None:
        """Takes the rows of living entries back, at a position of its own."""
        living = [entry for entry in entries if entry.withdrawn_at is None]
        if living:
            at = self.advance(1)
            ids = [(at, why, entry.id) for entry in living]
            self._db.executemany("UPDATE entries SET withdrawn_at = ?, why = ? WHERE id = ?", ids)

    def forget_keys(self, entries: Sequence[Entry]) -> None:
        """Rows with the keys of these entries are no doubles any more."""
        self._db.executemany("DELETE FROM keys WHERE entry = ?", [(entry.id,) for entry in entries])

    def hand_keys(self, old: int, new: int) -> None:
        """The keys of one entry's rows are those of another's: the same rows, elsewhere or there again."""
        self._db.execute("UPDATE keys SET entry = ? WHERE entry = ?", (new, old))

    def doubles(self, digests: Sequence[bytes], entry: int) -> Mask:
        """Rows whose key is known already, in this list or in any living entry; the others become known."""
        before = self._db.total_changes
        found = np.zeros(len(digests), dtype=bool)
        for row, digest in enumerate(digests):
            self._db.execute("INSERT OR IGNORE INTO keys VALUES (?, ?)", (digest, entry))
            found[row] = self._db.total_changes == before
            before = self._db.total_changes
        return found

    def mark_dropped(self, entry: int, dropped: Mask) -> None:
        """Keeps which rows of an entry are doubles."""
        self._db.execute("UPDATE entries SET dropped = ? WHERE id = ?", (pack_mask(dropped), entry))


def _reached(ledger: Path) -> int:
    """The position that a ledger at this place, now gone, had come to; 0 where there was none."""
    kept = ledger.with_suffix(".position")
    try:
        return int(kept.read_text()) if kept.exists() else 0
    except ValueError:
        raise DataError(f"{kept} holds no number", "write one that is greater than all positions of the runs") from None


def _file_row(row: sqlite3.Row) -> FileRow:
    plain = dict(row)
    plain["state"] = FileState(plain["state"])
    plain["finding"] = None if plain["finding"] is None else json.loads(plain["finding"])
    return FileRow(**plain)

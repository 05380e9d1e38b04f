"""The journal's one SQLite file: where it lies, its tables, its forward migrations, its transactions.

Every failure to write is `NotRecorded` with the path and a next step; a commit is on disk before it returns.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from plaster_ops.errors import NotRecorded
from plaster_ops.tracking.mounts import is_network_path
from plaster_ops.tracking.tables import MIGRATIONS

log = logging.getLogger(__name__)

FILE_NAME = "plaster.db"
BUSY_TIMEOUT_S = 30.0
_ASK_AGAIN_S = 0.05


def now_iso() -> str:
    """This instant, UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class JournalFile:
    """One open connection to `<folder>/plaster.db`; usable from several threads, one transaction at a time."""

    def __init__(self, folder: Path, *, busy_timeout_s: float | None = None) -> None:
        self.folder = folder.absolute()
        self._busy_timeout_s = BUSY_TIMEOUT_S if busy_timeout_s is None else busy_timeout_s
        self.path = self.folder / FILE_NAME
        self._lock = threading.RLock()
        self._connection = self._open()

    @property
    def project(self) -> Path:
        """The folder that holds `mlruns/`."""
        return self.folder.parent

    def close(self) -> None:
        """Closes the connection; whatever was committed is on disk."""
        self._connection.close()

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction that holds the write lock from its start; all of it happens or nothing."""
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException as error:
                if self._connection.in_transaction:
                    with self._translated():
                        self._connection.execute("ROLLBACK")
                told = self._told(error)
                if told is None:
                    raise
                raise told from error

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Every row of one query."""
        with self._lock, self._translated():
            return self._connection.execute(sql, values).fetchall()

    def row(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Row | None:
        """The first row of one query; None where there is none."""
        found = self.rows(sql, values)
        return found[0] if found else None

    def meta(self, key: str) -> str | None:
        """A remembered text."""
        row = self.row("SELECT value FROM meta WHERE key = ?", (key,))
        return None if row is None else str(row["value"])

    def remember(self, key: str, value: str) -> None:
        """Keeps a text under a key, replacing an earlier one."""
        with self.write() as db:
            db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))

    def relative(self, path: str | None) -> str | None:
        """The path relative to the project where it lies inside it, so that a moved project keeps its records."""
        if path is None or not Path(path).is_relative_to(self.project):
            return path
        return str(Path(path).relative_to(self.project))

    def absolute(self, path: str | None) -> str | None:
        """What `relative` made relative, where the project lies now."""
        return None if path is None else str(self.project / path)

    def _open(self) -> sqlite3.Connection:
        """A connection to the migrated file.

        SQLite says "locked" at once, without waiting, while another connection makes the file or, as the last one,
        closes it; so a refusal that came early is asked again.
        """
        until_s = time.monotonic() + self._busy_timeout_s
        while True:
            try:
                self._connection = self._connect()
                try:
                    self._migrate()
                except BaseException:
                    self._connection.close()
                    raise
                return self._connection
            except NotRecorded as error:
                if not _is_locked(error.__cause__) or time.monotonic() >= until_s:
                    raise
                time.sleep(_ASK_AGAIN_S)

    def _connect(self) -> sqlite3.Connection:
        with self._translated():
            self.folder.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                self.path, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False
            )
            try:
                connection.row_factory = sqlite3.Row
                if is_network_path(self.folder):
                    log.warning(
                        "%s lies on a network file system: no write-ahead log, keep to one machine", self.folder
                    )
                    connection.execute("PRAGMA journal_mode = DELETE")
                else:
                    connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA foreign_keys = ON")
            except BaseException:
                connection.close()
                raise
            return connection

    def _migrate(self) -> None:
        if self._version() == len(MIGRATIONS):
            self._probe_writable()
            return
        with self.write() as db:
            db.execute(
                "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL)"
            )
            version = self._version()
            if version > len(MIGRATIONS):
                raise NotRecorded(
                    f"{self.path} was written by a newer plaster-ops (schema {version}, known here: {len(MIGRATIONS)})",
                    "upgrade plaster-ops here, or use another project folder",
                )
            for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
                for statement in statements:
                    db.execute(statement)
                db.execute("INSERT INTO schema_version (version, applied_at) VALUES (?, ?)", (number, now_iso()))

    def _version(self) -> int:
        known = self.row("SELECT 1 FROM sqlite_master WHERE name = 'schema_version'")
        if known is None:
            return 0
        row = self.row("SELECT COALESCE(MAX(version), 0) AS version FROM schema_version")
        return 0 if row is None else int(row["version"])

    def _probe_writable(self) -> None:
        """A full write without effect, so that a read-only file is refused at the start and not after a training."""
        with self.write() as db:
            db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('opened_at', ?)", (now_iso(),))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.DatabaseError, OSError) as error:
            told = self._told(error)
            if told is None:
                raise
            raise told from error

    def _told(self, error: BaseException) -> NotRecorded | None:
        """What an error of the file means to its user; None for what is no error of the file."""
        if isinstance(error, sqlite3.OperationalError):
            if _is_locked(error):
                step = "another process holds it; wait for it, or see who with: fuser -v " + str(self.path)
            else:
                step = f"make {self.folder} a writable folder with free space, then run the command again"
            return NotRecorded(f"the journal {self.path} cannot be written: {error}", step)
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.IntegrityError):
            step = (
                f"move the file away (and its -wal, -shm), or restore it from a backup; {self.folder} itself may stay"
            )
            return NotRecorded(f"the journal {self.path} is damaged: {error}", step)
        if isinstance(error, OSError):
            step = f"make {self.folder} a writable folder, then run the command again"
            return NotRecorded(f"the journal {self.path} cannot be opened: {error}", step)
        return None


def _is_locked(error: BaseException | None) -> bool:
    return isinstance(error, sqlite3.OperationalError) and ("locked" in str(error) or "busy" in str(error))

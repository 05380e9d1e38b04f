"""The journal's file in memory, for simulations: the same tables and statements, nothing on a disk, no commit."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plaster_ops.tracking.journal_file import MIGRATIONS, JournalFile


class MemoryFile(JournalFile):
    """Whatever is written is there for whoever asks this object, and gone with it. A failed write is not undone."""

    def __init__(self) -> None:
        self.folder = self.path = Path("nowhere")
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        for statement in (statement for version in MIGRATIONS for statement in version):
            self._connection.execute(statement)
        self._connection.execute("BEGIN")

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        yield self._connection

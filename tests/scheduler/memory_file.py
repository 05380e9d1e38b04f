"""The slot ledger in memory, for simulations: the same tables and statements, nothing on a disk, no commit."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from plaster_ops.tracking.journal_file import JournalFile
from plaster_ops.tracking.slots import LedgerWriter, SlotLedger
from plaster_ops.tracking.tables import MIGRATIONS


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


class MemoryLedger(SlotLedger):
    """A ledger over such a file."""

    def __init__(self) -> None:
        file = MemoryFile()
        super().__init__(file)
        self._writer = LedgerWriter(file._connection)

    def write(self) -> AbstractContextManager[LedgerWriter]:
        """As the ledger's, without what a transaction costs."""
        return nullcontext(self._writer)

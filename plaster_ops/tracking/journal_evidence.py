"""What a run keeps of its raw samples for ever, in the journal beside its record."""

import sqlite3
from collections.abc import Iterable

from plaster_ops.domain.compact import CompactKind, CompactRow
from plaster_ops.tracking.journal_file import JournalFile


def store_evidence(db: sqlite3.Connection, uid: str, rows: Iterable[CompactRow]) -> None:
    """Inside the caller's transaction; a row that is there already is replaced."""
    db.executemany(
        "INSERT OR REPLACE INTO evidence (uid, kind, label, process, body) VALUES (?, ?, ?, ?, ?)",
        [(uid, row.kind.value, row.label, row.process, row.body) for row in rows],
    )


class KeptEvidence:
    """The part of the journal that knows compact records."""

    file: JournalFile

    def evidence(self, uid: str) -> tuple[CompactRow, ...]:
        """All rows of that run, restarts in order; empty for one that measured nothing, or of an older release."""
        rows = self.file.rows(
            "SELECT kind, label, process, body FROM evidence WHERE uid = ? ORDER BY kind, label, process", (uid,)
        )
        return tuple(
            CompactRow(kind=CompactKind(row["kind"]), label=row["label"], process=row["process"], body=row["body"])
            for row in rows
        )

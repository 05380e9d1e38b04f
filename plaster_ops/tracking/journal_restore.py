"""A journal that is made anew from what the tracker knows: rows under their old ids, through the code of retrains."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from plaster_ops.domain.compact import CompactRow
from plaster_ops.domain.run import RunRecord, Verdict
from plaster_ops.ports import Tracked
from plaster_ops.tracking.journal_file import FILE_NAME, now_iso

if TYPE_CHECKING:
    from plaster_ops.tracking.journal import Journal

_UNFINISHED = "rebuild_began_at"
REBUILT = "rebuilt_at"
"""Under this the journal remembers when it was made anew."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerLine:
    """One promotion as it was: run `uid` took the place of `previous`. `kind`: retrain, promote or rollback."""

    pipeline: str
    uid: str
    previous: str | None
    at: str
    by: str
    reason: str
    forced: bool = False
    kind: str = "retrain"


def set_aside(folder: Path) -> Path | None:
    """Copies the journal beside itself and removes it; returns the copy, None where there is no journal."""
    path = folder / FILE_NAME
    if not path.is_file():
        return None
    copy = path.with_name(f"{path.name}.backup-{datetime.now(UTC).strftime('%Y%m%dT%H%M%S.%fZ')}")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return copy


def count_runs(journal: "Journal") -> int:
    """Rows of any state; 0 also while a rebuild that was cut off may go on."""
    if journal.file.meta(_UNFINISHED) is not None:
        return 0
    row = journal.file.row("SELECT COUNT(*) AS runs FROM runs")
    return 0 if row is None else int(row["runs"])


@contextmanager
def rebuilding(journal: "Journal") -> Iterator[set[str]]:
    """Inside, commits do not wait for the disk: what is lost in a power cut is read again. Yields the uids that an
    earlier rebuild had restored. Afterwards the file is on disk and says when it was rebuilt."""
    journal.file.remember(_UNFINISHED, now_iso())
    journal.file.rows("PRAGMA synchronous = OFF")
    try:
        rows = journal.file.rows("SELECT uid FROM runs WHERE state IN ('finished', 'failed')")
        yield {str(row["uid"]) for row in rows}
    finally:
        journal.file.rows("PRAGMA synchronous = FULL")
    journal.file.remember(REBUILT, now_iso())
    with journal.file.write() as db:
        db.execute("DELETE FROM meta WHERE key = ?", (_UNFINISHED,))
    journal.file.rows("PRAGMA wal_checkpoint(TRUNCATE)")


def number_taken(journal: "Journal", record: RunRecord) -> str | None:
    """The uid of another run of that pipeline and number: retrains went on after a journal was lost. Else None."""
    row = journal.file.row(
        "SELECT uid FROM runs WHERE pipeline = ? AND number = ? AND uid != ?",
        (record.pipeline, record.index, record.uid),
    )
    return None if row is None else str(row["uid"])


def restore_run(
    journal: "Journal", record: RunRecord, tracked: Tracked, host: str, evidence: Sequence[CompactRow] = ()
) -> None:
    """The run under its old uid and index, with its record, readings and evidence; the tracker has it already."""
    with journal.file.write() as db:
        db.execute(
            "INSERT OR IGNORE INTO runs (uid, pipeline, number, state, trigger, slot, reference, host, started_at)"
            " VALUES (?, ?, ?, 'running', ?, ?, ?, ?, ?)",
            (
                record.uid,
                record.pipeline,
                record.index,
                record.trigger,
                record.slot,
                record.params.get("ref", ""),
                host,
                record.started_at,
            ),
        )
    if record.verdict == Verdict.FAILED:
        journal.fail_run(record.uid, record.verdict, record.reasons, record.exit_code, record)
    else:
        journal.finish_run(record.uid, record, evidence=evidence)
    journal.mark_sent(record.uid, tracked)


def restore_promotions(journal: "Journal", lines: Iterable[LedgerLine]) -> int:
    """The ledger of pipelines that have none yet, in that order; returns how many lines."""
    count = 0
    with journal.file.write() as db:
        has = {str(row["pipeline"]) for row in db.execute("SELECT DISTINCT pipeline FROM promotions")}
        for line in lines:
            if line.pipeline in has:
                continue
            db.execute(
                "INSERT INTO promotions (pipeline, uid, previous, at, by, reason, forced, kind)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (line.pipeline, line.uid, line.previous, line.at, line.by, line.reason, int(line.forced), line.kind),
            )
            count += 1
    return count

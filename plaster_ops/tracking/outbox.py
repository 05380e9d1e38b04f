"""Records on their way to the tracker: kept in the journal until they are there, sent oldest first, exactly once."""

import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from plaster_ops.errors import TrackingUnavailable
from plaster_ops.ports import Tracked, Tracker
from plaster_ops.tracking.journal_file import JournalFile, now_iso
from plaster_ops.tracking.journal_rows import Pending
from plaster_ops.tracking.names import RecordRefused

if TYPE_CHECKING:
    from plaster_ops.tracking.journal import Journal

log = logging.getLogger(__name__)

LOCK_WAIT_S = 15.0
_POLL_S = 0.05
_ALIASES = "aliases:"
_LEDGER = "ledger:"


class Outbox:
    """The part of the journal that knows what the tracker has."""

    file: JournalFile

    def pending(self) -> list[Pending]:
        """Records the tracker does not have yet, oldest first."""
        rows = self.file.rows(
            'SELECT outbox.uid, pipeline, number AS "index", attempts, error FROM outbox'
            " CROSS JOIN runs ON runs.uid = outbox.uid WHERE sent_at IS NULL ORDER BY runs.seq"
        )
        return [Pending(**dict(row)) for row in rows]

    def mark_sent(self, uid: str, tracked: Tracked) -> None:
        """The tracker has the record, under these ids."""
        with self.file.write() as db:
            db.execute("UPDATE outbox SET sent_at = ?, error = NULL WHERE uid = ?", (now_iso(), uid))
            db.execute(
                "UPDATE runs SET tracking_uri = ?, experiment = ?, mlflow_run_id = ?, model_version = ? WHERE uid = ?",
                (tracked.tracking_uri, tracked.experiment, tracked.run_id, tracked.model_version, uid),
            )

    def mark_attempt(self, uid: str, error: str) -> None:
        """Sending failed like this; the record stays."""
        with self.file.write() as db:
            db.execute("UPDATE outbox SET attempts = attempts + 1, error = ? WHERE uid = ?", (error, uid))

    def pointed(self, pipeline: str) -> dict[str, str] | None:
        """The aliases the tracker was last told for that pipeline; None before the first time, and in doubt."""
        known = json.loads(self.file.meta(_ALIASES + pipeline) or "null")
        return None if known is None else dict(known)

    def mark_pointing(self, pipeline: str) -> None:
        """The tracker is being told aliases: until that has ended nobody knows which it has."""
        self.file.remember(_ALIASES + pipeline, "null")

    def mark_pointed(self, pipeline: str, aliases: Mapping[str, str]) -> None:
        """The tracker knows these aliases."""
        self.file.remember(_ALIASES + pipeline, json.dumps(dict(aliases), sort_keys=True))

    def told_ledger(self, pipeline: str) -> int:
        """The newest line of that pipeline's ledger that the tracker has; 0 before the first."""
        return int(self.file.meta(_LEDGER + pipeline) or 0)

    def mark_told_ledger(self, pipeline: str, seq: int) -> None:
        """The tracker has the ledger up to that line."""
        self.file.remember(_LEDGER + pipeline, str(seq))


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncReport:
    """What one `sync` did. `reason` says why `left` records wait; None where nothing does."""

    sent: tuple[str, ...]
    left: int
    reason: str | None = None
    next_step: str = ""


def sync(journal: "Journal", tracker: Tracker, *, lock_wait_s: float = LOCK_WAIT_S) -> SyncReport:
    """Replays the outbox and then sets the aliases that the ledger demands.

    Stops at the first record for which the tracker cannot be reached. A record that the tracker refuses is passed over
    and stays. Two processes that sync at once take turns, so that a record is never sent by both.
    """
    with _turn(journal.folder, lock_wait_s) as mine:
        if not mine:
            left = len(journal.pending())
            return SyncReport(
                sent=(), left=left, reason="another process is syncing", next_step="run: plaster-ops sync"
            )
        sent, trouble = _send(journal, tracker)
        if trouble is None or isinstance(trouble, RecordRefused):
            trouble = _point(journal, tracker) or trouble
    left = len(journal.pending())
    if trouble is None:
        return SyncReport(sent=tuple(sent), left=left)
    return SyncReport(sent=tuple(sent), left=left, reason=trouble.message, next_step=trouble.next_step)


def _send(journal: "Journal", tracker: Tracker) -> tuple[list[str], TrackingUnavailable | None]:
    sent: list[str] = []
    trouble: TrackingUnavailable | None = None
    for waiting in journal.pending():
        record = journal.record(waiting.uid)
        if record is None:
            continue
        try:
            journal.mark_sent(waiting.uid, tracker.record(record))
            sent.append(waiting.uid)
        except TrackingUnavailable as error:
            trouble = error
            journal.mark_attempt(waiting.uid, error.message)
            log.warning("run #%s of %s is not in the tracker yet: %s", waiting.index, waiting.pipeline, error.message)
            if not isinstance(error, RecordRefused):
                break
    return sent, trouble


def point(journal: "Journal", tracker: Tracker, pipeline: str, *, lock_wait_s: float = LOCK_WAIT_S) -> str | None:
    """Sets the aliases of one pipeline and sends nothing else; None, or why they wait for the next `sync`."""
    with _turn(journal.folder, lock_wait_s) as mine:
        if not mine:
            return "another process is syncing"
        trouble = _point_one(journal, tracker, pipeline)
    return None if trouble is None else trouble.message


def _point(journal: "Journal", tracker: Tracker) -> TrackingUnavailable | None:
    for pipeline in journal.pipelines():
        trouble = _point_one(journal, tracker, pipeline)
        if trouble is not None:
            return trouble
    return None


def _point_one(journal: "Journal", tracker: Tracker, pipeline: str) -> TrackingUnavailable | None:
    """Aliases first, the ledger after them: what is served matters more than what is told of it.

    Each is noted as done only where no record waits that it speaks of, so that it is done again when that has come.
    """
    waiting = {record.uid for record in journal.pending()}
    wanted = journal.aliases(pipeline)
    try:
        if wanted != (journal.pointed(pipeline) or {}):
            journal.mark_pointing(pipeline)
            tracker.point(pipeline, wanted)
            if waiting.isdisjoint(wanted.values()):
                journal.mark_pointed(pipeline, wanted)
        told = journal.told_ledger(pipeline)
        lines = journal.ledger_lines(pipeline) if journal.newest_promotion(pipeline) > told else []
        new = [line for line in lines if line["seq"] > told]
        if new and waiting.isdisjoint(line["uid"] for line in new):
            tracker.ledger(pipeline, lines, told)
            journal.mark_told_ledger(pipeline, new[-1]["seq"])
    except TrackingUnavailable as error:
        log.warning("the aliases of %s are not set yet: %s", pipeline, error.message)
        return error
    return None


@contextmanager
def _turn(folder: Path, wait_s: float) -> Iterator[bool]:
    """True inside while no other process here syncs the same journal; False after `wait_s` without a turn."""
    path = folder / "locks" / "sync.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        until_s = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until_s:
                    yield False
                    return
                time.sleep(_POLL_S)
            else:
                yield True
                return
    finally:
        os.close(descriptor)

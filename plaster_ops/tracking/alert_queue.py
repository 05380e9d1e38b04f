"""Alerts on their way: queued in the transaction that changes a condition, sent at least once, given up after a while.

Who sends claims the row first, for a while; one that was killed in between leaves a row that is due again later.
Addresses are never here, only the names of their targets.
"""

import json
import sqlite3
from dataclasses import dataclass

from plaster_ops.domain.alert import AlertMessage
from plaster_ops.tracking.journal_file import JournalFile

FIRST_WAIT_S, LONGEST_WAIT_S = 60.0, 3600.0
MOST_ATTEMPTS = 12
OLDEST_S = 7 * 86_400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """A message that is not with its target yet. `not_before_s`: when it may be tried (again), seconds UTC."""

    id: int
    pipeline: str
    target: str
    message: AlertMessage
    queued_s: float
    attempts: int
    not_before_s: float
    error: str

    def is_due(self, now_s: float) -> bool:
        """Whether it may be tried; also where the clock was set back since."""
        return not now_s < self.not_before_s <= now_s + LONGEST_WAIT_S


class AlertQueue:
    """The table `alerts` of the journal's file."""

    def __init__(self, file: JournalFile) -> None:
        self.file = file

    def waiting(self, target: str | None = None, after_id: int = 0) -> list[Waiting]:
        """What is not sent yet, oldest first; of one target, or later than one message."""
        rows = self.file.rows(
            "SELECT id, pipeline, target, message, queued_s, attempts, not_before_s, error FROM alerts"
            " WHERE outcome IS NULL AND id > ? AND target = COALESCE(?, target) ORDER BY id",
            (after_id, target),
        )
        return [_read(row) for row in rows]

    def left(self) -> int:
        """How many are not sent yet."""
        row = self.file.row("SELECT COUNT(*) AS n FROM alerts WHERE outcome IS NULL")
        return int(row["n"]) if row is not None else 0

    def dropped_since(self, at_s: float) -> int:
        """How many were given up since then."""
        row = self.file.row("SELECT COUNT(*) AS n FROM alerts WHERE outcome = 'dropped' AND ended_s >= ?", (at_s,))
        return int(row["n"]) if row is not None else 0

    def claim(self, alert: Waiting, now_s: float) -> bool:
        """This process tries it now; False where another one does or did since it was read."""
        wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**alert.attempts)
        with self.file.write() as db:
            return (
                db.execute(
                    "UPDATE alerts SET attempts = attempts + 1, not_before_s = ?"
                    " WHERE id = ? AND outcome IS NULL AND attempts = ?",
                    (now_s + wait_s, alert.id, alert.attempts),
                ).rowcount
                > 0
            )

    def sent(self, alert: Waiting, now_s: float) -> None:
        """Its target has it."""
        self._end(alert, "sent", "", now_s)

    def failed(self, alert: Waiting, error: str, now_s: float) -> bool:
        """An attempt that was claimed failed like this; True where it was the last, and the alert is given up."""
        if alert.attempts + 1 >= MOST_ATTEMPTS or now_s - alert.queued_s > OLDEST_S:
            self._end(alert, "dropped", error, now_s)
            return True
        self.note(alert, error)
        return False

    def drop(self, alert: Waiting, error: str, now_s: float) -> None:
        """It is not tried any more."""
        self._end(alert, "dropped", error, now_s)

    def note(self, alert: Waiting, error: str) -> None:
        """Why it waits."""
        with self.file.write() as db:
            db.execute("UPDATE alerts SET error = ? WHERE id = ? AND outcome IS NULL", (error, alert.id))

    def _end(self, alert: Waiting, outcome: str, error: str, now_s: float) -> None:
        with self.file.write() as db:
            db.execute(
                "UPDATE alerts SET outcome = ?, error = ?, ended_s = ? WHERE id = ? AND outcome IS NULL",
                (outcome, error, now_s, alert.id),
            )


def _read(row: sqlite3.Row) -> Waiting:
    return Waiting(**(dict(row) | {"message": AlertMessage.from_json(json.loads(row["message"]))}))

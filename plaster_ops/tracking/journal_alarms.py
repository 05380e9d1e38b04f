"""Alarms as they were told: stored with the record that raised them, never changed and never withdrawn.

What people said of one since is a table of its own, append only too; the newest line is where the alarm stands.
"""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from plaster_ops.domain.alarm import Alarm, AlarmState
from plaster_ops.domain.run import RunRecord
from plaster_ops.domain.watch import is_same
from plaster_ops.errors import UsageError
from plaster_ops.tracking.journal_file import JournalFile, now_iso
from plaster_ops.tracking.journal_rows import to_json

_COLUMNS = (
    "SELECT alarms.id, alarms.fingerprint, alarms.alarm, said.state, said.by, said.note FROM alarms"
    " LEFT JOIN alarm_states AS said ON said.seq ="
    " (SELECT MAX(seq) FROM alarm_states WHERE alarm_states.alarm = alarms.id)"
)
_TOO_LARGE = 2**63
"""For an id."""
_OF_SERIES = f"{_COLUMNS} WHERE alarms.pipeline = ? AND alarms.key = ? AND alarms.fingerprint = ? ORDER BY alarms.id"


class Alarms:
    """The part of the journal that knows alarms."""

    file: JournalFile

    def alarms(self, pipeline: str | None = None) -> list[Alarm]:
        """Every alarm of a pipeline, or of all, in the order in which they were told."""
        where, values = ("", ()) if pipeline is None else (" WHERE alarms.pipeline = ?", (pipeline,))
        return [_read(row) for row in self.file.rows(f"{_COLUMNS}{where} ORDER BY alarms.id", values)]

    def alarms_of_run(self, uid: str) -> list[Alarm]:
        """Those that the end of that run told."""
        return [_read(row) for row in self.file.rows(f"{_COLUMNS} WHERE alarms.uid = ? ORDER BY alarms.id", (uid,))]

    def alarm(self, id: int) -> Alarm:
        """The alarm of that id; `UsageError` where there is none."""
        row = self.file.row(f"{_COLUMNS} WHERE alarms.id = ?", (id,)) if 0 < id < _TOO_LARGE else None
        if row is None:
            raise UsageError(f"no alarm has the id {id}", "list them with: plaster-ops drift --all")
        return _read(row)

    def set_alarm_state(self, id: int, state: AlarmState, *, by: str, note: str | None) -> Alarm:
        """Adds a line of who says where it stands, and why; `UsageError` where there is no such alarm."""
        self.alarm(id)
        with self.file.write() as db:
            db.execute(
                "INSERT INTO alarm_states (alarm, state, at, by, note) VALUES (?, ?, ?, ?, ?)",
                (id, state.value, now_iso(), by, note),
            )
        return self.alarm(id)

    def alarm_states(self, id: int) -> list[dict[str, Any]]:
        """All that was said of it, oldest first: `state`, `at`, `by`, `note`."""
        rows = self.file.rows("SELECT state, at, by, note FROM alarm_states WHERE alarm = ? ORDER BY seq", (id,))
        return [dict(row) for row in rows]


def store_alarms(db: sqlite3.Connection, uid: str, record: RunRecord) -> RunRecord:
    """Inside the caller's transaction: stores `assessment.alarms` but for those that were told before.

    Returns the record with what was stored, ids and all.
    """
    rows = record.assessment.get("alarms")
    if not rows:
        return record
    fingerprint = str(record.fingerprint.get("digest") or "")
    stored = [each for each in (_store(db, uid, Alarm.from_json(row, fingerprint)) for row in rows) if each]
    return replace(record, assessment={**record.assessment, "alarms": [alarm.to_json() for alarm in stored]})


def _store(db: sqlite3.Connection, uid: str, alarm: Alarm) -> Alarm | None:
    known = db.execute(_OF_SERIES, (alarm.pipeline, alarm.key, alarm.fingerprint)).fetchall()
    if any(is_same(alarm, _read(row)) for row in known):
        return None
    plain: Mapping[str, Any] = alarm.to_json()
    row = db.execute(
        "INSERT INTO alarms (pipeline, key, fingerprint, number, uid, worse, alarm) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (alarm.pipeline, alarm.key, alarm.fingerprint, alarm.index, uid, int(alarm.worse), to_json(plain)),
    )
    return replace(alarm, id=int(row.lastrowid or 0))


def _read(row: sqlite3.Row) -> Alarm:
    told = Alarm.from_json(json.loads(row["alarm"]), row["fingerprint"])
    state = told.state if row["state"] is None else AlarmState(row["state"])
    return replace(told, id=row["id"], state=state, by=row["by"], note=row["note"])

"""Runs as they happen: opened, their stages, their end. Written by the one process that holds the pipeline's lock."""

import json
import sqlite3
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plaster_ops.domain.compact import CompactRow
from plaster_ops.domain.metrics import HEADLINES
from plaster_ops.domain.run import RunRecord
from plaster_ops.errors import UsageError
from plaster_ops.tracking import liveness
from plaster_ops.tracking.journal_alarms import store_alarms
from plaster_ops.tracking.journal_evidence import store_evidence
from plaster_ops.tracking.journal_file import JournalFile, now_iso
from plaster_ops.tracking.journal_rows import RUN_COLUMNS, EngineDigest, Promotion, RunRow, RunState, read_run, to_json
from plaster_ops.tracking.names import is_number
from plaster_ops.tracking.promotions import swap_champion


@dataclass(frozen=True, kw_only=True, slots=True)
class End:
    """How a run ended."""

    state: RunState
    verdict: str
    reasons: Sequence[str]
    exit_code: int


class RunLog:
    """The part of the journal that writes runs."""

    file: JournalFile

    def run(self, uid: str) -> RunRow:
        """The row of that uid; `UsageError` where there is none."""
        row = self.file.row(f"SELECT {RUN_COLUMNS} FROM runs WHERE uid = ?", (uid,))
        if row is None:
            raise UsageError(f"no run has the uid {uid!r}", "list the runs with: plaster-ops history")
        return read_run(row)

    def start_run(
        self,
        pipeline: str,
        *,
        trigger: str,
        slot: str | None,
        reference: str,
        settings_json: str,
        pid: int,
        host: str,
        pid_started: float | None,
    ) -> RunRow:
        """Opens a run; its index is the pipeline's next one, 1 for the first. Two processes never get the same."""
        uid = uuid.uuid4().hex
        with self.file.write() as db:
            found = db.execute("SELECT COALESCE(MAX(number), 0) + 1 FROM runs WHERE pipeline = ?", (pipeline,))
            number = found.fetchone()[0]
            db.execute(
                "INSERT INTO runs (uid, pipeline, number, state, trigger, slot, reference, settings, host, pid,"
                " pid_started, started_at) VALUES (?, ?, ?, 'running', ?, ?, ?, ?, ?, ?, ?, ?)",
                (uid, pipeline, number, trigger, slot, reference, settings_json, host, pid, pid_started, now_iso()),
            )
        return self.run(uid)

    def resume_run(self, uid: str, *, pid: int, host: str, pid_started: float | None) -> RunRow:
        """The run goes on in this process; only a running or interrupted one can."""
        with self.file.write() as db:
            changed = db.execute(
                "UPDATE runs SET state = 'running', pid = ?, host = ?, pid_started = ?, ended_at = NULL,"
                " verdict = NULL, exit_code = NULL, reasons = '[]'"
                " WHERE uid = ? AND state IN ('running', 'interrupted')",
                (pid, host, pid_started, uid),
            ).rowcount
        row = self.run(uid)
        if not changed:
            raise UsageError(
                f"run {row.label} of {row.pipeline} has {row.state}; only an unfinished run can be resumed"
            )
        return row

    def settings_json(self, uid: str) -> str:
        """The settings text the run was opened with."""
        row = self.file.row("SELECT settings FROM runs WHERE uid = ?", (uid,))
        return str(row["settings"]) if row is not None else "{}"

    def stage_started(self, uid: str, stage: str) -> None:
        """The stage runs now; what an earlier attempt at it had left is forgotten."""
        with self.file.write() as db:
            db.execute(
                "INSERT OR REPLACE INTO stages (uid, stage, started_at) VALUES (?, ?, ?)", (uid, stage, now_iso())
            )

    def stage_done(self, uid: str, stage: str, result: Mapping[str, Any], seconds: float) -> None:
        """The stage ended with this result after these seconds; a resumed run takes it from here."""
        at = now_iso()
        with self.file.write() as db:
            db.execute(
                "INSERT INTO stages (uid, stage, started_at, ended_at, seconds, result) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (uid, stage) DO UPDATE SET ended_at = excluded.ended_at, seconds = excluded.seconds,"
                " result = excluded.result",
                (uid, stage, at, at, seconds, to_json(dict(result))),
            )

    def stages(self, uid: str) -> dict[str, Mapping[str, Any]]:
        """Results of the finished stages, in the order in which they ended."""
        rows = self.file.rows(
            "SELECT stage, result FROM stages WHERE uid = ? AND ended_at IS NOT NULL ORDER BY ended_at, started_at",
            (uid,),
        )
        return {row["stage"]: json.loads(row["result"]) for row in rows}

    def save_progress(self, uid: str, phases: Mapping[str, float]) -> None:
        """Seconds per phase so far, for the timeline of a resumed run."""
        with self.file.write() as db:
            db.execute("UPDATE runs SET phases = ? WHERE uid = ?", (to_json(dict(phases)), uid))

    def finish_run(
        self,
        uid: str,
        record: RunRecord,
        promotion: Promotion | None = None,
        *,
        evidence: Sequence[CompactRow] = (),
    ) -> bool:
        """Stores the record and what is kept of its raw samples, and queues it for the tracker, in one transaction.

        With a `promotion`, the run becomes champion in that same transaction; False, and nothing stored, where the
        champion is not the expected one any more. A run that is already finished stays as it is.
        """
        with self.file.write() as db:
            row = self.run(uid)
            if row.state is RunState.FINISHED:
                return True
            if promotion is not None and not swap_champion(db, row.pipeline, uid, promotion):
                return False
            end = End(
                state=RunState.FINISHED, verdict=record.verdict, reasons=record.reasons, exit_code=record.exit_code
            )
            self._store_end(db, uid, end, record)
            store_evidence(db, uid, evidence)
        return True

    def fail_run(
        self, uid: str, verdict: str, reasons: Sequence[str], exit_code: int, record: RunRecord | None = None
    ) -> None:
        """The run ended without a usable engine. Its record, if there is one, is queued for the tracker too."""
        end = End(state=RunState.FAILED, verdict=verdict, reasons=reasons, exit_code=int(exit_code))
        with self.file.write() as db:
            self._store_end(db, uid, end, record)

    def interrupt_run(self, uid: str, reason: str) -> None:
        """The run was stopped and may be resumed; a run that has ended is left alone."""
        with self.file.write() as db:
            db.execute(
                "UPDATE runs SET state = 'interrupted', ended_at = ?, reasons = ? WHERE uid = ? AND state = 'running'",
                (now_iso(), to_json([reason]), uid),
            )

    def record_skip(self, pipeline: str, reason: str, seen: Any, trigger: str, slot: str | None) -> RunRow:
        """A slot in which nothing was trained is a row with its instant and reason, but has no index."""
        uid, at = uuid.uuid4().hex, now_iso()
        with self.file.write() as db:
            db.execute(
                "INSERT INTO runs (uid, pipeline, state, trigger, slot, started_at, ended_at, verdict, exit_code,"
                " reasons, seen) VALUES (?, ?, 'skipped', ?, ?, ?, ?, 'skipped', 0, ?, ?)",
                (uid, pipeline, trigger, slot, at, at, to_json([reason]), to_json(seen)),
            )
        return self.run(uid)

    def skip_run(self, uid: str, reason: str, seen: Any) -> RunRow:
        """A run that was opened and found nothing to train on becomes a skipped slot; its index is free again."""
        at = now_iso()
        with self.file.write() as db:
            db.execute(
                "UPDATE runs SET state = 'skipped', number = NULL, verdict = 'skipped', exit_code = 0, reasons = ?,"
                " seen = ?, ended_at = ? WHERE uid = ? AND state = 'running'",
                (to_json([reason]), to_json(seen), at, uid),
            )
        return self.run(uid)

    def close_stale(self, locked: str | None = None) -> list[RunRow]:
        """Runs whose process is dead become interrupted, and are returned.

        Dead is: same host, and no process of that pid and start time. The caller that holds the lock of the pipeline
        `locked` knows that every running row of it is dead, whatever its host.
        """
        here = liveness.this_host()
        rows = [
            read_run(r) for r in self.file.rows(f"SELECT {RUN_COLUMNS} FROM runs WHERE state = 'running' ORDER BY seq")
        ]
        stale = [row for row in rows if row.pipeline == locked or is_dead(row, here)]
        for row in stale:
            self.interrupt_run(row.uid, last_words(row))
        return [self.run(row.uid) for row in stale]

    def remember_engine(self, uid: str, manifest_digest: str, folder: str | Path) -> None:
        """Writes down what the engine's manifest hashed to, to be held against the files before they are loaded."""
        with self.file.write() as db:
            db.execute(
                "INSERT OR REPLACE INTO engines (uid, manifest_digest, folder) VALUES (?, ?, ?)",
                (uid, manifest_digest, self.file.relative(str(folder))),
            )

    def engine_digest(self, uid: str) -> EngineDigest | None:
        """What `remember_engine` wrote, the folder absolute; None for a run without an engine."""
        row = self.file.row("SELECT manifest_digest, folder FROM engines WHERE uid = ?", (uid,))
        if row is None:
            return None
        return EngineDigest(manifest_digest=row["manifest_digest"], folder=str(self.file.absolute(row["folder"])))

    def _store_end(self, db: sqlite3.Connection, uid: str, end: End, record: RunRecord | None) -> None:
        """Inside the caller's transaction; a run that finished before stays finished."""
        seen, learned = (None, None) if record is None else (record.seen, record.learned)
        changed = db.execute(
            "UPDATE runs SET state = ?, verdict = ?, reasons = ?, exit_code = ?, ended_at = ?, seen = ?, learned = ?"
            " WHERE uid = ? AND state != 'finished'",
            (
                end.state,
                end.verdict,
                to_json(list(end.reasons)),
                end.exit_code,
                now_iso() if record is None else record.ended_at,
                to_json(seen),
                to_json(learned),
                uid,
            ),
        ).rowcount
        if record is None or not changed:
            return
        if end.state is RunState.FINISHED:
            record = store_alarms(db, uid, record)
        plain = record.to_json()
        plain |= {name: self.file.relative(plain[name]) for name in PATHS}
        db.execute("INSERT OR REPLACE INTO records (uid, record) VALUES (?, ?)", (uid, to_json(plain)))
        db.execute("INSERT OR IGNORE INTO outbox (uid, queued_at) VALUES (?, ?)", (uid, now_iso()))
        db.execute(
            "UPDATE runs SET headlines = ?, phases = ?, fingerprint = ? WHERE uid = ?",
            (
                to_json(_headlines(record)),
                to_json(dict(record.phases)),
                str(record.fingerprint.get("digest") or ""),
                uid,
            ),
        )
        if end.state is RunState.FINISHED:
            db.executemany(
                "INSERT OR REPLACE INTO readings (pipeline, key, seq, value, status, method)"
                " SELECT pipeline, ?, seq, ?, ?, ? FROM runs WHERE uid = ?",
                [
                    (row["key"], row["value"], row["status"], str(row.get("method") or ""), uid)
                    for row in record.card
                    if is_number(row.get("value"))
                ],
            )


PATHS = ("artifacts", "engine_folder", "weights_file")
"""Fields of a record that are paths; kept relative to the project."""


def is_dead(row: RunRow, here: str) -> bool:
    """True where a running row's process is certainly gone; of another host nothing is known."""
    return row.host == here and row.pid is not None and not liveness.is_alive(row.pid, row.pid_started)


def state_now(row: RunRow) -> RunState:
    """The row's state; interrupted where it says running and its process is certainly gone."""
    gone = row.state is RunState.RUNNING and is_dead(row, liveness.this_host())
    return RunState.INTERRUPTED if gone else row.state


def last_words(row: RunRow) -> str:
    """Why a run whose process is gone did not end."""
    return f"process {row.pid} on {row.host} ended without a word"


def how_to_resume(row: RunRow, name: str | None = None) -> str:
    """The command that continues that unfinished run; `name`: what its pipeline is called on the command line."""
    return f"continue it with: plaster-ops retrain {name or row.pipeline} --resume {row.index}"


def _headlines(record: RunRecord) -> dict[str, float | None]:
    values = {row["key"]: row.get("value") for row in record.card}
    return {metric.key: values.get(metric.key) for metric in HEADLINES}

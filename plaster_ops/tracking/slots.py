"""The slot ledger: every slot of every schedule as one row of `mlruns/plaster.db`, and who is paused."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from heapq import nlargest
from operator import attrgetter

from plaster_ops.domain.schedule import iso
from plaster_ops.domain.slots import OPEN, Cause, Slot, SlotState
from plaster_ops.tracking.journal_file import JournalFile

_COLUMNS = tuple(field.name for field in fields(Slot))
_NAMES = ", ".join(_COLUMNS)
_ADD = f"INSERT INTO slots ({_NAMES}) VALUES ({', '.join('?' for _ in _COLUMNS)})"
_CHANGED = tuple(name for name in _COLUMNS if name not in ("pipeline", "cause", "planned_s"))
_PUT = (
    f"UPDATE slots SET {', '.join(f'{name} = ?' for name in _CHANGED)}"
    " WHERE pipeline = ? AND cause = ? AND planned_s = ?"
)
_TAKE = f"{_PUT} AND state = 'due'"

_OF_CAUSE = "FROM slots WHERE pipeline = ? AND cause = ? ORDER BY planned_s DESC"
"""By the index that keeps slots apart, so that a year of rows is not read."""

_PAUSES = "SELECT pipeline, at_s, by, reason FROM pauses"
_PIPELINES = (
    "WITH RECURSIVE known (name) AS (SELECT MIN(pipeline) FROM slots UNION ALL"
    " SELECT (SELECT MIN(pipeline) FROM slots WHERE pipeline > name) FROM known WHERE name NOT NULL)"
    " SELECT name FROM known WHERE name NOT NULL"
)


def _newest_sql(condition: str) -> str:
    """Read backwards along the index of names, cause by cause: a year of slots costs what a day costs."""
    parts = (
        f"SELECT * FROM (SELECT * FROM slots WHERE pipeline = ?1 AND cause = '{cause}'{condition}"
        " ORDER BY planned_s DESC LIMIT ?2)"
        for cause in Cause
    )
    return f"SELECT {_NAMES} FROM ({' UNION ALL '.join(parts)}) ORDER BY planned_s DESC, id DESC LIMIT ?2"


_NEWEST = _newest_sql("")
_NEWEST_ENDED = _newest_sql(" AND state NOT IN ('due', 'running')")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pause:
    """Since when a pipeline is paused (seconds UTC), by whom, and why."""

    at_s: float
    by: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Accounted:
    """Up to where (`upto_s`, seconds UTC) the slots of a pipeline are in the ledger, and by which `cadence`."""

    cadence: str
    upto_s: float


class Overtaken(Exception):
    """Another process wrote that row first: nothing of the transaction is written, and all is to be read again."""


class SlotLedger:
    """Reads and writes the ledger. Raises `NotRecorded` where the file cannot be written."""

    def __init__(self, file: JournalFile) -> None:
        self.file = file

    @contextmanager
    def write(self) -> Iterator["LedgerWriter"]:
        """One transaction: all of what is written in the block, or nothing."""
        with self.file.write() as db:
            yield LedgerWriter(db)

    def open_slots(self, pipeline: str | None = None) -> list[Slot]:
        """Every slot that waits or runs, oldest first; of one pipeline where it is named."""
        states = ", ".join(f"'{state}'" for state in OPEN)
        mine = "" if pipeline is None else " AND pipeline = ?"
        rows = self.file.rows(
            f"SELECT {_NAMES} FROM slots WHERE state IN ({states}){mine} ORDER BY planned_s, id",
            () if pipeline is None else (pipeline,),
        )
        return [read_slot(row) for row in rows]

    def last_by_clock(self, pipeline: str) -> Slot | None:
        """The newest slot that the clock made due, whatever became of it."""
        row = self.file.row(f"SELECT {_NAMES} {_OF_CAUSE} LIMIT 1", (pipeline, Cause.CLOCK))
        return None if row is None else read_slot(row)

    def last_run(self, pipeline: str) -> Slot | None:
        """The slot that ended last of those that ran, failed or timed out."""
        decided = _OF_CAUSE.replace("ORDER", "AND state IN ('ran', 'failed', 'timed_out') ORDER")
        found = [self.file.row(f"SELECT {_NAMES} {decided} LIMIT 1", (pipeline, cause)) for cause in Cause]
        slots = [read_slot(row) for row in found if row is not None]
        return max(slots, key=lambda slot: slot.ended_s or 0.0, default=None)

    def newest(self, pipeline: str | None = None, limit: int = 20, *, ended: bool = False) -> list[Slot]:
        """The newest slots, newest first; `ended`: of those that came to an end alone."""
        if pipeline is None:
            each = (slot for name in self.pipelines() for slot in self.newest(name, limit, ended=ended))
            return nlargest(limit, each, key=attrgetter("planned_s"))
        rows = self.file.rows(_NEWEST_ENDED if ended else _NEWEST, (pipeline, limit))
        return [read_slot(row) for row in rows]

    def pipelines(self) -> list[str]:
        """Every pipeline that has a row, in order of the alphabet; one step along the index each."""
        return [row["name"] for row in self.file.rows(_PIPELINES)]

    def between(self, pipeline: str, after_s: float, upto_s: float) -> list[Slot]:
        """The slots planned in `(after_s, upto_s]`, oldest first."""
        rows = self.file.rows(
            f"SELECT {_NAMES} FROM slots WHERE pipeline = ? AND planned_s > ? AND planned_s <= ?"
            " ORDER BY planned_s, id",
            (pipeline, after_s, upto_s),
        )
        return [read_slot(row) for row in rows]

    def find(self, pipeline: str, cause: Cause, planned_s: float) -> Slot | None:
        """That one slot; None where there is none."""
        row = self.file.row(
            f"SELECT {_NAMES} FROM slots WHERE pipeline = ? AND cause = ? AND planned_s = ?",
            (pipeline, cause, planned_s),
        )
        return None if row is None else read_slot(row)

    def last_of(self, pipeline: str, cause: Cause) -> Slot | None:
        """The newest slot that had this cause and was not skipped; None where there is none."""
        row = self.file.row(
            f"SELECT {_NAMES} FROM slots WHERE pipeline = ? AND cause = ? AND state != 'skipped'"
            " ORDER BY planned_s DESC LIMIT 1",
            (pipeline, cause),
        )
        return None if row is None else read_slot(row)

    def run_of(self, slot: Slot) -> tuple[str, str | None, int] | None:
        """Uid, verdict and exit code of a retrain that was started for that slot of the clock and came to its end."""
        if slot.cause is not Cause.CLOCK or slot.started_s is None:
            return None
        row = self.file.row(
            "SELECT uid, verdict, exit_code FROM runs WHERE pipeline = ? AND slot = ?"
            " AND state IN ('finished', 'skipped') ORDER BY seq DESC LIMIT 1",
            (slot.pipeline, iso(slot.planned_s)),
        )
        return None if row is None else (row["uid"], row["verdict"], int(row["exit_code"] or 0))

    def last_started(self) -> dict[str, float]:
        """When each pipeline started a slot last, in seconds UTC: of each cause the newest slot that was started."""
        wanted = _OF_CAUSE.replace("ORDER", "AND started_s IS NOT NULL ORDER")
        found: dict[str, float] = {}
        for name in self.pipelines():
            rows = [self.file.row(f"SELECT started_s {wanted} LIMIT 1", (name, cause)) for cause in Cause]
            started = [float(row["started_s"]) for row in rows if row is not None]
            if started:
                found[name] = max(started)
        return found

    def accounted(self, pipeline: str | None = None) -> dict[str, Accounted]:
        """Up to where the slots of each pipeline, or of that one, are in here."""
        rows = self.file.rows(
            "SELECT pipeline, cadence, upto_s FROM cadences WHERE pipeline = COALESCE(?, pipeline)", (pipeline,)
        )
        return {row["pipeline"]: Accounted(cadence=row["cadence"], upto_s=row["upto_s"]) for row in rows}

    def oldest_planned_s(self, pipeline: str) -> float | None:
        """The first slot of the clock that the pipeline ever had; None where it had none."""
        row = self.file.row(
            "SELECT MIN(planned_s) AS at_s FROM slots WHERE pipeline = ? AND cause = 'clock'", (pipeline,)
        )
        return None if row is None else row["at_s"]

    def planned_after(self, pipeline: str, after_s: float) -> frozenset[float]:
        """The slots of the clock later than that which have their row."""
        rows = self.file.rows(
            "SELECT planned_s FROM slots WHERE pipeline = ? AND cause = 'clock' AND planned_s > ?", (pipeline, after_s)
        )
        return frozenset(row["planned_s"] for row in rows)

    def prune(self, pipeline: str, before_s: float, *, dry_run: bool = False) -> int:
        """Removes slots that ended and were planned before that instant, but for the newest of each cause and what is
        left of the last run; how many."""
        newest = [self.last_of(pipeline, cause) for cause in Cause]
        kept = {slot.planned_s for slot in (*newest, self.last_by_clock(pipeline), self.last_run(pipeline)) if slot}
        ended = "pipeline = ? AND planned_s < ? AND state NOT IN ('due', 'running')"
        rest = f"{ended} AND planned_s NOT IN ({', '.join('?' for _ in kept)})"
        values = (pipeline, before_s, *kept)
        if dry_run:
            found = self.file.row(f"SELECT COUNT(*) AS n FROM slots WHERE {rest}", values)
            return 0 if found is None else int(found["n"])
        with self.file.write() as db:
            return db.execute(f"DELETE FROM slots WHERE {rest}", values).rowcount

    def pauses(self) -> dict[str, Pause]:
        """Who is paused."""
        return read_pauses(self.file.rows(_PAUSES))

    def conditions(self, pipeline: str | None = None) -> dict[tuple[str, str], tuple[float, str]]:
        """What is wrong with a pipeline: `(pipeline, condition)` -> since when (seconds UTC), and the reason."""
        rows = self.file.rows(
            "SELECT pipeline, condition, since_s, reason FROM conditions WHERE pipeline = COALESCE(?, pipeline)",
            (pipeline,),
        )
        return {(row["pipeline"], row["condition"]): (row["since_s"], row["reason"]) for row in rows}


class LedgerWriter:
    """What may be done inside one transaction of the ledger."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def add(self, slots: Iterable[Slot]) -> None:
        """New rows. Raises `Overtaken` where one is known already."""
        try:
            for slot in slots:
                self._db.execute(_ADD, _values(slot))
        except sqlite3.IntegrityError as error:
            if error.sqlite_errorname != "SQLITE_CONSTRAINT_UNIQUE":
                raise
            raise Overtaken(str(error)) from error

    def put(self, slot: Slot) -> None:
        """What is new of a row that is there."""
        self._db.execute(_PUT, (*_changed(slot), *slot.name))

    def take(self, slot: Slot) -> None:
        """What is new of a row that waits. Raises `Overtaken` where it does not wait any more."""
        if not self._db.execute(_TAKE, (*_changed(slot), *slot.name)).rowcount:
            raise Overtaken(f"{slot.name} does not wait any more")

    def account(self, pipeline: str, cadence: str, upto_s: float) -> None:
        """After `upto_s` the slots of the pipeline are those of this cadence; every earlier one is in the ledger."""
        self._db.execute("INSERT OR REPLACE INTO cadences VALUES (?, ?, ?)", (pipeline, cadence, upto_s))

    def advance(self, pipeline: str, upto_s: float) -> None:
        """The slots of the pipeline's cadence are in the ledger up to there."""
        self._db.execute("UPDATE cadences SET upto_s = ? WHERE pipeline = ?", (upto_s, pipeline))

    def forget(self, pipeline: str) -> None:
        """The pipeline has no cadence any more; its rows stay."""
        self._db.execute("DELETE FROM cadences WHERE pipeline = ?", (pipeline,))

    def forget_ahead(self, pipeline: str, after_s: float) -> None:
        """Takes back the rows of slots of the clock later than that which came to an end without having started."""
        self._db.execute(
            "DELETE FROM slots WHERE pipeline = ? AND planned_s > ? AND cause = 'clock' AND started_s IS NULL"
            " AND state NOT IN ('due', 'running')",
            (pipeline, after_s),
        )

    def pauses(self) -> dict[str, Pause]:
        """Who is paused."""
        return read_pauses(self._db.execute(_PAUSES).fetchall())

    def pause(self, pipeline: str, pause: Pause) -> None:
        """The pipeline's slots are skipped from now on."""
        self._db.execute(
            "INSERT OR REPLACE INTO pauses VALUES (?, ?, ?, ?)", (pipeline, pause.at_s, pause.by, pause.reason)
        )

    def resume(self, pipeline: str) -> bool:
        """They are not; False where they were not before either."""
        return self._db.execute("DELETE FROM pauses WHERE pipeline = ?", (pipeline,)).rowcount > 0

    def set_condition(self, pipeline: str, condition: str, since_s: float, reason: str) -> bool:
        """Notes that it holds; False where that was noted already (its reason is brought up to date)."""
        changed = self._db.execute(
            "UPDATE conditions SET reason = ? WHERE pipeline = ? AND condition = ?", (reason, pipeline, condition)
        ).rowcount
        if not changed:
            self._db.execute("INSERT INTO conditions VALUES (?, ?, ?, ?)", (pipeline, condition, since_s, reason))
        return not changed

    def queue_alert(self, pipeline: str, target: str, message: str, at_s: float) -> None:
        """A message (JSON) for a target waits to be sent, from `at_s` on; see `tracking.alert_queue`."""
        self._db.execute(
            "INSERT INTO alerts (pipeline, target, message, queued_s, not_before_s) VALUES (?, ?, ?, ?, ?)",
            (pipeline, target, message, at_s, at_s),
        )

    def clear_condition(self, pipeline: str, condition: str) -> bool:
        """Notes that it does not hold; False where it did not before either."""
        return (
            self._db.execute(
                "DELETE FROM conditions WHERE pipeline = ? AND condition = ?", (pipeline, condition)
            ).rowcount
            > 0
        )


def read_slot(row: sqlite3.Row) -> Slot:
    """A row that selected `_NAMES`, by place: to look for each by its name would take twice as long."""
    values = dict(zip(_COLUMNS, row, strict=True))
    values["cause"], values["state"] = _CAUSES[values["cause"]], _STATES[values["state"]]
    values["was_missed"] = bool(values["was_missed"])
    return Slot(**values)


def read_pauses(rows: Iterable[sqlite3.Row]) -> dict[str, Pause]:
    """Rows of pauses by their pipeline."""
    return {row["pipeline"]: Pause(at_s=row["at_s"], by=row["by"], reason=row["reason"]) for row in rows}


_CAUSES: dict[str, Cause] = {cause.value: cause for cause in Cause}
_STATES: dict[str, SlotState] = {state.value: state for state in SlotState}
_values = attrgetter(*_COLUMNS)
_changed = attrgetter(*_CHANGED)

"""Questions about past runs. Each is one query that an index answers, so that a thousand retrains are read at once."""

import json

from plaster_ops.domain.metrics import Better
from plaster_ops.domain.run import RunRecord
from plaster_ops.domain.window import Watermark
from plaster_ops.errors import UsageError
from plaster_ops.tracking import liveness
from plaster_ops.tracking.journal_file import JournalFile
from plaster_ops.tracking.journal_rows import RUN_COLUMNS, RunRow, RunState, read_run
from plaster_ops.tracking.journal_runs import PATHS, is_dead
from plaster_ops.tracking.promotions import Promotions

HISTORY_SQL = f"SELECT {RUN_COLUMNS} FROM runs WHERE pipeline = ? ORDER BY seq DESC LIMIT ?"
LAST_SQL = f"SELECT {RUN_COLUMNS} FROM runs WHERE pipeline = ? AND state = 'finished' ORDER BY seq DESC LIMIT 1"
SERIES_SQL = (
    "SELECT runs.number, readings.value FROM readings JOIN runs ON runs.seq = readings.seq"
    " WHERE readings.pipeline = ? AND readings.key = ? AND readings.status = 'measured'"
    " ORDER BY readings.seq DESC LIMIT ?"
)
BEST_SQL = (
    "SELECT seq FROM readings WHERE pipeline = ? AND key = ? AND status = 'measured'"
    " ORDER BY value {order}, seq LIMIT 1"
)
TAKEN_SQL = (
    "SELECT json_extract(records.record, '$.data.to') AS upto FROM runs JOIN records ON records.uid = runs.uid"
    " WHERE runs.pipeline = ?1 AND runs.state = 'failed' AND runs.seq >"
    " (SELECT COALESCE(MAX(seq), 0) FROM runs WHERE pipeline = ?1 AND state = 'finished')"
    " AND upto IS NOT NULL ORDER BY runs.seq DESC LIMIT 1"
)
_MOST_DIGITS = 18
"""Of a number that fits into a column."""
_MIN_PREFIX = 4


class History:
    """The part of the journal that only reads."""

    file: JournalFile

    def record(self, uid: str) -> RunRecord | None:
        """The stored record, its paths where the project lies now; None where none was stored."""
        row = self.file.row("SELECT record FROM records WHERE uid = ?", (uid,))
        if row is None:
            return None
        plain = json.loads(row["record"])
        return RunRecord.from_json(plain | {name: self.file.absolute(plain.get(name)) for name in PATHS})

    def history(self, pipeline: str | None = None, limit: int = 20) -> list[RunRow]:
        """The newest rows, skips included, newest last; of every pipeline where none is named."""
        if pipeline is None:
            rows = self.file.rows(f"SELECT {RUN_COLUMNS} FROM runs ORDER BY seq DESC LIMIT ?", (limit,))
        else:
            rows = self.file.rows(HISTORY_SQL, (pipeline, limit))
        return [read_run(row) for row in reversed(rows)]

    def pipelines(self) -> list[str]:
        """Every pipeline that has a row, in order of the alphabet."""
        return [str(row["pipeline"]) for row in self.file.rows("SELECT DISTINCT pipeline FROM runs ORDER BY pipeline")]

    def last_finished(self, pipeline: str) -> RunRow | None:
        """The newest run that ended with a measured engine, promoted or held."""
        row = self.file.row(LAST_SQL, (pipeline,))
        return None if row is None else read_run(row)

    def newest_finished(self, pipeline: str, limit: int) -> list[RunRow]:
        """The newest runs that ended with a measured engine, newest first."""
        return [read_run(row) for row in self.file.rows(LAST_SQL.replace("LIMIT 1", "LIMIT ?"), (pipeline, limit))]

    def last_ended(self, pipeline: str) -> RunRow | None:
        """The newest run that finished or failed."""
        row = self.file.row(LAST_SQL.replace("= 'finished'", "IN ('finished', 'failed')"), (pipeline,))
        return None if row is None else read_run(row)

    def best(self, pipeline: str, key: str, better: Better | str) -> RunRow | None:
        """The finished run with the best measured value of that metric, the earliest of equals; None without one."""
        if Better(better) not in (Better.HIGHER, Better.LOWER):
            raise UsageError(f"no run is best in {key}: it is neither better higher nor lower", "name another metric")
        order = "DESC" if Better(better) is Better.HIGHER else "ASC"
        found = self.file.row(BEST_SQL.format(order=order), (pipeline, key))
        if found is None:
            return None
        row = self.file.row(f"SELECT {RUN_COLUMNS} FROM runs WHERE seq = ?", (found["seq"],))
        return None if row is None else read_run(row)

    def series(self, pipeline: str, key: str, limit: int = 1000) -> list[tuple[int, float]]:
        """`(index, value)` of the finished runs that measured that metric, newest last."""
        rows = self.file.rows(SERIES_SQL, (pipeline, key, limit))
        return [(int(row["number"]), float(row["value"])) for row in reversed(rows)]

    def unfinished(self, pipeline: str) -> RunRow | None:
        """The newest run that was interrupted or whose process is dead: what `--resume` continues."""
        here = liveness.this_host()
        rows = self.file.rows(
            f"SELECT {RUN_COLUMNS} FROM runs WHERE pipeline = ? AND state IN ('running', 'interrupted')"
            " ORDER BY seq DESC",
            (pipeline,),
        )
        found = (read_run(row) for row in rows)
        return next((row for row in found if row.state is RunState.INTERRUPTED or is_dead(row, here)), None)

    def find_run(self, pipeline: str, text: str) -> RunRow:
        """The run that `3`, `#3`, the beginning of a uid, or an MLflow run id means; `UsageError` lists the newest."""
        wanted = text.strip()
        found: list[RunRow] = []
        digits = wanted.removeprefix("#")
        if digits.isdecimal() and len(digits) <= _MOST_DIGITS:
            found = self._runs_where("number = ?", (pipeline, int(digits)))
        if not found and len(wanted) >= _MIN_PREFIX and wanted.isalnum():
            after = wanted[:-1] + chr(ord(wanted[-1]) + 1)
            found = self._runs_where("uid >= ? AND uid < ?", (pipeline, wanted, after))
            found = found or self._runs_where("mlflow_run_id >= ? AND mlflow_run_id < ?", (pipeline, wanted, after))
        if len(found) == 1:
            return found[0]
        newest = [row for row in self.history(pipeline, 50) if row.index is not None][-5:]
        known = ", ".join(f"#{row.index} ({row.uid[:8]}, {row.verdict or row.state})" for row in reversed(newest))
        trouble = f"{len(found)} runs begin with {text!r}" if found else f"pipeline {pipeline!r} has no run {text!r}"
        raise UsageError(trouble, f"newest runs: {known}" if known else f"run it first: plaster-ops retrain {pipeline}")

    def _runs_where(self, condition: str, values: tuple[str | int, ...]) -> list[RunRow]:
        rows = self.file.rows(
            f"SELECT {RUN_COLUMNS} FROM runs WHERE pipeline = ? AND number IS NOT NULL AND {condition} LIMIT 5", values
        )
        return [read_run(row) for row in rows]


class Watermarks(History, Promotions):
    """What triggers and what training start from."""

    def watermarks(self, pipeline: str) -> tuple[Watermark | None, Watermark | None]:
        """`(seen, learned)`: newest position at the newest finished run, newest position the champion has learned."""
        last, champion = self.last_finished(pipeline), self.champion(pipeline)
        return (None if last is None else last.seen, None if champion is None else champion.learned)

    def taken(self, pipeline: str) -> Watermark | None:
        """The newest position that a retrain read the data of and came to an end, be it a failure."""
        failed = self.file.row(TAKEN_SQL, (pipeline,))
        return self.watermarks(pipeline)[0] if failed is None else failed["upto"]

"""One metric over the retrains of a pipeline, from the journal's index alone."""

from dataclasses import dataclass

from plaster_ops.domain.card import MEASURED_STATUSES, Status
from plaster_ops.tracking.journal_file import JournalFile

_MEASURED = ", ".join(f"'{status}'" for status in MEASURED_STATUSES)

POINTS_SQL = (
    "SELECT runs.number, runs.uid, runs.started_at, runs.verdict, runs.fingerprint, readings.value, readings.method,"
    " readings.status"
    " FROM readings JOIN runs ON runs.seq = readings.seq"
    f" WHERE readings.pipeline = ?1 AND readings.key = ?2 AND readings.status IN ({_MEASURED})"
    " AND readings.seq < COALESCE("
    "(SELECT seq FROM runs WHERE pipeline = ?1 AND number >= ?4 ORDER BY number LIMIT 1), 9e18)"
    " ORDER BY readings.seq DESC LIMIT ?3"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SeriesPoint:
    """One finished retrain's value. `fingerprint`: digest of what must be equal; `method`: id of how it was measured.

    Either is empty where nothing is known. `started_at`: ISO 8601, UTC. `is_settled`: its windows agreed with each
    other; a value that did not settle was measured all the same, with more noise.
    """

    index: int
    uid: str
    value: float
    started_at: str
    verdict: str
    fingerprint: str
    method: str
    is_settled: bool = True

    def is_by(self, method: str) -> bool:
        """Whether it was measured by that method, as far as is known."""
        return self.method in ("", method)


class SeriesOfRuns:
    """The part of the journal that knows how a metric went."""

    file: JournalFile

    def points(self, pipeline: str, key: str, limit: int = 1000, *, before: int | None = None) -> list[SeriesPoint]:
        """The newest finished runs that measured that metric, newest last; of those before run `before`, if given."""
        rows = self.file.rows(POINTS_SQL, (pipeline, key, limit, before))
        return [
            SeriesPoint(
                index=int(row["number"]),
                uid=row["uid"],
                value=float(row["value"]),
                started_at=row["started_at"],
                verdict=row["verdict"] or "",
                fingerprint=row["fingerprint"],
                method=row["method"],
                is_settled=row["status"] == Status.MEASURED,
            )
            for row in reversed(rows)
        ]

    def measured_keys(self, pipeline: str) -> list[str]:
        """Every metric that a finished run of that pipeline measured, in order of the alphabet."""
        rows = self.file.rows("SELECT DISTINCT key FROM readings WHERE pipeline = ? ORDER BY key", (pipeline,))
        return [str(row["key"]) for row in rows]

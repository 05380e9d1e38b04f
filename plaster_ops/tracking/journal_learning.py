"""Questions about how fast a pipeline learns. Each is one query that an index answers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from plaster_ops.tracking.journal_file import JournalFile

CYCLES_SQL = (
    "SELECT json_extract(phases, '$.cycle_s') AS cycle_s FROM runs"
    " WHERE pipeline = ? AND state = 'finished' ORDER BY seq DESC LIMIT ?"
)
PROMOTED_SQL = (
    "SELECT promotions.uid, promotions.at, json_extract(records.record, '$.data') AS data"
    " FROM promotions JOIN runs ON runs.uid = promotions.uid LEFT JOIN records ON records.uid = promotions.uid"
    " WHERE promotions.pipeline = ? AND runs.state = 'finished' ORDER BY promotions.seq DESC LIMIT ?"
)
COUNTS_SQL = (
    "SELECT COUNT(*) AS finished, SUM(uid IN (SELECT uid FROM promotions WHERE pipeline = ?1)) AS promoted FROM runs"
    " WHERE pipeline = ?1 AND state = 'finished'"
)
FITS_SQL = (
    "SELECT readings.value, json_extract(records.record, '$.params') AS params,"
    " json_extract(records.record, '$.tags') AS tags FROM readings JOIN runs ON runs.seq = readings.seq"
    " JOIN records ON records.uid = runs.uid WHERE readings.pipeline = ? AND readings.key = ?"
    " ORDER BY readings.seq DESC LIMIT ?"
)
STARTS_SQL = (
    "SELECT json_extract(records.record, '$.start') AS start FROM runs JOIN records ON records.uid = runs.uid"
    " WHERE runs.pipeline = ? AND runs.state = 'finished' ORDER BY runs.seq DESC LIMIT ?"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Promoted:
    """One line of the ledger with the section `data` of its run's record (empty where none was stored).

    `at_s`: seconds since the epoch. `is_again`: the run had been champion before.
    """

    uid: str
    at_s: float
    data: Mapping[str, Any]
    is_again: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class FitReading:
    """A value of a finished run's card, of any status, with the run's params and tags."""

    value: float
    params: Mapping[str, str]
    tags: Mapping[str, str]


class Learning:
    """The part of the journal that knows the pace of a pipeline."""

    file: JournalFile

    def cycles_s(self, pipeline: str, limit: int) -> list[float]:
        """Seconds of the newest finished retrains, oldest first; a resumed one's attempts together."""
        rows = self.file.rows(CYCLES_SQL, (pipeline, limit))
        return [float(row["cycle_s"]) for row in reversed(rows) if row["cycle_s"] is not None]

    def promoted(self, pipeline: str, limit: int = 200) -> list[Promoted]:
        """The newest promotions, oldest first."""
        found: list[Promoted] = []
        known: set[str] = set()
        for row in reversed(self.file.rows(PROMOTED_SQL, (pipeline, limit))):
            at_s = datetime.fromisoformat(row["at"]).timestamp()
            data = json.loads(row["data"]) if row["data"] else {}
            found.append(Promoted(uid=row["uid"], at_s=at_s, data=data, is_again=row["uid"] in known))
            known.add(row["uid"])
        return found

    def ended(self, pipeline: str) -> tuple[int, int]:
        """`(promoted, finished)`: how many runs ended with an engine, and how many of them have been champion."""
        row = self.file.row(COUNTS_SQL, (pipeline,))
        return (0, 0) if row is None else (int(row["promoted"] or 0), int(row["finished"]))

    def fit_readings(self, pipeline: str, key: str, limit: int = 100) -> list[FitReading]:
        """The values of that key on the cards of the newest finished runs, oldest first, suspect ones included."""
        return [
            FitReading(
                value=float(row["value"]),
                params=json.loads(row["params"] or "{}"),
                tags=json.loads(row["tags"] or "{}"),
            )
            for row in reversed(self.file.rows(FITS_SQL, (pipeline, key, limit)))
        ]

    def starts(self, pipeline: str, limit: int = 500) -> list[dict[str, Any]]:
        """The sections `start` of the newest finished retrains, oldest first; empty where none was kept."""
        rows = self.file.rows(STARTS_SQL, (pipeline, limit))
        return [json.loads(row["start"]) if row["start"] else {} for row in reversed(rows)]

"""The seven letters of one run: readings, and honest gaps where nothing could be measured."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from plaster_ops.domain.metrics import HEADLINES, Better, Metric, find_metric


class Status(StrEnum):
    """How much a value may be trusted. `ESTIMATED` and `SUSPECT` never decide a verdict."""

    MEASURED = "measured"
    ESTIMATED = "estimated"
    NOT_MEASURED = "not_measured"
    UNSTABLE = "unstable"
    SUSPECT = "suspect"
    FAILED = "failed"


MEASURED_STATUSES = (Status.MEASURED, Status.UNSTABLE)
"""Of values that were measured: one that did not settle was all the same, with more noise. No guess is among them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """One measured value in the unit of its metric. `ci95` are two bounds in the same unit; `n` counts its
    evidence, None for one observation."""

    metric: Metric
    value: float
    ci95: tuple[float, float] | None = None
    n: int | None = None
    status: Status = Status.MEASURED
    reason: str | None = None
    better: Better | None = None

    def __post_init__(self) -> None:
        if isinstance(self.value, bool) or not math.isfinite(self.value):
            raise ValueError(f"{self.metric.key}: {self.value!r} is no reading; use Unmeasured with a reason")
        if self.ci95 is not None and not all(math.isfinite(bound) for bound in self.ci95):
            raise ValueError(f"{self.metric.key}: interval {self.ci95} is not finite; leave it out")

    @property
    def direction(self) -> Better:
        """Which way is better, with the pipeline's own declaration applied."""
        return self.better or self.metric.better


@dataclass(frozen=True, kw_only=True, slots=True)
class Unmeasured:
    """A metric without a value here, and why. Never 0, never NaN."""

    metric: Metric
    reason: str
    status: Status = Status.NOT_MEASURED
    better: Better | None = None

    @property
    def direction(self) -> Better:
        """Which way would be better."""
        return self.better or self.metric.better


Row = Reading | Unmeasured


@dataclass(frozen=True, slots=True)
class Card:
    """All rows of one run, one per metric key, in the order of the catalogue."""

    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        keys = [row.metric.key for row in self.rows]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise ValueError(f"metrics measured twice on one card: {', '.join(sorted(twice))}")

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def find(self, metric: Metric) -> Row | None:
        """The row of that metric, measured or not; None where the card does not speak of it."""
        return next((row for row in self.rows if row.metric.key == metric.key), None)

    def value(self, metric: Metric) -> float | None:
        """The value of a reading; None where it was not measured."""
        row = self.find(metric)
        return row.value if isinstance(row, Reading) else None

    def headlines(self) -> tuple[Row, ...]:
        """Seven rows, one a letter, in the order P L A S T E R; a letter nobody measured says so."""
        return tuple(
            self.find(metric) or Unmeasured(metric=metric, reason="no procedure ran for this letter")
            for metric in HEADLINES
        )

    def to_json(self) -> list[dict[str, Any]]:
        """Rows as in `--json`, schema 1."""
        return [_row_to_json(row) for row in self.rows]

    @classmethod
    def from_json(cls, rows: Iterable[Mapping[str, Any]]) -> "Card":
        """The card that `to_json` wrote; counts stay whole."""
        return cls(tuple(_row_from_json(row) for row in rows))

    @classmethod
    def of(cls, rows: Iterable[Row]) -> "Card":
        """A card sorted by letter, headline first, with every headline present."""
        measured = cls(tuple(rows))
        given = {row.metric.key: row for row in (*measured, *measured.headlines())}
        letters = "PLASTER"
        return cls(tuple(sorted(given.values(), key=lambda r: (letters.index(r.metric.letter), not r.metric.headline))))


def _row_to_json(row: Row) -> dict[str, Any]:
    reading = row if isinstance(row, Reading) else None
    return {
        "letter": row.metric.letter.value,
        "key": row.metric.key,
        "value": reading.value if reading else None,
        "ci95": list(reading.ci95) if reading and reading.ci95 else None,
        "n": (1 if reading.n is None else reading.n) if reading else None,
        "unit": row.metric.unit,
        "better": row.direction.value,
        "status": row.status.value,
        "reason": row.reason,
        "method": row.metric.method,
        "headline": row.metric.headline,
    }


def _row_from_json(row: Mapping[str, Any]) -> Row:
    metric = find_metric(row["key"])
    better = Better(row["better"]) if row["better"] != metric.better.value else None
    if row["value"] is None:
        return Unmeasured(metric=metric, reason=row["reason"] or "", status=Status(row["status"]), better=better)
    ci95 = (row["ci95"][0], row["ci95"][1]) if row.get("ci95") else None
    return Reading(
        metric=metric,
        value=row["value"],
        ci95=ci95,
        n=row.get("n"),
        status=Status(row["status"]),
        reason=row["reason"],
        better=better,
    )

"""A metric over the retrains of a pipeline: what a chart of it needs, thinned where there are many."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FEWEST_OF_A_LEVEL = 4
MOST_POINTS = 240
"""A chart of more retrains shows of each stretch its lowest and its highest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrendPoint:
    """One retrain. `regime`: what must be equal for two of them to be one series (machine, inputs, method).

    `is_settled` False: its windows did not agree with each other. `is_measured` False: a guess, or suspect; it is in
    no level and in no history.
    """

    index: int
    value: float
    verdict: str
    regime: str
    is_settled: bool = True
    is_measured: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """The median of a stretch without an alarm in it, from retrain `first` to `last`."""

    first: int
    last: int
    value: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Trend:
    """One metric. `alarms`: `(index, whether it was for the worse)`, oldest first."""

    key: str
    points: tuple[TrendPoint, ...]
    alarms: tuple[tuple[int, bool], ...] = ()

    @classmethod
    def of(cls, key: str, rows: Sequence[Mapping[str, Any]], alarms: Sequence[Mapping[str, Any]]) -> "Trend":
        """From rows with the fields of a `TrendPoint`, and alarms of any metric as in `--json`."""
        points = tuple(
            TrendPoint(
                index=int(row["index"]),
                value=float(row["value"]),
                verdict=str(row["verdict"]),
                regime=str(row["regime"]),
                is_settled=bool(row.get("is_settled", True)),
                is_measured=bool(row.get("is_measured", True)),
            )
            for row in rows
            if row["value"] is not None and float(row["value"]) - float(row["value"]) == 0
        )
        mine = {int(alarm["index"]): bool(alarm.get("worse")) for alarm in alarms if alarm.get("key") == key}
        return cls(key=key, points=points, alarms=tuple(sorted(mine.items())))

    def stretches(self) -> list[list[TrendPoint]]:
        """The measured points of one regime after another, oldest first."""
        found: list[list[TrendPoint]] = []
        for point in self.points:
            if not point.is_measured:
                continue
            if found and found[-1][-1].regime == point.regime:
                found[-1].append(point)
            else:
                found.append([point])
        return found

    def levels(self) -> list[Level]:
        """The level between each two alarms or changes of regime, where four points or more make one."""
        starts = {index for index, _ in self.alarms}
        parts: list[list[TrendPoint]] = []
        for stretch in self.stretches():
            parts.append([])
            for point in stretch:
                if point.index in starts:
                    parts.append([])
                parts[-1].append(point)
        return [_level(part) for part in parts if len(part) >= FEWEST_OF_A_LEVEL]


def _level(points: Sequence[TrendPoint]) -> Level:
    value = statistics.median(point.value for point in points)
    return Level(first=points[0].index, last=points[-1].index, value=value)


def thinned(points: Sequence[TrendPoint], most: int = MOST_POINTS) -> list[TrendPoint]:
    """At most about so many points: of each of equal parts the lowest and the highest, and both ends."""
    if len(points) <= most:
        return list(points)
    parts = max(1, most // 2)
    size = len(points) / parts
    kept = {points[0].index: points[0], points[-1].index: points[-1]}
    for part in range(parts):
        stretch = points[int(part * size) : max(int((part + 1) * size), int(part * size) + 1)]
        for point in (min(stretch, key=lambda p: p.value), max(stretch, key=lambda p: p.value)):
            kept[point.index] = point
    return [kept[index] for index in sorted(kept)]

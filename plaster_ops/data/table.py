"""Rows of a database table or query as arriving data: positions, counts, the held-out part by event time, and the rows.

Counting is done by the database; rows are read only for training and scoring. docs/pipelines.md states every rule.
"""

import time as clocks
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plaster_ops.data.database import Place, open_rows
from plaster_ops.data.table_look import Look
from plaster_ops.data.table_position import epoch_s, is_timed, seconds_of
from plaster_ops.data.table_selection import chosen
from plaster_ops.domain.window import Watermark, Window
from plaster_ops.errors import DataError


@dataclass(frozen=True, kw_only=True, slots=True)
class TableSource:
    """Rows that only ever come to a table (or a query), in the order of the column `order`.

    `url_env` names the environment variable that holds the database's URL; `url` gives it outright. `order` rises with
    arrival: an increasing id, or the time of insertion. `time` is when a row came into being: with it the held-out part
    is the newest by event time, and rows that arrive late belong where their time says. `holdout`: rows, or with `time`
    a duration ("14d"). `label`: rows where it is null are not there yet. `label_delay`: rows whose event time is nearer
    to now are not either. `columns`: what the rows hold; all of them where it is None. `settle`: the newest ids, or
    seconds of insertion, that are not looked at yet.
    """

    name: str
    order: str
    holdout: int | str
    url_env: str | None = None
    url: str | None = field(default=None, repr=False)
    table: str | None = None
    query: str | None = None
    time: str | None = None
    label: str | None = None
    label_delay: float | str = "0s"
    columns: Sequence[str] | None = None
    settle: float | str = 0
    project: Path | None = None
    now: Callable[[], float] = clocks.time

    def __post_init__(self) -> None:
        pairs = (("url_env", self.url_env, "url", self.url), ("table", self.table, "query", self.query))
        for one, first, other, second in pairs:
            if bool(first) == bool(second):
                raise self._wrong(f"{'both' if first else 'neither'} {one} and {other} given", f"give {one} or {other}")
        if not self.time and (not isinstance(self.holdout, int) or seconds_of(self.label_delay, "label_delay")):
            raise self._wrong("a duration needs the column of event time", "name it: time = ..., or hold out rows")
        if isinstance(self.holdout, int):
            if self.holdout < 0:
                raise self._wrong(f"holdout = {self.holdout}", "hold out 0 rows or more")
        else:
            seconds_of(self.holdout, "holdout")
        seconds_of(self.label_delay, "label_delay")
        seconds_of(self.settle, "settle")

    # ---- positions ---------------------------------------------------------------------------------------------------
    def newest(self) -> Watermark | None:
        """The newest settled position; None where there is no labelled row yet."""
        with self._open() as look:
            order = look.settled_order()
            if order is None:
                return None
            time = look.newest_time(order)
            if self.time and time is None:
                return None
            there = look.told(order, time)
            return there.to_text() if there.rows else None

    def count(self, after: Watermark | None, upto: Watermark | None) -> int:
        """Rows in `(after, upto]`, and those that came late: at or below `after`, and not there when it was told."""
        if upto is None:
            return 0
        with self._open() as look:
            begin, end = look.position(after), look.position(upto)
            return look.rows_of(look.new(begin, end)) + look.late(begin)

    def cut(self, after: Watermark | None, upto: Watermark | None) -> Watermark | None:
        """Where the training part ends; never before `after`. None where all rows are held out."""
        if upto is None:
            return after
        with self._open() as look:
            begin, end = look.position(after), look.position(upto)
            bound = look.bound(end, self.holdout)
            learned = None if begin is None else (begin.time if self.time else begin.order)
            places = [place for place in (bound, learned) if place is not None]
            if not places:
                return None
            return look.told(*((end.order, max(places)) if self.time else (max(places), None))).to_text()

    def arrived_at(self, upto: Watermark | None) -> float | None:
        """When the newest row was inserted (seconds since the epoch), where `order` is a time of insertion."""
        if upto is None:
            return None
        with self._open() as look:
            order = look.position(upto).order
            return epoch_s(order) if is_timed(order) else None

    def times(self, after: Watermark | None, upto: Watermark | None) -> list[tuple[float, int]]:
        """Event times of the rows in `(after, upto]`: pairs (seconds since the epoch, rows); none without `time`."""
        if upto is None or not self.time:
            return []
        with self._open() as look:
            found = look.by_time(look.new(look.position(after), look.position(upto)))
        return [(at, count) for value, count in found if (at := epoch_s(value)) is not None]

    def remarks(self, after: Watermark | None) -> list[str]:
        """What to tell people: rows that came late, or are gone, at or below that position."""
        if after is None:
            return []
        with self._open() as look:
            change = look.change(look.position(after))
        if change > 0:
            return [f"{self.name}: {change} rows came late, below what was learned: they count as new"]
        return [f"{self.name}: {-change} rows that were learned are gone"] if change < 0 else []

    # ---- rows --------------------------------------------------------------------------------------------------------
    def train_rows(self, window: Window) -> Any:
        """The training part of the window as a `pyarrow.Table`, in the order of event time (of arrival without it)."""
        with self._open() as look:
            if window.cut is None:
                return look.read(None)
            begin, end = look.position(window.learned), look.position(window.cut)
            return chosen(look, begin, end, window)

    def held_out_rows(self, window: Window) -> Any:
        """The held-out part of the window, likewise: the newest labelled rows, none of which is trained on."""
        with self._open() as look:
            if window.end is None:
                return look.read(None)
            return look.read(look.held_out(look.position(window.cut), look.position(window.end)))

    @contextmanager
    def _open(self) -> Iterator[Look]:
        what = f"table source {self.name!r}"
        place = Place(
            what=what, url_env=self.url_env, url=self.url, table=self.table, query=self.query, project=self.project
        )
        with open_rows(place) as rows:
            yield Look(self, rows)

    def _wrong(self, message: str, next_step: str) -> DataError:
        return DataError(f"table source {self.name!r}: {message}", next_step)

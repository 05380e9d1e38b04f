"""One connection's view of a table source: which rows belong to a position, and questions about them in SQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from plaster_ops.data.database import Rows
from plaster_ops.data.table_position import TablePosition, is_timed, like, seconds_of, shifted
from plaster_ops.domain.window import Watermark
from plaster_ops.errors import DataError

if TYPE_CHECKING:
    from plaster_ops.data.table import TableSource


class Look:
    """One connection's view of the rows that count: those with an order, an event time and a label, where named."""

    def __init__(self, source: TableSource, rows: Rows) -> None:
        self._source, self._rows = source, rows
        self._order = rows.column(source.order)
        self._time = rows.column(source.time) if source.time else None
        self._label = rows.column(source.label) if source.label else None
        self._names = list(source.columns) if source.columns is not None else list(rows.names)
        self._wanted = [rows.column(name) for name in self._names]
        self.by = self._order if self._time is None else self._time
        """What the held-out part is cut by."""

    def _usable(self) -> Any:
        import sqlalchemy as sa

        needed = [column for column in (self._order, self._time, self._label) if column is not None]
        return sa.and_(*(column.is_not(None) for column in needed))

    def _any(self, column: Any) -> Any:
        """A value of the column, for its type; None in an empty table."""
        import sqlalchemy as sa

        return self._rows.one(sa.select(column).where(column.is_not(None)).limit(1))

    # ---- positions ---------------------------------------------------------------------------------------------------
    def settled_order(self) -> Any:
        """The greatest settled order; None where there is none."""
        import sqlalchemy as sa

        newest = self._rows.one(sa.select(sa.func.max(self._order)))
        settle = seconds_of(self._source.settle, "settle")
        if newest is None or not settle:
            return newest
        bound = self._ago(newest, settle) if is_timed(newest) else shifted(newest, -settle)
        if bound is None:
            raise DataError(
                f"table source {self._source.name!r}: settle needs {self._source.order!r} to be a number or a time, it"
                f" holds {newest!r}",
                "leave settle out, or order by an id or the time of insertion",
            )
        return self._rows.one(sa.select(sa.func.max(self._order)).where(self._order <= bound))

    def newest_time(self, order: Any) -> Any:
        """The newest event time up to that order whose label delay is over; None without an event time."""
        import sqlalchemy as sa

        if self._time is None:
            return None
        delay, there = seconds_of(self._source.label_delay, "label_delay"), [self._usable(), self._order <= order]
        some = self._any(self._time)
        if some is not None and (delay or is_timed(some)):  # a time that lies ahead is a mistake
            there.append(self._time <= self._ago(some, delay))
        return self._rows.one(sa.select(sa.func.max(self._time)).where(*there))

    def _ago(self, value: Any, seconds: float) -> Any:
        """So many seconds before now, as the value is written."""
        at_s = self._source.now() - seconds
        return like(value, datetime.fromtimestamp(at_s, tz=UTC)) if is_timed(value) else type(value)(at_s)

    def told(self, order: Any, time: Any) -> TablePosition:
        """The position with its count of today."""
        place = TablePosition(order=order, time=time, rows=0)
        return TablePosition(order=order, time=time, rows=self.rows_of(self.upto(place)))

    def position(self, watermark: Watermark | None) -> Any:
        """The position of a watermark; None for None."""
        if watermark is None:
            return None
        times = None if self._time is None else self._any(self._time)
        try:
            if self._time is not None and times is None:
                raise ValueError("the table has no event time any more")
            return TablePosition.parse(watermark, self._any(self._order), times)
        except (ValueError, ArithmeticError) as error:
            raise DataError(
                f"table source {self._source.name!r}: {watermark!r} is no position in {self._rows.place.rows_from}:"
                f" {error}",
                "an earlier run had another source or other columns: give the pipeline a new name",
            ) from None

    def bound(self, end: TablePosition, holdout: int | str) -> Any:
        """Order or event time of the newest row that is not held out; None where there is none."""
        import sqlalchemy as sa

        there = self.upto(end)
        if isinstance(holdout, int):
            newest_first = sa.select(self.by).where(there).order_by(self.by.desc())
            return self._rows.one(newest_first.limit(1).offset(holdout))
        return self._rows.one(sa.select(sa.func.max(self.by)).where(there, self.by <= self.before(end, holdout)))

    def before(self, end: TablePosition, duration: float | str) -> Any:
        """So long before the end, in the terms of `by`."""
        place = end.order if self._time is None else end.time
        bound = shifted(place, -seconds_of(duration, "duration"))
        if bound is None or (self._time is None and not is_timed(place)):
            raise DataError(
                f"table source {self._source.name!r}: a duration needs points in time, {self.by.name!r} holds"
                f" {place!r}",
                "count in rows, or name the column of event time",
            )
        return bound

    # ---- which rows --------------------------------------------------------------------------------------------------
    def _seen(self, place: TablePosition) -> Any:
        import sqlalchemy as sa

        within = [self._order <= place.order]
        return sa.and_(*within, *([] if self._time is None else [self._time <= place.time]))

    def upto(self, place: TablePosition) -> Any:
        """All rows of a position's set."""
        import sqlalchemy as sa

        return sa.and_(self._usable(), self._seen(place))

    def new(self, begin: TablePosition | None, end: TablePosition) -> Any:
        """Rows in the set of `end` and beyond that of `begin`."""
        import sqlalchemy as sa

        return self.upto(end) if begin is None else sa.and_(self.upto(end), sa.not_(self._seen(begin)))

    def held_out(self, cut: TablePosition | None, end: TablePosition) -> Any:
        """Rows of the set of `end` past the cut: by event time, else by order."""
        import sqlalchemy as sa

        if cut is None:
            return self.upto(end)
        return sa.and_(self.upto(end), self.by > (cut.order if self._time is None else cut.time))

    # ---- asking ------------------------------------------------------------------------------------------------------
    def rows_of(self, where: Any) -> int:
        """How many rows there are, counted by the database."""
        import sqlalchemy as sa

        return int(self._rows.one(sa.select(sa.func.count()).select_from(self._rows.source).where(where)))

    def change(self, place: TablePosition) -> int:
        """Rows at or below a position now, less those that were there when it was told."""
        return self.rows_of(self.upto(place)) - place.rows

    def late(self, place: TablePosition | None) -> int:
        """Rows that have come since, at or below it; as many as are gone hide as many of them."""
        return 0 if place is None else max(0, self.change(place))

    def by_time(self, where: Any) -> list[Any]:
        """`(event time, rows)`, one for each time (of arrival without an event time)."""
        import sqlalchemy as sa

        return self._rows.all(sa.select(self.by, sa.func.count()).where(where).group_by(self.by))

    def read(self, where: Any, newest: int | None = None) -> Any:
        """Rows as a `pyarrow.Table` in the order of event time, then of arrival; `where` None: none of them. `newest`:
        that many of the latest."""
        import pyarrow as pa
        import sqlalchemy as sa

        statement = sa.select(*self._wanted).where(sa.false() if where is None else where)
        keys = [column for column in (self._time, self._order) if column is not None]
        if newest is None:
            return self._rows.table(statement.order_by(*keys), self._names)
        latest = self._rows.table(statement.order_by(*(key.desc() for key in keys)).limit(newest), self._names)
        return latest.take(pa.array(range(latest.num_rows - 1, -1, -1), type=pa.int64()))

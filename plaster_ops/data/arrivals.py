"""What a folder of arriving files is to a retrain: positions, counts, cuts, and the rows of a window.

The one implementation behind `FolderSource` and `CallableSource`. `scan` alone writes what arrived; every other call
reads the ledger, so that all processes of a retrain see the same rows.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from plaster_ops.data.accept import Reader
from plaster_ops.data.arrival_report import describe
from plaster_ops.data.columns import Int64s, is_timed
from plaster_ops.data.ledger import Entry, FileState, Ledger
from plaster_ops.data.listing import Folder
from plaster_ops.data.reading import gather
from plaster_ops.data.rules import Rules
from plaster_ops.data.scan import Scan
from plaster_ops.data.schema_text import schema_from_text
from plaster_ops.data.selection import Rows, ordered, training
from plaster_ops.domain.durations import duration_us, parse_lookback
from plaster_ops.domain.frontier import Frontier, cut_at, parse_frontier
from plaster_ops.domain.window import Watermark, Window
from plaster_ops.errors import DataError, SettingsError
from plaster_ops.ports import Clock


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrivals:
    """One source. `holdout` is a duration in event time (microseconds) or a number of rows."""

    name: str
    file: Path
    folder: Folder
    rules: Rules
    format: str | None
    holdout_us: int | None
    holdout_rows: int | None
    settle_s: float
    patience_s: float
    clock: Clock

    # ---- positions -------------------------------------------------------------------------------------------------
    def scan(self, *, waits: bool = True) -> None:
        """Accepts what arrived since the last scan. `waits` False: what is still being written is not waited for."""
        with Ledger.opened(self.file, create=True) as ledger:
            Scan(
                reader=self._reader(),
                clock=self.clock,
                settle_s=self.settle_s,
                patience_s=self.patience_s,
                waits=waits,
            ).run(ledger)

    def waiting(self) -> bool:
        """Whether the last scan left a file for later: it may count by then without having changed."""
        with Ledger.opened(self.file, create=False) as ledger:
            return any(row.state is FileState.WAITING for row in ledger.files().values())

    def newest(self) -> Watermark | None:
        """The frontier of everything usable by the ledger as it stands; None where no row is."""
        with Ledger.opened(self.file, create=False) as ledger:
            position = ledger.position
            entries = [entry for entry in ledger.entries() if entry.lives_at(position)]
            floor = ledger.meta("cut_us")
            schema = schema_from_text(ledger.meta("schema")) or {}
        if not entries:
            return None
        if self.rules.time is None:
            return position
        newest = max(entry.max_us or 0 for entry in entries) - self.rules.label_delay_us
        at_us = newest if floor is None else max(newest, int(floor))
        return Frontier(position=position, at_us=at_us, dated=is_timed(schema[self.rules.time])).to_text()

    def count(self, after: Watermark | None, upto: Watermark | None) -> int:
        """Rows of `upto` that are not in `after`, as they stand at `upto`."""
        end = self._frontier(upto)
        if end is None:
            return 0
        return int(self._rows(end.position).between(self._frontier(after), end).sum())

    def cut(self, after: Watermark | None, upto: Watermark | None) -> Watermark | None:
        """Where training ends. Its time is kept: no later cut is earlier."""
        end, learned = self._frontier(upto), self._frontier(after)
        if end is None:
            return after
        if self.holdout_us is not None:
            wanted: int | None = end.at_us - self.holdout_us
        else:
            wanted = self._rows(end.position).before_newest(end, self.holdout_rows or 0)
        with Ledger.opened(self.file, create=False) as ledger, ledger.writing():
            floor = ledger.meta("cut_us")
            found = cut_at(end.at_us if wanted is None else wanted, learned=learned, end=end, floor_us=floor)
            ledger.set_meta("cut_us", found.at_us)
            ledger.set_meta("cut_position", found.position)
            ledger.keep_reached()
        return self._watermark(found)

    def arrived_at(self, upto: Watermark | None) -> float | None:
        """When the newest of these rows landed, seconds since the epoch."""
        end = self._frontier(upto)
        if end is None:
            return None
        landed = [entry.arrived_at for entry in self._entries(end.position)]
        return max(landed) if landed else None

    def times(self, after: Watermark | None, upto: Watermark | None) -> list[tuple[float, int]]:
        """Pairs (seconds since the epoch, rows): event times, or when files landed where there is no time column.
        Nothing where times are plain numbers."""
        end = self._frontier(upto)
        if end is None or (self.rules.time is not None and not end.dated):
            return []
        rows = self._rows(end.position)
        chosen = rows.between(self._frontier(after), end)
        if self.rules.time is None:
            numbers, counts = np.unique(rows.entry[chosen], return_counts=True)
            return [(rows.entries[n].arrived_at, int(c)) for n, c in zip(numbers, counts, strict=True)]
        moments, counts = np.unique(rows.at_us[chosen], return_counts=True)
        return [(float(at) / 1e6, int(count)) for at, count in zip(moments, counts, strict=True)]

    # ---- rows ------------------------------------------------------------------------------------------------------
    def train_rows(self, window: Window) -> pa.Table:
        """All new rows, and of the old ones what the window's look-back and replay ratio say; by time, position."""
        cut, end = self._of(window)
        if parse_lookback(window.lookback).age_us is not None and self.rules.time is None:
            raise SettingsError(
                f"data.window = {window.lookback!r} needs event times, and source {self.name!r} has no time column",
                'give the source time="...", or set window = "last 50000"',
            )
        rows = self._rows(end.position)
        return self._gather(rows, training(rows, window, self._frontier(window.learned), cut))

    def held_out_rows(self, window: Window) -> pa.Table:
        """The rolling set of the window, by time, position."""
        cut, end = self._of(window)
        rows = self._rows(end.position)
        return self._gather(rows, ordered(rows, rows.held_out(cut, end)))

    def _of(self, window: Window) -> tuple[Frontier, Frontier]:
        cut, end = self._frontier(window.cut), self._frontier(window.end)
        if cut is None or end is None:
            raise DataError(
                f"source {self.name!r}: a window without cut or end has no rows",
                "let data arrive; the window must come from this source",
            )
        return cut, end

    def _gather(self, rows: Rows, chosen: Int64s) -> pa.Table:
        with Ledger.opened(self.file, create=False) as ledger:
            schema = schema_from_text(ledger.meta("schema")) or {}
            files = ledger.files()
        return gather(self._reader(), schema, files, rows, chosen)

    # ---- the ledger ------------------------------------------------------------------------------------------------
    def _entries(self, position: int) -> list[Entry]:
        with Ledger.opened(self.file, create=False) as ledger:
            return [entry for entry in ledger.entries() if entry.lives_at(position)]

    def _rows(self, position: int) -> Rows:
        return Rows.of(self._entries(position))

    def report(self, window: Window | None) -> dict[str, Any]:
        """What the last scan did, what became of every file, and what of the window's rows is out of the ordinary."""
        marks = (None, None, None) if window is None else (window.learned, window.seen, window.end)
        learned, seen, end = map(self._frontier, marks)
        with Ledger.opened(self.file, create=False) as ledger:
            return describe(ledger, learned=learned, seen=seen, end=end)

    def _reader(self) -> Reader:
        return Reader(folder=self.folder, rules=self.rules, format=self.format)

    def _frontier(self, watermark: Watermark | None) -> Frontier | None:
        if watermark is None:
            return None
        try:
            if self.rules.time is not None:
                return parse_frontier(str(watermark))
            return Frontier(position=int(watermark), at_us=int(watermark), dated=False)
        except ValueError:
            raise DataError(
                f"{watermark!r} is no position of source {self.name!r}: another kind of source recorded it",
                "give the pipeline another name in plaster.toml, so that its history begins anew",
            ) from None

    def _watermark(self, frontier: Frontier) -> Watermark:
        return frontier.at_us if self.rules.time is None else frontier.to_text()


def parse_holdout(holdout: str | int, *, has_time: bool) -> tuple[int | None, int | None]:
    """`(microseconds, rows)`, one of them None. Raises `DataError`."""
    if isinstance(holdout, int) and not isinstance(holdout, bool):
        if holdout < 1:
            raise DataError(f"holdout = {holdout} holds nothing out", "give a number of rows, or a duration as '7d'")
        return None, holdout
    try:
        length_us = duration_us(str(holdout))
    except ValueError as error:
        raise DataError(f"holdout: {error}", "give one, or a number of rows") from None
    if not has_time:
        raise DataError(f"holdout = {holdout!r} needs a time column", 'give time="...", or a number of rows')
    if not length_us:
        raise DataError(f"holdout = {holdout!r} holds nothing out", "give a longer one")
    return length_us, None

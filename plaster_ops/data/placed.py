"""Accepted rows and the files that they lie in: what a file still holds of them, and rows that move, return or are new.

Decides nothing about files: `intake` does, and the ledger keeps what comes of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from plaster_ops.data.accept import Brought, Reader
from plaster_ops.data.columns import key_digests
from plaster_ops.data.ledger import Entry, Ledger, pack_mask, pack_times
from plaster_ops.data.listing import Found


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """The entries of a ledger inside a transaction of it. `cut_position`: of the last window that was cut."""

    ledger: Ledger
    reader: Reader
    cut_position: int

    def of(self, path: str) -> list[Entry]:
        """The newest entry of each range of rows of the file's newest generation."""
        return list({entry.first_row: entry for entry in self.ledger.entries(path)}.values())

    def may_return(self, entries: Sequence[Entry]) -> bool:
        """Whether rows may have their old positions again. Not where a window was cut while they were away: what was
        trained then would count as having learned them. They arrive anew instead."""
        away = [entry.withdrawn_at for entry in entries if entry.withdrawn_at is not None]
        return bool(entries) and all(at > self.cut_position for at in away)

    def goes_on(self, entries: Sequence[Entry], path: str, brought: Brought) -> bool:
        """Whether the file as it was read now has all these rows where they were."""
        return all(self.holds(entry, path, brought.table) for entry in entries)

    def holds(self, entry: Entry, path: str, table: pa.Table) -> bool:
        """Whether the table has the entry's rows in their place."""
        if entry.first_row + entry.rows > table.num_rows:
            return False
        return self.reader.range_digest(path, table, entry.first_row, entry.rows) == entry.digest

    def move(self, entries: Sequence[Entry], path: str) -> list[Entry]:
        """The same rows at the same positions, in another file."""
        generation = max((entry.generation for entry in self.ledger.entries(path)), default=-1) + 1
        self.ledger.withdraw(entries, f"now in {path}")
        return [self._born_again(replace(entry, path=path, generation=generation)) for entry in entries]

    def come_back(self, entry: Entry) -> None:
        """Rows that were taken back are there again, at their old positions."""
        self._born_again(entry)

    def _born_again(self, entry: Entry) -> Entry:
        born = replace(entry, born_at=self.ledger.advance(1), withdrawn_at=None, why=None, id=0)
        number = self.ledger.put_entry(born)
        self.ledger.hand_keys(entry.id, number)
        return replace(born, id=number)

    def add(self, file: Found, brought: Brought, *, first_row: int, generation: int, now: float) -> int:
        """New rows, from `first_row` of the file on; returns how many of them are doubles of a key."""
        rows = brought.rows - first_row
        times = None if brought.times is None else brought.times[first_row:]
        start = self.ledger.position
        entry = Entry(
            path=file.path,
            generation=generation,
            first_row=first_row,
            rows=rows,
            start=start,
            born_at=self.ledger.advance(rows),
            digest=self.reader.range_digest(file.path, brought.table, first_row, rows),
            min_us=start + 1 if times is None else int(times.min()),
            max_us=start + rows if times is None else int(times.max()),
            times=None if times is None else pack_times(times),
            unlabelled=pack_mask(brought.unlabelled[first_row:]),
            arrived_at=min(now, file.landed_at if file.landed_at is not None else now),
            accepted_at=now,
        )
        number = self.ledger.put_entry(entry)
        if not self.reader.rules.key:
            return 0
        dropped = self.ledger.doubles(key_digests(brought.table.slice(first_row), self.reader.rules.key), number)
        self.ledger.mark_dropped(number, dropped)
        return int(dropped.sum())

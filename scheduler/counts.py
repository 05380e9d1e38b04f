"""How many slots ended how, kept up without counting a year of them again at every look."""

from collections import Counter

from plaster_ops.tracking.slots import SlotLedger

_ENDED = (
    "SELECT pipeline, state, COUNT(*) AS count FROM slots"
    " WHERE id > ? AND id <= ? AND state NOT IN ('due', 'running') GROUP BY pipeline, state"
)
_FIRST_OPEN = "SELECT MIN(id) AS id FROM slots INDEXED BY slots_open WHERE state IN ('due', 'running')"


class SlotCounts:
    """Counts by `(pipeline, state)`. Rows before the oldest open one have ended for good: they are counted once."""

    def __init__(self, ledger: SlotLedger) -> None:
        self._file = ledger.file
        self._settled: Counter[tuple[str, str]] = Counter()
        self._upto = 0

    def now(self) -> dict[tuple[str, str], int]:
        """Every slot in the ledger that has ended."""
        first_open, newest = self._file.row(_FIRST_OPEN), self._file.row("SELECT MAX(id) AS id FROM slots")
        last = (newest["id"] if newest is not None else None) or 0
        settled = first_open["id"] - 1 if first_open is not None and first_open["id"] is not None else last
        if settled > self._upto:
            self._settled.update(self._between(self._upto, settled))
            self._upto = settled
        return dict(self._settled + self._between(self._upto, last))

    def _between(self, after: int, upto: int) -> Counter[tuple[str, str]]:
        rows = self._file.rows(_ENDED, (after, upto))
        return Counter({(row["pipeline"], row["state"]): row["count"] for row in rows})

"""What is out of the ordinary in a source: files set aside and why, rows that came late, doubly, or not at all."""

from collections import Counter
from typing import Any

import numpy as np

from plaster_ops.data.intake import GONE, MOST_TOLD
from plaster_ops.data.ledger import Entry, FileState, Ledger, unpack_mask
from plaster_ops.domain.frontier import Frontier

_SET_ASIDE = (FileState.QUARANTINED, FileState.WAITING)


def describe(
    ledger: Ledger, *, learned: Frontier | None, seen: Frontier | None, end: Frontier | None
) -> dict[str, Any]:
    """The section `data.arrival` of `--json`; docs/json.md has its keys."""
    files, entries = ledger.files(), ledger.entries()
    counts = Counter(row.state.value for row in files.values())
    doubles = {
        row.path: (row.finding or {}).get("reason") for row in files.values() if row.state is FileState.DUPLICATE
    }
    aside = [{"state": row.state.value, **(row.finding or {})} for row in files.values() if row.state in _SET_ASIDE]
    last = dict(ledger.meta("last_scan", {}))
    return {
        "files": {state.value: counts.get(state.value, 0) for state in FileState},
        "rows": _row_counts(entries, ledger.position, learned, seen, end),
        "set_aside": aside[:MOST_TOLD],
        "duplicates": dict(list(doubles.items())[:MOST_TOLD]),
        "extra_columns": last.pop("extra_columns", {}),
        "newly_quarantined": last.pop("findings", []),
        "scan": last,
    }


def _row_counts(
    entries: list[Entry], position: int, learned: Frontier | None, seen: Frontier | None, end: Frontier | None
) -> dict[str, int]:
    at, before = position if end is None else end.position, 0 if seen is None else seen.position
    counts: Counter[str] = Counter()
    for entry in entries:
        if entry.lives_at(at):
            counts += _living(entry, learned, end)
        elif entry.why == GONE and (entry.withdrawn_at or 0) > before and not _is_back(entry, entries):
            counts["vanished_unlearned"] += int((~_held(entry, learned) & entry.kept()).sum())
    names = ("accepted", "late", "doubles", "missing_labels", "too_young", "vanished_unlearned")
    return {name: int(counts[name]) for name in names}


def _living(entry: Entry, learned: Frontier | None, end: Frontier | None) -> Counter[str]:
    counts: Counter[str] = Counter({"accepted": entry.rows})
    counts["doubles"] = int(unpack_mask(entry.dropped, entry.rows).sum())
    usable = np.ones(entry.rows, dtype=bool) if end is None else np.asarray(entry.times_us() <= end.at_us)
    counts["too_young"] = int((~usable).sum())
    counts["missing_labels"] = int((unpack_mask(entry.unlabelled, entry.rows) & usable).sum())
    if learned is not None and entry.times is not None and entry.start + entry.rows > learned.position:
        late = (entry.times_us() <= learned.at_us) & (entry.positions() > learned.position)
        counts["late"] = int((late & entry.kept()).sum())
    return counts


def _held(entry: Entry, frontier: Frontier | None) -> Any:
    if frontier is None:
        return np.zeros(entry.rows, dtype=bool)
    return (entry.positions() <= frontier.position) & (entry.times_us() <= frontier.at_us)


def _is_back(entry: Entry, entries: list[Entry]) -> bool:
    """Whether the same rows live on under another entry: a file that came back, or lies elsewhere now."""
    return any(other.start == entry.start and other.withdrawn_at is None for other in entries)

"""A recorded set that arrives again, piece by piece, so that retraining on new data can be tried anywhere.

A position is the number of rows that have arrived. How many have is kept in a small file of the project
(`mlruns/replay/<name>.json`), so that arrival is an event of its own and not a side effect of retraining.
"""

import json
import os
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plaster_ops.domain.window import Watermark
from plaster_ops.errors import DataError


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplaySource:
    """Rows `0..pieces[-1]` of a recorded set, arriving in pieces.

    `pieces` are the row counts after each arrival, rising. The first `initial` pieces are there from the beginning.
    The newest `holdout` rows are held out for the rolling evaluation set. `project` defaults to PLASTER_PROJECT, then
    to the working directory.
    """

    name: str
    pieces: Sequence[int]
    holdout: int
    initial: int = 1
    project: Path | None = None

    def __post_init__(self) -> None:
        if (
            list(self.pieces) != sorted(set(self.pieces))
            or not self.pieces
            or not 1 <= self.initial <= len(self.pieces)
        ):
            raise DataError(
                f"replay {self.name!r}: pieces {list(self.pieces)} with initial={self.initial} is no order of arrival",
                "give rising row counts and 1 <= initial <= their number",
            )

    def newest(self) -> Watermark | None:
        """Rows that have arrived."""
        return self._state()[0]

    def count(self, after: Watermark | None, upto: Watermark | None) -> int:
        """Rows in `(after, upto]`."""
        return max(0, int(upto or 0) - int(after or 0))

    def cut(self, after: Watermark | None, upto: Watermark | None) -> Watermark | None:
        """Where the training part ends: `holdout` rows before `upto`, but never before `after`."""
        return max(int(after or 0), int(upto or 0) - self.holdout)

    def arrived_at(self, upto: Watermark | None) -> float | None:
        """When the newest piece arrived (seconds since the epoch); None where only the initial pieces are there."""
        arrived, at = self._state()
        return at if int(upto or 0) == arrived else None

    def times(self, after: Watermark | None, upto: Watermark | None) -> list[tuple[float, int]]:
        """When the rows in `(after, upto]` arrived: pairs (seconds since the epoch, rows). Rows that were there from
        the beginning, or came before arrivals were kept, are in none."""
        found, before = [], None
        for rows, at in self._arrivals():
            if before is not None:
                count = min(rows, int(upto or 0)) - max(before, int(after or 0))
                found += [(at, count)] if count > 0 else []
            before = rows
        return found

    def advance(self, pieces: int = 1) -> tuple[int, int]:
        """Lets the next pieces arrive. Returns (rows before, rows now); equal where the set has ended."""
        before, _ = self._state()
        index = bisect_right(self.pieces, before) - 1
        now = self.pieces[min(index + pieces, len(self.pieces) - 1)]
        if now != before:
            file = self._file()
            file.parent.mkdir(parents=True, exist_ok=True)
            draft = file.with_suffix(f".{os.getpid()}.tmp")
            at = time.time()
            arrivals = [*(self._arrivals() or [(before, at)]), (now, at)]
            draft.write_text(json.dumps({"arrived": now, "at": at, "arrivals": arrivals}), encoding="utf-8")
            draft.replace(file)
        return before, now

    def _file(self) -> Path:
        project = self.project or Path(os.environ.get("PLASTER_PROJECT") or Path.cwd())
        return project / "mlruns" / "replay" / f"{self.name}.json"

    def _arrivals(self) -> list[tuple[int, float]]:
        """Rows there and when, oldest first; the first entry is where the keeping began."""
        kept = self._kept().get("arrivals") or []
        return [(int(rows), float(at)) for rows, at in kept]

    def _state(self) -> tuple[int, float | None]:
        state = self._kept()
        return (state["arrived"], state["at"]) if state else (self.pieces[self.initial - 1], None)

    def _kept(self) -> dict[str, Any]:
        """What the file holds; empty before the first arrival."""
        file = self._file()
        if not file.exists():
            return {}
        try:
            state = json.loads(file.read_text(encoding="utf-8"))
            return {**state, "arrived": int(state["arrived"]), "at": float(state["at"])}
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"replay state {file} is not readable: {error}", "remove it to start the replay anew"
            ) from error

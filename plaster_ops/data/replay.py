"""A recorded set that arrives again, piece by piece, so that retraining on new data can be tried anywhere.

A position is the number of rows that have arrived. Pieces arrive by `advance`, or by themselves as time passes. What
arrived, or when the clock began, is kept in a small file of the project (`mlruns/replay/<name>.json`), so that arrival
is an event of its own and not a side effect of retraining.
"""

import json
import os
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
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

    With `every_s` a piece arrives each so many seconds since `started` (seconds since the epoch), else since the first
    look; `speed` 60 lets an hour pass in a minute. What `advance` lets arrive comes before its time.
    """

    name: str
    pieces: Sequence[int]
    holdout: int
    initial: int = 1
    project: Path | None = None
    every_s: float | None = None
    started: float | None = None
    speed: float = 1.0
    now: Callable[[], float] = time.time

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
        if not self.speed > 0 or (self.every_s is not None and not self.every_s > 0):
            raise DataError(
                f"replay {self.name!r}: every_s = {self.every_s}, speed = {self.speed}", "give numbers above 0"
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
            at = self.now()
            arrivals = [*(self._arrivals() or [(before, at)]), (now, at)]
            self._keep({"arrived": now, "at": at, "arrivals": arrivals})
        return before, now

    def _keep(self, changed: dict[str, Any]) -> None:
        file = self._file()
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(json.dumps({**self._kept(), **changed}), encoding="utf-8")
        draft.replace(file)

    def _file(self) -> Path:
        project = self.project or Path(os.environ.get("PLASTER_PROJECT") or Path.cwd())
        return project / "mlruns" / "replay" / f"{self.name}.json"

    def _arrivals(self) -> list[tuple[int, float]]:
        """Rows there and when, oldest first; the first entry is where the keeping began."""
        kept = [(int(rows), float(at)) for rows, at in self._kept().get("arrivals") or []]
        if self.every_s is None:
            return kept
        found: list[tuple[int, float]] = []
        for rows, at in sorted([*kept, *self._by_clock(self.every_s)], key=lambda arrival: (arrival[1], arrival[0])):
            if not found or rows > found[-1][0]:
                found.append((rows, at))
        return found

    def _by_clock(self, every_s: float) -> list[tuple[int, float]]:
        """The same, as far as time alone has brought them."""
        began = self._began()
        each_s = every_s / self.speed
        passed = max(0, int((self.now() - began) / each_s + 1e-9))
        there = self.pieces[self.initial - 1 : self.initial + passed]
        return [(rows, began + number * each_s) for number, rows in enumerate(there)]

    def _began(self) -> float:
        """When the clock began: as given, else as kept; else now, which is kept."""
        if self.started is not None:
            return self.started
        kept = self._kept()
        if "started" not in kept:
            began = self.now()
            first = {"arrived": self.pieces[self.initial - 1], "at": began}
            self._keep({**first, **kept, "started": began})
            return began
        return float(kept["started"])

    def _state(self) -> tuple[int, float | None]:
        """Rows there, and when the newest came; None where they were there from the beginning."""
        if self.every_s is not None:
            arrivals = self._arrivals()
            rows, at = arrivals[-1]
            return max(rows, self._kept().get("arrived", 0)), at if len(arrivals) > 1 else None
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

"""What a source of landed files answers from its ledger, wherever the files come from, and the keywords for it."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from plaster_ops.data.arrivals import Arrivals
from plaster_ops.data.lookout import Lookout
from plaster_ops.data.rules import Rules, make_rules
from plaster_ops.domain.window import Watermark, Window
from plaster_ops.ports import Clock, SystemClock


@dataclass(frozen=True, kw_only=True, slots=True)
class Landed(ABC):
    """Positions, counts and rows of what was accepted; `FolderSource` describes the keywords."""

    name: str
    time: str | None = None
    label: str | None = None
    holdout: str | int
    schema: Mapping[str, str] | None = None
    ranges: Mapping[str, tuple[float, float]] | None = None
    labels: Sequence[Any] | None = None
    key: Sequence[str] | None = None
    label_delay: str = "0s"
    max_missing_ratio: float = 0.05
    project: Path | None = None
    clock: Clock = SystemClock()  # noqa: RUF009 - frozen and without state

    @abstractmethod
    def _arrivals(self) -> Arrivals: ...

    @property
    def project_folder(self) -> Path:
        """`project`, else PLASTER_PROJECT, else the working directory."""
        return self.project or Path(os.environ.get("PLASTER_PROJECT") or Path.cwd())

    def lookout(self) -> Lookout:
        """Says what `newest` and `count` would, and leaves no trace."""
        return Lookout(self._arrivals())

    def count(self, after: Watermark | None, upto: Watermark | None) -> int:
        """Rows of `upto` that are not in `after`."""
        return self._arrivals().count(after, upto)

    def cut(self, after: Watermark | None, upto: Watermark | None) -> Watermark | None:
        """Where training ends and the rolling set begins; never earlier in time than any cut before."""
        return self._arrivals().cut(after, upto)

    def arrived_at(self, upto: Watermark | None) -> float | None:
        """When the newest rows landed, seconds since the epoch."""
        return self._arrivals().arrived_at(upto)

    def times(self, after: Watermark | None, upto: Watermark | None) -> list[tuple[float, int]]:
        """When rows came into being: pairs (seconds since the epoch, rows)."""
        return self._arrivals().times(after, upto)

    def train_rows(self, window: Window) -> pa.Table:
        """The rows to train on, by event time and then by arrival: new ones, and the old ones that the window repeats.

        Raises `DataError` naming a file that changed since it was accepted.
        """
        return self._arrivals().train_rows(window)

    def held_out_rows(self, window: Window) -> pa.Table:
        """The rolling set of the window, by event time and then by arrival; raises as `train_rows` does."""
        return self._arrivals().held_out_rows(window)

    def report(self, window: Window | None = None) -> dict[str, Any]:
        """What became of every file, and what is out of the ordinary in the window: `data.arrival` of `--json`."""
        return self._arrivals().report(window)

    def _rules(self) -> Rules:
        return make_rules(
            time=self.time,
            label=self.label,
            schema=self.schema,
            ranges=self.ranges,
            labels=self.labels,
            key=self.key,
            label_delay=self.label_delay,
            max_missing_ratio=self.max_missing_ratio,
        )

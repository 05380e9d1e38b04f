"""Sources and data modules as a user writes them, as small as can be."""

from dataclasses import dataclass

from plaster_ops.domain.window import Watermark


@dataclass
class CountedSource:
    """Rows that are numbered from 1; the newest `holdout` are held out."""

    arrived: int | None
    holdout: int = 2
    at: float | None = 1_795_000_000.0

    def newest(self) -> Watermark | None:
        return self.arrived

    def count(self, after: Watermark | None, upto: Watermark | None) -> int:
        return max(0, int(upto or 0) - int(after or 0))

    def cut(self, after: Watermark | None, upto: Watermark | None) -> Watermark | None:
        return max(int(after or 0), int(upto or 0) - self.holdout)

    def arrived_at(self, upto: Watermark | None) -> float | None:
        return self.at if upto == self.arrived else None

"""A log histogram: many durations in a few hundred counts, from which any quantile is known to 0.7 %."""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate

BIN_RATIO = 1.014
"""The upper edge of a bin over its lower one."""

LARGEST_ERROR_RATIO = math.sqrt(BIN_RATIO) - 1.0
"""How far a quantile may lie from that of the samples, whatever their law: half a bin, 0.698 %."""

_LOG_RATIO = math.log(BIN_RATIO)


def bin_of(value_ns: float) -> int:
    """The bin that holds a duration; below a nanosecond counts as one."""
    return math.floor(math.log(max(value_ns, 1.0)) / _LOG_RATIO)


def middle_ns(number: int) -> float:
    """The geometric middle of a bin."""
    return math.exp((number + 0.5) * _LOG_RATIO)


@dataclass(frozen=True, kw_only=True, slots=True)
class LogHistogram:
    """Counts by bin, with what is known exactly beside them. Durations are nanoseconds."""

    counts: Mapping[int, int]
    min_ns: int
    max_ns: int
    sum_ns: int

    @property
    def n(self) -> int:
        """How many durations it holds."""
        return sum(self.counts.values())

    @property
    def mean_ns(self) -> float:
        """Exact. Raises `ZeroDivisionError` where it holds none."""
        return self.sum_ns / self.n

    @classmethod
    def of(cls, values_ns: Iterable[int]) -> "LogHistogram":
        """That of at least one duration. Raises `ValueError` for none."""
        values = [int(value) for value in values_ns]
        counts = Counter(map(bin_of, values))
        return cls(counts=dict(sorted(counts.items())), min_ns=min(values), max_ns=max(values), sum_ns=sum(values))

    @classmethod
    def merged(cls, parts: Iterable["LogHistogram"]) -> "LogHistogram":
        """All durations of several. Raises `ValueError` for none."""
        found = list(parts)
        counts: Counter[int] = Counter()
        for part in found:
            counts.update(part.counts)
        return cls(
            counts=dict(sorted(counts.items())),
            min_ns=min(part.min_ns for part in found),
            max_ns=max(part.max_ns for part in found),
            sum_ns=sum(part.sum_ns for part in found),
        )

    def quantile_ns(self, quantile: float) -> float:
        """The nearest-rank quantile, at most `LARGEST_ERROR_RATIO` off; the smallest and the largest are exact."""
        bins, upto = list(self.counts), list(accumulate(self.counts.values()))
        rank = max(1, math.ceil(quantile * upto[-1] - 1e-9))
        found = middle_ns(bins[bisect_left(upto, rank)])
        if rank == 1 or rank == upto[-1]:
            return float(self.min_ns if rank == 1 else self.max_ns)
        return min(max(found, float(self.min_ns)), float(self.max_ns))

    def to_json(self) -> dict[str, object]:
        """A plain mapping: each bin as its distance from the one before."""
        bins = list(self.counts)
        steps = [now - before for before, now in zip([0, *bins], bins, strict=False)]
        counts = list(self.counts.values())
        return {"min": self.min_ns, "max": self.max_ns, "sum": self.sum_ns, "bins": steps, "counts": counts}

    @classmethod
    def from_json(cls, fields: Mapping[str, object]) -> "LogHistogram":
        """The histogram that `to_json` wrote. Raises `ValueError` for fields of another shape."""
        steps, counts = fields["bins"], fields["counts"]
        if not isinstance(steps, list) or not isinstance(counts, list):
            raise ValueError("a histogram without lists of bins and counts")
        bins = dict(zip(accumulate(map(int, steps)), map(int, counts), strict=True))
        smallest, largest, total = (int(str(fields[name])) for name in ("min", "max", "sum"))
        return cls(counts=bins, min_ns=smallest, max_ns=largest, sum_ns=total)

"""How old data is, from what the source says of when its samples came into being. Standard library only.

Pairs are `(time in seconds since the epoch, how many samples)`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from plaster_ops.errors import DataError
from plaster_ops.plaster.percentiles import nearest_rank

Pairs = Sequence[tuple[float, int]]
QUANTILES = (0.5, 0.95)


def checked(pairs: Iterable[Any]) -> Pairs:
    """The pairs, newest first. Raises `DataError` for a time that is no finite number or a count that is none."""
    found = []
    for pair in pairs:
        try:
            time_s, count = float(pair[0]), int(pair[1])
        except (TypeError, ValueError, IndexError, KeyError):
            raise _not_a_pair(pair) from None
        if not math.isfinite(time_s) or count < 0:
            raise _not_a_pair(pair)
        if count:
            found.append((time_s, count))
    return sorted(found, reverse=True)


def _not_a_pair(pair: Any) -> DataError:
    return DataError(
        f"the source's times() gave {pair!r}",
        "give pairs (seconds since the epoch, how many samples), or leave times() out",
    )


def older_than(newest_first: Pairs, quantile: float) -> float | None:
    """The time of the sample whose age is that quantile, nearest rank, each sample once; None without samples."""
    total = sum(count for _, count in newest_first)
    if not total:
        return None
    rank, passed = nearest_rank(total, quantile), 0
    for time_s, count in newest_first:
        passed += count
        if passed >= rank:
            return time_s
    return None


def summary(new: Pairs, trained: Pairs) -> dict[str, Any]:
    """What a card needs later: of the new samples (held out ones too) how many have a time, their newest and the times
    at the quantiles of age; of the trained ones the newest."""
    return {
        "samples": sum(count for _, count in new),
        "newest": new[0][0] if new else None,
        "quantiles": {str(quantile): older_than(new, quantile) for quantile in QUANTILES},
        "newest_trained": trained[0][0] if trained else None,
    }


def ages_at(told: Mapping[str, Any], at_s: float) -> list[float | None]:
    """Ages at a moment, at `QUANTILES`, of what `summary` told; None where it has no times."""
    times = told["quantiles"]
    return [None if times[str(q)] is None else at_s - float(times[str(q)]) for q in QUANTILES]

"""Logged numbers held against what a run's records give: exactly from raw samples, nearly from compact ones."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plaster_ops.domain.compact import CompactRow
from plaster_ops.domain.compare import interval_of_processes
from plaster_ops.domain.run import RunRecord
from plaster_ops.plaster.compact_values import SideBySideKept, compact_values, side_by_side

_ROUNDING = 1e-9
"""How far a sum of floats may lie from the same sum in another order, as a ratio."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """One logged number and what the records give for it; `again` None: they give none.

    `error_ratio`: how far `again` may be off by the way in which the records were kept.
    """

    key: str
    what: str
    logged: Any
    again: Any
    error_ratio: float = 0.0

    @property
    def is_equal(self) -> bool:
        """To the last digit, or within the error."""
        if not self.error_ratio or isinstance(self.again, (str, type(None))):
            return bool(self.logged == self.again)
        mine, theirs = ([each] if isinstance(each, (int, float)) else list(each) for each in (self.again, self.logged))
        near = (
            math.isclose(a, b, rel_tol=self.error_ratio, abs_tol=_ROUNDING) for a, b in zip(mine, theirs, strict=True)
        )
        return all(near)


@dataclass(frozen=True, kw_only=True, slots=True)
class FromCompact:
    """The numbers that a compact record gives, and the keys with a logged value of which it keeps nothing."""

    numbers: tuple[Checked, ...]
    not_kept: tuple[str, ...]


def check_compact(record: RunRecord, rows: Sequence[CompactRow]) -> FromCompact:
    """Card and comparison as far as the compact rows go."""
    numbers = [*_card(record.card, rows)]
    kept = {number.key for number in numbers}
    beside = side_by_side(rows)
    if beside is not None:
        numbers += _comparison(record.comparison, beside)
    missing = [str(row["key"]) for row in record.card if row["value"] is not None and row["key"] not in kept]
    return FromCompact(numbers=tuple(numbers), not_kept=tuple(missing))


def _card(card: Sequence[Mapping[str, Any]], rows: Sequence[CompactRow]) -> Iterator[Checked]:
    values = compact_values(rows)
    for fields in card:
        found = values.get(fields["key"])
        if fields["value"] is None or found is None:
            continue
        error = max(found.error_ratio, _ROUNDING)
        key = str(fields["key"])
        yield Checked(key=key, what="value", logged=fields["value"], again=found.value, error_ratio=error)
        yield Checked(key=key, what="n", logged=fields["n"], again=found.n)


def _comparison(logged: Sequence[Mapping[str, Any]], beside: SideBySideKept) -> Iterator[Checked]:
    """Change, interval and p-value of each row that was judged on paired numbers."""
    for fields in logged:
        again = _judged_on(fields, beside)
        for what, value in again.items():
            if fields.get(what) is not None:
                yield Checked(
                    key=str(fields["key"]),
                    what=f"comparison {what}",
                    logged=fields[what],
                    again=value,
                    error_ratio=_ROUNDING,
                )


def _judged_on(fields: Mapping[str, Any], beside: SideBySideKept) -> dict[str, Any]:
    ratios, difference = beside.ratios.get(fields["key"]), beside.differences.get(fields["key"])
    if fields.get("how") != "remeasured":
        return {}
    if difference is not None and fields.get("change_difference") is not None:
        return {"change_difference": difference.delta, "ci95": difference.ci95, "p_value": difference.p_value}
    if ratios is None or fields.get("change_ratio") is None:
        return {}
    found = interval_of_processes(ratios, float(fields["limit"] or 0.0))
    return {
        "change_ratio": math.expm1(found.value),
        "ci95": [math.expm1(bound) for bound in found.ci95],
        "p_value": found.p_value,
    }

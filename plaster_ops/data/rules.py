"""What a source expects of its files, and whether a table of rows meets it. Reads nothing and keeps nothing."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from plaster_ops.data.columns import (
    NO_CAST,
    cast,
    first_uncastable,
    first_unfinite,
    first_untimed,
    is_tensor,
    is_timed,
    value_at,
    widened,
)
from plaster_ops.domain.durations import duration_us
from plaster_ops.errors import DataError

_DAY_US = 86_400_000_000
_LONGEST_VALUE = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What is wrong with a file, and where: `row` counts its rows of data from 1."""

    file: str
    reason: str
    row: int | None = None
    column: str | None = None
    value: str | None = None

    def sentence(self) -> str:
        """`day-3.csv, row 17, column price: 'abc' is no double`."""
        where = [self.file]
        where += [f"row {self.row}"] if self.row is not None else []
        where += [f"column {self.column}"] if self.column is not None else []
        return f"{', '.join(where)}: {self.reason}"

    def to_json(self) -> dict[str, Any]:
        """A plain mapping."""
        return asdict(self)


class Rejected(Exception):
    """The file is whole and must not be used."""

    def __init__(self, reason: str, *, row: int | None = None, column: str | None = None, value: Any = None) -> None:
        super().__init__(reason)
        self.reason, self.row, self.column = reason, row, column
        self.value = None if value is None else shown(value)


class Broken(Exception):
    """The file cannot be read as its format says; it may still be on its way."""


class Unreadable(Broken):
    """The system does not give its bytes: no right to read it, a disk or a network that fails. Says nothing of it."""


def shown(value: Any) -> str:
    """A value of a cell as text of bounded length."""
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What is expected of every file of a source. `schema` maps columns to names of Arrow types."""

    time: str | None = None
    label: str | None = None
    schema: Mapping[str, str] | None = None
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    labels: Sequence[Any] | None = None
    key: tuple[str, ...] = ()
    label_delay_us: int = 0
    max_missing_ratio: float = 0.05

    def digest(self) -> str:
        """Names these rules: a quarantined file is looked at again when it changes."""
        plain = {name: value for name, value in asdict(self).items() if name != "label_delay_us"}
        return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:16]

    def declared(self) -> dict[str, pa.DataType]:
        """The types of `schema`. Raises `DataError` for a name that Arrow does not have."""
        found = {}
        for column, name in (self.schema or {}).items():
            try:
                found[column] = pa.type_for_alias(name)
            except ValueError:
                raise DataError(
                    f"schema: column {column!r} has type {name!r}, which Arrow does not have",
                    "name one of float64, float32, int64, int32, bool, string, timestamp[us], date32",
                ) from None
        return found

    def needed(self) -> list[str]:
        """Columns that every file must have whatever its schema says."""
        return list(dict.fromkeys(name for name in (self.time, self.label, *self.key) if name is not None))


def make_rules(
    *,
    time: str | None,
    label: str | None,
    schema: Mapping[str, str] | None,
    ranges: Mapping[str, tuple[float, float]] | None,
    labels: Sequence[Any] | None,
    key: Sequence[str] | None,
    label_delay: str,
    max_missing_ratio: float,
) -> Rules:
    """Rules from a source's keywords; raises `DataError` for one that means nothing."""
    if not 0 <= max_missing_ratio <= 1:
        raise DataError(f"max_missing_ratio = {max_missing_ratio} is no ratio", "give a number from 0 to 1")
    for column, bounds in (ranges or {}).items():
        if len(bounds) != 2 or not bounds[0] <= bounds[1]:
            raise DataError(f"ranges: {column!r} has {bounds!r}", "give (least, most)")
    if labels is not None and label is None:
        raise DataError("labels are given and no label column", 'name it: label="class"')
    try:
        delay_us = duration_us(label_delay)
    except ValueError as error:
        raise DataError(f"label_delay: {error}", "give one, '0s' for none") from None
    if delay_us and time is None:
        raise DataError(f"label_delay = {label_delay!r} needs a time column", 'name it: time="..."')
    rules = Rules(
        time=time,
        label=label,
        schema=None if schema is None else dict(schema),
        ranges=dict(ranges or {}),
        labels=None if labels is None else tuple(labels),
        key=(key,) if isinstance(key, str) else tuple(key or ()),
        label_delay_us=delay_us,
        max_missing_ratio=max_missing_ratio,
    )
    rules.declared()
    return rules


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """A table in the source's schema, the schema itself, which may have become wider, and what was left out."""

    table: pa.Table
    schema: Mapping[str, pa.DataType]
    extra: tuple[str, ...]


def fit(raw: pa.Table, rules: Rules, known: Mapping[str, pa.DataType] | None) -> Fitted:
    """The columns of the schema, cast to its types. `known` None: the schema is declared, or learned from this table.

    Raises `Rejected` for a missing column and for a value that cannot be cast.
    """
    declared = rules.declared()
    schema = dict(known) if known is not None else _learned(raw, rules, declared)
    _check_names(raw, list(schema))
    columns = []
    for name in schema:
        column = raw.column(name)
        if name not in declared:
            schema[name] = widened(schema[name], column.type)
        columns.append(_cast(column, name, schema, fixed=name in declared))
    extra = tuple(name for name in raw.column_names if name not in schema)
    return Fitted(table=pa.table(dict(zip(schema, columns, strict=True))), schema=schema, extra=extra)


def _check_names(raw: pa.Table, wanted: Sequence[str]) -> None:
    names = raw.column_names
    missing = [name for name in wanted if name not in names]
    if missing:
        raise Rejected(f"has no column {', '.join(missing)}; it has {', '.join(names)}", column=missing[0])
    double = next((name for name in wanted if names.count(name) > 1), None)
    if double is not None:
        raise Rejected(f"has {names.count(double)} columns of one name", column=double)


def _learned(raw: pa.Table, rules: Rules, declared: Mapping[str, pa.DataType]) -> dict[str, pa.DataType]:
    wanted = [*declared, *rules.needed()] if declared else raw.column_names
    wanted = list(dict.fromkeys([*wanted, *rules.needed()]))
    _check_names(raw, wanted)
    return {name: declared.get(name) or widened(pa.null(), raw.column(name).type) for name in wanted}


def _cast(column: pa.ChunkedArray, name: str, schema: dict[str, pa.DataType], *, fixed: bool) -> pa.ChunkedArray:
    wanted = schema[name]
    if column.type == wanted:
        return column
    try:
        return cast(column, wanted)
    except NO_CAST:
        if not fixed and pa.types.is_integer(wanted):
            try:
                found = column.cast(pa.float64())
            except NO_CAST:
                pass
            else:
                schema[name] = pa.float64()
                return found
    if is_tensor(column.type) and is_tensor(wanted):
        raise Rejected(f"its rows have shape {column.type.shape}, not {wanted.shape}", row=1, column=name)
    row = first_uncastable(column, wanted)
    value = value_at(column, row)
    raise Rejected(f"{shown(value)!r} is no {wanted}", row=row + 1, column=name, value=value)


def check(table: pa.Table, rules: Rules, now_us: int) -> None:
    """Raises `Rejected` for the first value that the rules forbid. `table` as `columns.normalised` gives it."""
    for name in table.column_names:
        column = table.column(name)
        _check_text(column, name)
        _check_finite(column, name)
        late_label = name == rules.label and rules.label_delay_us > 0
        if name == rules.time:
            _check_time(column, name, now_us)
        elif not late_label:
            _check_missing(column, name, rules.max_missing_ratio)
        if name in rules.ranges:
            _check_range(column, name, rules.ranges[name])
    for name in rules.ranges:
        if name not in table.column_names:
            raise Rejected("a range is declared for it and it is not in the schema", column=name)
    if rules.labels is not None and rules.label is not None:
        _check_labels(table.column(rules.label), rules.label, rules.labels)


def _first(mask: pa.ChunkedArray) -> int | None:
    """The first true row; None where there is none. Null is not true."""
    flags = pc.fill_null(mask, False)
    found = pc.index(flags, True).as_py()
    return None if found < 0 else int(found)


def _reject(column: pa.ChunkedArray, name: str, row: int, why: str) -> Rejected:
    value = value_at(column, row)
    return Rejected(f"{shown(value)} {why}", row=row + 1, column=name, value=value)


def _check_text(column: pa.ChunkedArray, name: str) -> None:
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        try:
            column.validate(full=True)
        except pa.ArrowInvalid as error:
            binary = column.cast(pa.large_binary())
            row = first_uncastable(binary, pa.large_string())
            raise Rejected("is no UTF-8", row=row + 1, column=name, value=binary[row].as_py()) from error


def _check_finite(column: pa.ChunkedArray, name: str) -> None:
    row = first_unfinite(column)
    if row is None:
        return
    if pa.types.is_floating(column.type):
        raise _reject(column, name, row, "is not finite")
    raise Rejected("holds a number that is not finite", row=row + 1, column=name)


def _check_missing(column: pa.ChunkedArray, name: str, most: float) -> None:
    if column.null_count > most * len(column):
        row = _first(column.is_null())
        ratio = column.null_count / len(column)
        raise Rejected(
            f"{column.null_count} of {len(column)} values are missing ({ratio:.1%}, at most {most:.1%}), first here",
            row=None if row is None else row + 1,
            column=name,
        )


def _check_time(column: pa.ChunkedArray, name: str, now_us: int) -> None:
    if column.null_count:
        raise Rejected("a row has no time", row=(_first(column.is_null()) or 0) + 1, column=name)
    if is_timed(column.type):
        at = column.cast(pa.timestamp("us", getattr(column.type, "tz", None)), safe=False).cast(pa.int64())
        row = _first(pc.greater(at, now_us + _DAY_US))
        if row is not None:
            raise _reject(column, name, row, "is more than a day in the future")
    elif not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise _reject(column, name, first_untimed(column), f"is no time: the column is {column.type}")


def _check_range(column: pa.ChunkedArray, name: str, bounds: tuple[float, float]) -> None:
    low, high = bounds
    try:
        row = _first(pc.or_(pc.less(column, low), pc.greater(column, high)))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise Rejected(f"a range is declared for a column of type {column.type}", column=name) from error
    if row is not None:
        raise _reject(column, name, row, f"is outside {_number(low)} to {_number(high)}")


def _number(value: float) -> str:
    return f"{value:g}" if isinstance(value, float) and math.isfinite(value) else str(value)


def _check_labels(column: pa.ChunkedArray, name: str, labels: Sequence[Any]) -> None:
    try:
        allowed = pa.array(list(labels)).cast(column.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, TypeError) as error:
        raise Rejected(f"labels are declared that a column of type {column.type} cannot hold", column=name) from error
    known = pc.or_(pc.is_in(column, value_set=allowed), column.is_null())
    row = _first(pc.invert(known))
    if row is not None:
        raise _reject(column, name, row, f"is none of the labels {', '.join(map(shown, labels))}")

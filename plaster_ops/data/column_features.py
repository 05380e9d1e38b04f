"""Rows of a table source as features by column name. pyarrow is touched through the table that the source gives."""

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plaster_ops.data.features import MOST_FEATURES, MOST_ROWS, EvenRows

_CLOCK_ROWS = 20


def column_features(table: Any, leave_out: Collection[str] = ()) -> tuple[dict[str, NDArray[Any]], dict[str, str], int]:
    """`(features, types, left out)` of a `pyarrow.Table`: numbers, truth values and text, by column name.

    Columns named in `leave_out`, points in time, nested ones, and those that only rise (a clock or a counter: it always
    differs from the last window) are no features. `left_out` counts features past the bound of 256.
    """
    from pyarrow import types as kinds

    features: dict[str, NDArray[Any]] = {}
    types, left_out = {}, 0
    for name in table.column_names:
        if name in leave_out:
            continue
        kind = table.schema.field(name).type
        types[name] = str(kind)
        if not _is_plain(kinds, kind):
            continue
        values = _values(kinds, table.column(name), kind)
        if _only_rises(values):
            continue
        if len(features) >= MOST_FEATURES:
            left_out += 1
            continue
        kept = EvenRows(MOST_ROWS)
        kept.add(values)
        features[name] = kept.rows()
    return features, types, left_out


def _is_plain(kinds: Any, kind: Any) -> bool:
    text = kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_dictionary(kind)
    number = kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_decimal(kind)
    return bool(text or number or kinds.is_boolean(kind))


def _values(kinds: Any, column: Any, kind: Any) -> NDArray[Any]:
    """float64 with NaN for null, int64 where there is no null, or objects with None."""
    if kinds.is_integer(kind) and not column.null_count:
        whole: NDArray[Any] = np.asarray(column.to_numpy()).astype(np.int64)
        return whole
    if kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_decimal(kind):
        plain = column.to_pylist() if kinds.is_decimal(kind) else column.to_numpy()
        return np.array(plain, dtype=np.float64)
    return np.array(column.to_pylist(), dtype=object)


def _only_rises(values: NDArray[Any]) -> bool:
    if values.dtype.kind == "O" or len(values) < _CLOCK_ROWS:
        return False
    return bool((np.diff(values) > 0).all())

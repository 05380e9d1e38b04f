"""Columns of rows as Arrow arrays: types that grow wider, times as numbers, and digests of their values.

A digest is over values, not over how they were stored: whole numbers are the same as integers and as floats, a table
the same as Parquet and as compressed CSV, and a part of a table the same wherever it stands.
"""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

_EXACT = 2**53
NO_CAST = (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError)
Int64s = npt.NDArray[np.int64]


def is_timed(kind: pa.DataType) -> bool:
    """Whether values are dates or instants."""
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def widened(known: pa.DataType, new: pa.DataType) -> pa.DataType:
    """The type that holds both where one is wider than the other; else `known`, and the values must be cast to it."""
    if pa.types.is_dictionary(new):
        new = new.value_type
    if pa.types.is_null(known):
        return pa.timestamp("us", new.tz) if pa.types.is_timestamp(new) else new
    if pa.types.is_integer(known) and pa.types.is_integer(new) and known != new:
        return pa.int64()
    if pa.types.is_float32(known) and pa.types.is_float64(new):
        return pa.float64()
    return known


def normalised(table: pa.Table) -> pa.Table:
    """NaN becomes missing (null) in columns of floats; all else is as it was."""
    for position, name in enumerate(table.column_names):
        column = table.column(name)
        if pa.types.is_floating(column.type):
            absent = pc.is_nan(column)
            if pc.any(absent).as_py():
                cleared = pc.if_else(pc.fill_null(absent, False), pa.scalar(None, column.type), column)
                table = table.set_column(position, name, cleared)
    return table


def times_us(column: pa.ChunkedArray) -> Int64s:
    """Event times in microseconds: instants since the epoch (UTC where no zone is given), numbers times a million.

    Raises `OverflowError`, its argument the row (from 0) of a number past 9e12 or of a time that 64 bits do not hold.
    """
    if is_timed(column.type):
        at = column.cast(pa.timestamp("us", getattr(column.type, "tz", None)), safe=False)
        return np.asarray(at.cast(pa.int64()).to_numpy(), dtype=np.int64)
    values = np.asarray(column.to_numpy(), dtype=np.float64)
    if len(values) and np.abs(values).max() > 9e12:
        raise OverflowError(int(np.argmax(np.abs(values) > 9e12)))
    if pa.types.is_integer(column.type):
        return np.asarray(column.to_numpy(), dtype=np.int64) * 1_000_000
    return np.rint(values * 1_000_000).astype(np.int64)


def is_tensor(kind: pa.DataType) -> bool:
    """Whether each value is an array of one shape."""
    return isinstance(kind, pa.FixedShapeTensorType)


def cast(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    """The values as `wanted`; tensors of one shape may change the type of their numbers. Raises one of `NO_CAST`."""
    kind = column.type
    if not (is_tensor(kind) and is_tensor(wanted) and kind.shape == wanted.shape):
        return column.cast(wanted)
    chunks = [
        pa.ExtensionArray.from_storage(wanted, chunk.storage.cast(wanted.storage_type)) for chunk in column.chunks
    ]
    return pa.chunked_array(chunks, type=wanted)


def value_at(column: pa.ChunkedArray, row: int) -> Any:
    """One value; as text where Python has none such (a time past the year 9999)."""
    try:
        return column[row].as_py()
    except (OverflowError, ValueError):
        return str(column[row].cast(pa.string()))


def first_unfinite(column: pa.ChunkedArray) -> int | None:
    """The first row (from 0) that is infinite, or in whose array or list a number is not finite; None without any."""
    kind, first = column.type, 0
    if pa.types.is_floating(kind):
        found = pc.index(pc.fill_null(pc.is_inf(column), False), True).as_py()
        return None if found < 0 else int(found)
    if not (is_tensor(kind) or pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)):
        return None
    for chunk in column.chunks:
        rows = chunk.storage if is_tensor(kind) else chunk
        inner = rows.flatten()
        if pa.types.is_floating(inner.type):
            bad = pc.index(pc.fill_null(pc.is_finite(inner), True), False).as_py()
            if bad >= 0:
                lengths = pc.fill_null(pc.list_value_length(rows), 0).to_numpy(zero_copy_only=False)
                return first + int(np.searchsorted(np.cumsum(lengths), bad, side="right"))
        first += len(chunk)
    return None


def first_untimed(column: pa.ChunkedArray) -> int:
    """The first row (from 0) that is no time of the kind that the rows before it are; 0 where none of them is one."""
    kinds = (pa.float64(), pa.timestamp("us"), pa.timestamp("us", "UTC"))
    return max((_castable(column, kind) for kind in kinds), default=0) % max(1, len(column))


def _castable(column: pa.ChunkedArray, wanted: pa.DataType) -> int:
    """How many rows become `wanted` before the first that does not."""
    try:
        column.slice(0, 1).cast(wanted)
    except NO_CAST:
        return 0
    return first_uncastable(column, wanted)


def first_uncastable(column: pa.ChunkedArray, wanted: pa.DataType) -> int:
    """The first row (from 0) whose value does not become `wanted`, by halving."""
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            column.slice(low, middle - low).cast(wanted)
        except NO_CAST:
            high = middle
        else:
            low = middle
    return low


def rows_digest(table: pa.Table, first: int = 0, count: int | None = None) -> str:
    """SHA-256 over names and values of rows `[first, first + count)`."""
    part = table.slice(first, count)
    digest = hashlib.sha256(str(part.num_rows).encode())
    for name in sorted(part.column_names):
        digest.update(f"|{name}|".encode())
        for piece in _pieces(part.column(name)):
            digest.update(piece)
    return digest.hexdigest()


def key_digests(table: pa.Table, columns: tuple[str, ...]) -> list[bytes]:
    """16 bytes a row over the values of those columns: equal rows have equal digests."""
    texts = [table.column(name).to_pylist() for name in columns]
    return [
        hashlib.blake2b(repr([_plain(value) for value in row]).encode(), digest_size=16).digest()
        for row in zip(*texts, strict=True)
    ]


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, (int, float)) and abs(value) < _EXACT else value


def _pieces(column: pa.ChunkedArray) -> list[Any]:
    """Buffers of a column's values in one form, whatever its chunks, offsets and width."""
    array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if isinstance(array, pa.ChunkedArray):  # no rows
        array = array.chunk(0) if array.num_chunks else pa.array([], type=column.type)
    if isinstance(array, pa.ExtensionArray):
        return [str(array.type).encode(), *_array_pieces(array.storage)]
    return _array_pieces(array)


def _array_pieces(array: pa.Array) -> list[Any]:
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _array_pieces(array.dictionary_decode())
    absent = np.packbits(array.is_null().to_numpy(zero_copy_only=False)).tobytes() if array.null_count else b""
    if pa.types.is_null(kind):
        return [absent]
    if is_timed(kind):
        at = array.cast(pa.timestamp("us", getattr(kind, "tz", None)), safe=False).cast(pa.int64())
        return [absent, b"t", _bytes(at.fill_null(0))]
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return [absent, *_numbers(array)]
    if _is_text(kind):
        filled = array.fill_null("" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else b"")
        return [absent, b"s", _bytes(pc.binary_length(filled)), _text_bytes(filled)]
    if pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind):
        lengths = pc.fill_null(pc.list_value_length(array), 0)
        return [absent, b"l", _bytes(lengths), *_array_pieces(array.flatten())]
    return [absent, b"r", repr(array.to_pylist()).encode()]


def _numbers(array: pa.Array) -> list[Any]:
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int64())
    array = array.fill_null(0)
    if pa.types.is_integer(array.type):
        whole = array.to_numpy(zero_copy_only=False)
        if len(whole) and max(abs(int(whole.min())), abs(int(whole.max()))) >= _EXACT:
            return [b"i", np.ascontiguousarray(whole.astype(np.int64)).data]
    values = array.to_numpy(zero_copy_only=False).astype(np.float64)
    return [b"n", np.ascontiguousarray(values + 0.0).data]


def _bytes(array: pa.Array) -> Any:
    return np.ascontiguousarray(array.to_numpy(zero_copy_only=False).astype(np.int64)).data


def _is_text(kind: pa.DataType) -> bool:
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return any(test(kind) for test in tests)


def _text_bytes(array: pa.Array) -> Any:
    """The bytes of all values, one after the other."""
    wide = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
    _, offsets, values = array.buffers()
    if not len(array) or values is None:
        return b""
    bounds = np.frombuffer(offsets, dtype=np.int64 if wide else np.int32)
    return memoryview(values)[int(bounds[array.offset]) : int(bounds[array.offset + len(array)])]

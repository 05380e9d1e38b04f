"""Rows out of accepted files, in a given order, as they were when they were accepted."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from plaster_ops.data.accept import Reader
from plaster_ops.data.columns import Int64s
from plaster_ops.data.formats import image_row
from plaster_ops.data.ledger import Entry, FileRow
from plaster_ops.data.listing import Found
from plaster_ops.data.rules import Broken, Rejected
from plaster_ops.data.selection import Rows
from plaster_ops.errors import DataError

Schema = Mapping[str, pa.DataType]


def gather(reader: Reader, schema: Schema, files: Mapping[str, FileRow], rows: Rows, chosen: Int64s) -> pa.Table:
    """The rows at indices `chosen` of `rows`, in that order, in the source's schema.

    Raises `DataError` naming a file that is gone, or whose rows are not what they were.
    """
    shape = pa.schema(list(schema.items()))
    if not len(chosen):
        return shape.empty_table()
    listing = reader.folder.list()
    owners = rows.entry[chosen]
    order = np.argsort(owners, kind="stable")
    grouped, starts = np.unique(owners[order], return_index=True)
    parts = []
    tables: dict[str, pa.Table] = {}
    for number, lines in zip(grouped, np.split(rows.row[chosen[order]], starts[1:]), strict=True):
        entry = rows.entries[number]
        if entry.path not in tables:
            tables = {entry.path: _table(reader, schema, entry, listing, files)}
        parts.append(_lines(tables[entry.path], entry, lines, reader, is_known=_is_known(entry, listing, files)))
    whole = pa.concat_tables(parts)
    if (np.diff(order) == 1).all():
        return whole
    back = np.empty(len(order), dtype=np.int64)
    back[order] = np.arange(len(order))
    return whole.take(pa.array(back))


def _is_known(entry: Entry, listing: Mapping[str, Found], files: Mapping[str, FileRow]) -> bool:
    """Whether the file is as it was when it was looked at last."""
    return entry.path in listing and listing[entry.path].stamp == files[entry.path].stamp


def _table(
    reader: Reader, schema: Schema, entry: Entry, listing: Mapping[str, Found], files: Mapping[str, FileRow]
) -> pa.Table:
    if entry.path not in listing:
        raise _changed(entry, "it is gone")
    known = _is_known(entry, listing, files)
    if known and reader.kind(entry.path) == "image":
        return image_row(entry.path).select(list(schema))
    try:
        return reader.again(entry.path, schema)
    except (Broken, Rejected) as error:
        if known:
            raise _changed(entry, str(error)) from error
    try:
        return reader.again(entry.path, schema, "cut")
    except (Broken, Rejected) as error:
        raise _changed(entry, str(error)) from error


def _lines(table: pa.Table, entry: Entry, lines: Int64s, reader: Reader, *, is_known: bool) -> pa.Table:
    """Those rows of the file; what changed since is digested first."""
    is_there = entry.first_row + entry.rows <= table.num_rows
    if not is_there or not (is_known or _digest(reader, table, entry) == entry.digest):
        raise _changed(entry, "its rows are not what was accepted")
    if len(lines) == table.num_rows and (np.diff(lines) == 1).all():
        return table
    first, last = int(lines[0]), int(lines[-1])
    if last - first + 1 == len(lines) and (np.diff(lines) == 1).all():
        return table.slice(first, len(lines))
    return table.take(pa.array(lines))


def _digest(reader: Reader, table: pa.Table, entry: Entry) -> str:
    return reader.range_digest(entry.path, table, entry.first_row, entry.rows)


def _changed(entry: Entry, why: str) -> DataError:
    return DataError(
        f"{entry.path} changed since its rows were accepted: {why}",
        "run the retrain again: it looks at all files first, and takes what is there now",
    )

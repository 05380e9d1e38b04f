"""One file to what it brings: settled, read, fitted to the schema, checked, digested. Writes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from plaster_ops.data.columns import Int64s, normalised, rows_digest, times_us, value_at
from plaster_ops.data.formats import Ending, Schema, format_of, image_digest, read_rows
from plaster_ops.data.listing import Folder
from plaster_ops.data.rules import Rejected, Rules, check, fit, shown


@dataclass(frozen=True, kw_only=True, slots=True)
class Brought:
    """The rows of a file in the source's schema. `times` is None where there is no time column."""

    table: pa.Table
    schema: Mapping[str, pa.DataType]
    extra: tuple[str, ...]
    digest: str
    times: Int64s | None
    unlabelled: np.ndarray

    @property
    def rows(self) -> int:
        """How many."""
        return int(self.table.num_rows)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader:
    """Reads files of one folder by one set of rules."""

    folder: Folder
    rules: Rules
    format: str | None

    def kind(self, path: str) -> str | None:
        """The format of a file; None for one that is none of ours."""
        return format_of(path, self.format)

    def bring(self, path: str, schema: Schema | None, now_us: int, ending: Ending = "whole") -> Brought:
        """A file that is to be accepted. Raises `Broken`, `Rejected`: whatever is wrong with one file is said of it,
        and hinders no other."""
        try:
            return self._bring(path, schema, now_us, ending)
        except (pa.ArrowException, ValueError, TypeError, LookupError, ArithmeticError) as error:
            raise Rejected(f"it cannot be taken: {type(error).__name__}: {shown(error)}") from error

    def _bring(self, path: str, schema: Schema | None, now_us: int, ending: Ending) -> Brought:
        kind = self.kind(path) or ""
        raw = read_rows(self.folder, path, kind, schema, ending)
        if not raw.num_rows:
            return _empty(raw)
        fitted = fit(raw, self.rules, schema)
        table = normalised(fitted.table)
        check(table, self.rules, now_us)
        return Brought(
            table=table,
            schema=fitted.schema,
            extra=fitted.extra,
            digest=image_digest(self.folder, path) if kind == "image" else rows_digest(table),
            times=self._times(table),
            unlabelled=self._unlabelled(table),
        )

    def again(self, path: str, schema: Schema, ending: Ending = "as_is") -> pa.Table:
        """A file that was accepted, once more, in today's schema. Raises `Broken`, `Rejected`."""
        raw = read_rows(self.folder, path, self.kind(path) or "", schema, ending)
        return normalised(fit(raw, self.rules, schema).table)

    def range_digest(self, path: str, table: pa.Table, first: int, count: int) -> str:
        """The digest of a part of it; of an image that of its bytes."""
        if self.kind(path) == "image":
            return image_digest(self.folder, path)
        return rows_digest(table, first, count)

    def _times(self, table: pa.Table) -> Int64s | None:
        if self.rules.time is None:
            return None
        try:
            return times_us(table.column(self.rules.time))
        except OverflowError as error:
            column, row = table.column(self.rules.time), int(error.args[0])
            value = value_at(column, row)
            raise Rejected(
                f"{shown(value)} is too large for a time", row=row + 1, column=self.rules.time, value=value
            ) from error

    def _unlabelled(self, table: pa.Table) -> np.ndarray:
        if self.rules.label is None:
            return np.zeros(table.num_rows, dtype=bool)
        return np.asarray(table.column(self.rules.label).is_null().to_numpy(), dtype=bool)


def _empty(raw: pa.Table) -> Brought:
    return Brought(table=raw, schema={}, extra=(), digest="", times=None, unlabelled=np.zeros(0, dtype=bool))

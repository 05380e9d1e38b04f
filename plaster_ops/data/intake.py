"""What becomes of each file that is new or changed: accepted, grown, rewritten, renamed, doubled, set aside.

Rows that are no longer where they were are *displaced*: before they are taken back, every other file is asked whether
it holds them now, so that a renamed file or a rotated log keeps its rows and their positions.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from plaster_ops.data.accept import Brought, Reader
from plaster_ops.data.formats import CutShort
from plaster_ops.data.ledger import Entry, FileRow, FileState, Ledger
from plaster_ops.data.listing import Found
from plaster_ops.data.placed import Placed
from plaster_ops.data.rules import Broken, Finding, Rejected, Unreadable
from plaster_ops.data.schema_text import schema_from_text, schema_to_text

WRITING = "it is still being written"
GONE, REWRITTEN = "gone", "rewritten"
MOST_TOLD = 50
_COUNTS = ("accepted", "grown", "revised", "moved", "gone", "double_rows", "other_files")


@dataclass(kw_only=True, slots=True)
class Noted:
    """What one scan did: files, but for `double_rows`; `findings` are those that it quarantined."""

    accepted: int = 0
    grown: int = 0
    revised: int = 0
    moved: int = 0
    gone: int = 0
    double_rows: int = 0
    other_files: int = 0
    extra: dict[str, list[str]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """A plain mapping, its lists no longer than `MOST_TOLD`."""
        told = dict(list(self.extra.items())[:MOST_TOLD])
        findings = [finding.to_json() for finding in self.findings[:MOST_TOLD]]
        counts = {name: getattr(self, name) for name in _COUNTS}
        return {**counts, "quarantined": len(self.findings), "extra_columns": told, "findings": findings}


@dataclass(kw_only=True, slots=True)
class Intake:
    """One scan on its way, inside a transaction of `ledger`. `moving` are files that were written a moment ago."""

    ledger: Ledger
    reader: Reader
    found: Mapping[str, Found]
    known: dict[str, FileRow]
    moving: set[str]
    now: float
    patience_s: float
    schema: dict[str, pa.DataType] | None
    rules: str
    cut_position: int
    """Of the last window that was cut."""
    noted: Noted = field(default_factory=Noted)
    displaced: dict[str, tuple[Sequence[Entry], str]] = field(default_factory=dict)
    """Path to its living entries that are not there any more, and why."""

    @classmethod
    def opened(cls, ledger: Ledger, reader: Reader, **given: Any) -> "Intake":
        """With the schema of the ledger; a declared one that changed takes its place."""
        schema = schema_from_text(ledger.meta("schema"))
        declared = reader.rules.declared()
        text = json.dumps({name: str(kind) for name, kind in declared.items()})
        if ledger.meta("declared", "{}") != text:
            kept = reader.rules.needed() if declared else list(schema or {})
            if schema is not None:
                old = {name: schema[name] for name in kept if name in schema}
                schema = {**old, **declared}
                ledger.set_meta("schema", schema_to_text(schema))
            ledger.set_meta("declared", text)
        position = int(ledger.meta("cut_position", -1))
        return cls(
            ledger=ledger, reader=reader, schema=schema, rules=reader.rules.digest(), cut_position=position, **given
        )

    def take_in(self) -> None:
        """Every file that is due, known ones first, then what is new, in the order in which they landed."""
        landed = sorted(self.found.values(), key=lambda file: (file.modified_at or 0.0, file.path))
        ours = [file for file in landed if self.reader.kind(file.path) is not None]
        self.noted.other_files = len(landed) - len(ours)
        due = [file for file in ours if self._is_due(file)]
        for path, row in self.known.items():
            if path not in self.found and row.state is not FileState.GONE:
                self._displace(path, GONE)
        later = [file for file in due if not self._look_again(file)]
        for file in later:
            self._look(file)
        for path in list(self.displaced):
            self._let_go(path)
        for path, row in list(self.known.items()):
            if path not in self.found and row.state is not FileState.GONE:
                self.ledger.put_file(replace(row, state=FileState.GONE, looked_at=self.now))

    def _is_due(self, file: Found) -> bool:
        row = self.known.get(file.path)
        if row is None or row.stamp != file.stamp or row.state in (FileState.WAITING, FileState.GONE):
            return True
        return row.state is FileState.QUARANTINED and row.rules != self.rules

    @property
    def _placed(self) -> Placed:
        return Placed(ledger=self.ledger, reader=self.reader, cut_position=self.cut_position)

    # ---- a file that rows were accepted from -----------------------------------------------------------------------
    def _look_again(self, file: Found) -> bool:
        """Whether the file was dealt with: it goes on from what it was. Else its rows are displaced."""
        entries = self._placed.of(file.path)
        if not self._placed.may_return(entries):
            self._displace(file.path, REWRITTEN)
            return False
        brought = self._bring(file)
        if brought is not None and brought.rows and self._placed.goes_on(entries, file.path, brought):
            self._grow(file, entries, brought)
            return True
        living = [entry for entry in entries if entry.withdrawn_at is None]
        if brought is None and living and self._still_holds(file.path, living):
            return True
        self._displace(file.path, REWRITTEN if brought is not None else "no longer readable")
        return brought is None

    def _still_holds(self, path: str, living: Sequence[Entry]) -> bool:
        """Whether a file that cannot be taken as it is now still begins with what was accepted from it."""
        for ending in ("as_is", "cut"):
            try:
                table = self.reader.again(path, self.schema or {}, ending)
            except (Broken, Rejected):
                continue
            if all(self._placed.holds(entry, path, table) for entry in living):
                return True
        return False

    def _displace(self, path: str, why: str) -> None:
        living = [entry for entry in self._placed.of(path) if entry.withdrawn_at is None]
        if living:
            self.displaced[path] = living, why

    def _let_go(self, path: str) -> None:
        """Takes displaced rows back, unless a file that was set aside as their double is still there."""
        entries, why = self.displaced.pop(path)
        digest = self.known[path].digest if path in self.known else None
        doubles = [] if digest is None else self.ledger.files_with(digest)
        heir = next((r for r in doubles if r.state is FileState.DUPLICATE and r.path in self.found), None)
        if heir is not None:
            self._placed.move(entries, heir.path)
            self.ledger.put_file(replace(heir, state=FileState.ACCEPTED, finding=None))
            return
        self.ledger.withdraw(entries, why)
        self.noted.gone += why == GONE
        if why == REWRITTEN:
            self.ledger.forget_keys(entries)

    # ---- any file --------------------------------------------------------------------------------------------------
    def _look(self, file: Found) -> None:
        brought = self._bring(file)
        if brought is None:
            return
        if not brought.rows:
            self._put(file, FileState.EMPTY, rows=0)
        elif not self._is_double(file, brought):
            claimed = self._claim(file, brought)
            if claimed is not None:
                self._grow(file, self._placed.move(claimed, file.path), brought)
                self.noted.moved += 1
                return
            if file.path in self.displaced:  # its new rows are no doubles of its old ones
                self.ledger.forget_keys(self.displaced[file.path][0])
            before = self.ledger.entries(file.path)
            self._add(file, brought, first_row=0, generation=before[0].generation + 1 if before else 0)
            self.noted.revised += bool(before)
            self.noted.accepted += 1
            self._put_accepted(file, brought)

    def _bring(self, file: Found) -> Brought | None:
        """Its rows; None where it waits or is quarantined, which is recorded."""
        stale = file.modified_at is not None and self.now - file.modified_at > self.patience_s
        reason = WRITING
        if file.path not in self.moving:
            try:
                return self.reader.bring(file.path, self.schema, int(self.now * 1e6)) if file.size else _NOTHING
            except CutShort as error:
                if stale:
                    return self._bring_without_end(file)
                reason = str(error)
            except Broken as error:
                if stale and not isinstance(error, Unreadable):
                    self._quarantine(file, Finding(file=file.path, reason=str(error)))
                    return None
                reason = str(error)
            except Rejected as error:
                self._quarantine(file, _finding(file.path, error))
                return None
        self._put(file, FileState.WAITING, finding=Finding(file=file.path, reason=reason).to_json())
        return None

    def _bring_without_end(self, file: Found) -> Brought | None:
        """A CSV whose last line has every column and no end, when patience is over: taken as it is."""
        try:
            return self.reader.bring(file.path, self.schema, int(self.now * 1e6), "as_is")
        except (Broken, Rejected) as error:
            found = _finding(file.path, error) if isinstance(error, Rejected) else None
            self._quarantine(file, found or Finding(file=file.path, reason=str(error)))
            return None

    def _is_double(self, file: Found, brought: Brought) -> bool:
        """Whether another file that is there holds exactly these rows; recorded where it does."""
        for row in self.ledger.files_with(brought.digest):
            is_there = row.path in self.found and row.stamp == self.found[row.path].stamp
            if row.path != file.path and row.state is FileState.ACCEPTED and is_there:
                finding = Finding(file=file.path, reason=f"its rows are those of {row.path}")
                self._put(
                    file, FileState.DUPLICATE, digest=brought.digest, rows=brought.rows, finding=finding.to_json()
                )
                return True
        return False

    def _claim(self, file: Found, brought: Brought) -> Sequence[Entry] | None:
        """Rows that lay elsewhere and now begin this file: displaced ones, or those of a file that was gone."""
        prefixes: dict[int, str] = {}
        for path, (entries, _) in self.displaced.items():
            first = entries[0]
            if first.first_row or first.rows > brought.rows:
                continue
            if first.rows not in prefixes:
                prefixes[first.rows] = self.reader.range_digest(file.path, brought.table, 0, first.rows)
            if prefixes[first.rows] == first.digest and self._placed.goes_on(entries, file.path, brought):
                del self.displaced[path]
                return entries
        for row in self.ledger.files_with(brought.digest):
            if row.state is FileState.GONE and self._placed.may_return(gone := self._placed.of(row.path)):
                return gone
        return None

    def _grow(self, file: Found, entries: Sequence[Entry], brought: Brought) -> None:
        """The file begins with its entries: those that were taken back come back, what follows is new."""
        for entry in entries:
            if entry.withdrawn_at is not None:
                self._placed.come_back(entry)
        end = max(entry.first_row + entry.rows for entry in entries)
        if brought.rows > end:
            self._add(file, brought, first_row=end, generation=entries[0].generation)
            self.noted.grown += 1
        self._put_accepted(file, brought)

    # ---- the record ------------------------------------------------------------------------------------------------
    def _add(self, file: Found, brought: Brought, *, first_row: int, generation: int) -> None:
        self.noted.double_rows += self._placed.add(
            file, brought, first_row=first_row, generation=generation, now=self.now
        )

    def _put_accepted(self, file: Found, brought: Brought) -> None:
        if brought.schema != self.schema:
            self.schema = dict(brought.schema)
            self.ledger.set_meta("schema", schema_to_text(self.schema))
        if brought.extra:
            self.noted.extra[file.path] = list(brought.extra)
        self._put(file, FileState.ACCEPTED, digest=brought.digest, rows=brought.rows)

    def _quarantine(self, file: Found, finding: Finding) -> None:
        self.noted.findings.append(finding)
        self._put(file, FileState.QUARANTINED, finding=finding.to_json(), rules=self.rules)

    def _put(self, file: Found, state: FileState, **more: Any) -> None:
        row = FileRow(path=file.path, stamp=file.stamp, state=state, looked_at=self.now, **more)
        self.ledger.put_file(row)


_NOTHING = Brought(table=pa.table({}), schema={}, extra=(), digest="", times=None, unlabelled=np.zeros(0, dtype=bool))


def _finding(path: str, error: Rejected) -> Finding:
    return Finding(file=path, reason=error.reason, row=error.row, column=error.column, value=error.value)

"""A card with its working: which reader gave which rows from what, so that every number can be had once more.

A reader is a public function of `plaster_ops.plaster` that turns evidence and plain values into rows. What it was given
is written down beside the run's raw samples; `replay` calls the same readers again.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from plaster_ops.domain.card import Row
from plaster_ops.errors import RecordsGone
from plaster_ops.plaster.evidence import Evidence

_ROOM = "plaster_ops.plaster."
_EVIDENCE, _RESULTS, _EVALUATION = {"is": "evidence"}, {"is": "results"}, {"is": "evaluation"}

Reader = Callable[..., Sequence[Row]]


class Sheet:
    """Rows so far, and the steps that gave them. `evidence`: the raw samples that readers may be given, if any;
    `evaluation`: what the evaluate stage told, whose record of every sample is kept by itself."""

    def __init__(self, evidence: Evidence | None = None, evaluation: Mapping[str, Any] | None = None) -> None:
        self._evidence, self._evaluation = evidence, evaluation
        self.rows: list[Row] = []
        self.steps: list[dict[str, Any]] = []

    def add(self, reader: Reader, *given: Any, **named: Any) -> list[Row]:
        """Calls the reader, keeps its rows and what it was given, and returns the rows.

        Raises `TypeError` where something was given that cannot be written down as plain JSON.
        """
        step = {
            "reader": f"{reader.__module__.removeprefix(_ROOM)}:{reader.__name__}",
            "given": [self._written(value) for value in given],
            "named": {name: self._written(value) for name, value in named.items()},
        }
        rows = list(reader(*given, **named))
        self.steps.append(step)
        self.rows += rows
        return rows

    def _written(self, value: Any) -> Any:
        if value is not None and value is self._evidence:
            return _EVIDENCE
        if self._evidence is not None and value is self._evidence.results:
            return _RESULTS
        if value is not None and value is self._evaluation:
            return _EVALUATION
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {f.name: self._written(getattr(value, f.name)) for f in dataclasses.fields(value)}
            return {"is": f"{type(value).__module__.removeprefix(_ROOM)}:{type(value).__name__}", "fields": fields}
        if isinstance(value, Mapping):
            return {"is": "mapping", "fields": {str(key): self._written(part) for key, part in value.items()}}
        if isinstance(value, (list, tuple)):
            return [self._written(part) for part in value]
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        raise TypeError(f"{type(value).__name__} cannot be written down; give a reader plain values")


def replay(
    steps: Sequence[Mapping[str, Any]], evidence: Evidence | None, evaluation: Mapping[str, Any] | None = None
) -> list[Row]:
    """The rows of those steps, computed again. Raises `RecordsGone` for a reader that this release does not have."""
    rows: list[Row] = []
    for step in steps:
        reader = _member(str(step["reader"]))
        given = [_read(value, evidence, evaluation) for value in step["given"]]
        named = {name: _read(value, evidence, evaluation) for name, value in step["named"].items()}
        rows += reader(*given, **named)
    return rows


def _read(value: Any, evidence: Evidence | None, evaluation: Mapping[str, Any] | None) -> Any:
    if isinstance(value, list):
        return [_read(part, evidence, evaluation) for part in value]
    if not isinstance(value, Mapping):
        return value
    if value == _EVALUATION:
        return evaluation
    if value in (_EVIDENCE, _RESULTS):
        if evidence is None:
            raise RecordsGone("the record speaks of raw samples that are not there", "look for them in its artifacts")
        return evidence if value == _EVIDENCE else evidence.results
    fields = {name: _read(part, evidence, evaluation) for name, part in value["fields"].items()}
    if value["is"] == "mapping":
        return fields
    kind = _member(str(value["is"]))
    tuples = {name: tuple(part) if isinstance(part, list) else part for name, part in fields.items()}
    return kind(**tuples)


def _member(name: str) -> Any:
    """A public function or dataclass of the measuring room; nothing else can be named by a record."""
    module, _, member = name.partition(":")
    try:
        if not module.replace("_", "").isalnum() or member.startswith("_"):
            raise AttributeError(name)
        found = getattr(importlib.import_module(_ROOM + module), member)
        if getattr(found, "__module__", "") != _ROOM + module:
            raise AttributeError(name)
    except (ImportError, AttributeError) as error:
        raise RecordsGone(
            f"the record names the reader {name!r}, which this release does not have",
            "recompute with the release that wrote it: the tag plaster.version",
        ) from error
    return found

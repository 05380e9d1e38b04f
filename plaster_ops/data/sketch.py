"""What is kept of a set's features so that a later retrain can be held against it: quantiles or category counts, a few
kilobytes a feature. Says nothing of what has changed.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT = 1
QUANTILES, MOST_CATEGORIES = 200, 64
_LONGEST = 80


@dataclass(frozen=True, kw_only=True, slots=True)
class Sketch:
    """One feature. `rows` hold a value, `missing` more hold none (NaN, null, infinite).

    Numbers: `points` are values that occur, rising, `upto` how many rows hold that value or a smaller one, `ties` how
    many hold the value itself. Up to 201 different values: all of them; else those at 201 evenly spread ranks.
    Categories: `counts` of the 64 most frequent ones; what `rows` holds beyond their sum are others.
    """

    kind: str
    rows: int
    missing: int
    low: float | None = None
    high: float | None = None
    points: tuple[float, ...] = ()
    upto: tuple[int, ...] = ()
    ties: tuple[int, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def missing_ratio(self) -> float:
        """Share of the rows without a value."""
        total = self.rows + self.missing
        return self.missing / total if total else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SetSketch:
    """One set: its features and its labels. `samples`: how large it was; a sketch's rows may be fewer. `types`: what
    each input or column is, in words. `left_out`: features past the bound."""

    samples: int
    features: Mapping[str, Sketch]
    labels: Mapping[str, Sketch]
    types: Mapping[str, str]
    left_out: int = 0

    @property
    def schema(self) -> str:
        """SHA-256 over names and types of features and labels."""
        names = [sorted(self.types.items()), sorted(self.features), sorted(self.labels)]
        return hashlib.sha256(json.dumps(names).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The document `data_sketch.json`."""
        plain = {name: {key: _slim(each) for key, each in getattr(self, name).items()} for name in _SECTIONS}
        return {
            "format": FORMAT,
            "samples": self.samples,
            "schema": self.schema,
            "types": dict(self.types),
            "left_out": self.left_out,
            **plain,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "SetSketch | None":
        """What `to_json` wrote; None for a document of another format."""
        if document.get("format") != FORMAT:
            return None
        sections = {name: {key: _sketch(each) for key, each in document[name].items()} for name in _SECTIONS}
        return cls(samples=document["samples"], types=document["types"], left_out=document["left_out"], **sections)


_SECTIONS = ("features", "labels")


def _slim(sketch: Sketch) -> dict[str, Any]:
    plain = {each.name: getattr(sketch, each.name) for each in fields(sketch)}
    return {key: value for key, value in plain.items() if value is not None and value != () and value != {}}


def _sketch(plain: Mapping[str, Any]) -> Sketch:
    given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()}
    return Sketch(**given)


def sketch_of(values: NDArray[Any]) -> Sketch:
    """The sketch of one feature: floats, whole numbers (up to 64 different ones are categories), or text and None."""
    there = present(values)
    missing = len(values) - len(there)
    if values.dtype.kind == "O":
        return _categories(category_counts(there), len(there), missing)
    if values.dtype.kind != "f" and len(there):
        different = np.unique(there)
        if len(different) <= MOST_CATEGORIES:
            return _categories(category_counts(there), len(there), missing)
    return _numbers(np.sort(there.astype(np.float64)), missing)


def present(values: NDArray[Any]) -> NDArray[Any]:
    """Those that are there: finite, and no None."""
    if values.dtype.kind not in "Of":
        return values
    is_text = values.dtype.kind == "O"
    there = np.array([value is not None for value in values], dtype=bool) if is_text else np.isfinite(values)
    kept: NDArray[Any] = values[there]
    return kept


def category_counts(there: NDArray[Any]) -> Counter[str]:
    """How often each value occurs, as text of at most 80 characters."""
    return Counter(str(value)[:_LONGEST] for value in there.tolist())


def _categories(counts: Counter[str], rows: int, missing: int) -> Sketch:
    return Sketch(kind="category", rows=rows, missing=missing, counts=dict(counts.most_common(MOST_CATEGORIES)))


def _numbers(ordered: NDArray[Any], missing: int) -> Sketch:
    rows = len(ordered)
    if not rows:
        return Sketch(kind="number", rows=0, missing=missing)
    points = np.unique(ordered)
    if len(points) > QUANTILES + 1:
        ranks = np.arange(QUANTILES + 1) * (rows - 1) // QUANTILES
        points = np.unique(ordered[ranks])
    upto = np.searchsorted(ordered, points, side="right")
    ties = upto - np.searchsorted(ordered, points, side="left")
    return Sketch(
        kind="number",
        rows=rows,
        missing=missing,
        low=float(points[0]),
        high=float(points[-1]),
        points=tuple(points.tolist()),
        upto=tuple(upto.tolist()),
        ties=tuple(ties.tolist()),
    )

"""What is kept of a feature says what the feature is, and survives being written."""

import json

import numpy as np
import pytest

from plaster_ops.data.sketch import SetSketch, Sketch, sketch_of


def set_of(**features: Sketch) -> SetSketch:
    return SetSketch(samples=10, features=features, labels={}, types={"x": "float32"})


def test_few_different_numbers_are_kept_as_they_are() -> None:
    kept = sketch_of(np.array([3.0, 1.0, 1.0, np.nan, np.inf, 2.0]))
    assert (kept.kind, kept.rows, kept.missing, kept.low, kept.high) == ("number", 4, 2, 1.0, 3.0)
    assert (kept.points, kept.upto, kept.ties) == ((1.0, 2.0, 3.0), (2, 3, 4), (2, 1, 1))
    assert kept.missing_ratio == pytest.approx(1 / 3)


def test_many_numbers_are_kept_at_201_ranks_with_exact_counts() -> None:
    values = np.random.default_rng(0).permutation(np.arange(10_000.0))
    values[:4000] = -1.0
    kept = sketch_of(values)
    assert len(kept.points) <= 201
    assert (kept.low, kept.high) == (-1.0, values.max())
    for point, upto, ties in zip(kept.points, kept.upto, kept.ties, strict=True):
        assert upto == (values <= point).sum()
        assert ties == (values == point).sum()
    assert max(np.diff([0, *kept.upto])[1:]) <= 10_000 / 200 + 1


def test_whole_numbers_of_few_kinds_are_categories_and_of_many_numbers() -> None:
    few = sketch_of(np.array([2, 1, 2, -7]))
    assert (few.kind, dict(few.counts)) == ("category", {"2": 2, "1": 1, "-7": 1})
    assert sketch_of(np.arange(65)).kind == "number"
    assert sketch_of(np.array([1.0, 2.0])).kind == "number"


def test_text_is_counted_and_the_rare_rest_only_in_sum() -> None:
    kept = sketch_of(np.array(["a"] * 5 + [None] + [f"w{n}" * 100 for n in range(100)], dtype=object))
    assert (kept.rows, kept.missing, len(kept.counts), kept.counts["a"]) == (105, 1, 64, 5)
    assert max(map(len, kept.counts)) == 80


def test_nothing_is_a_sketch_too() -> None:
    for empty in (np.array([]), np.array([np.nan]), np.array([None], dtype=object), np.array([], dtype=np.int64)):
        assert sketch_of(empty).rows == 0


def test_a_set_comes_back_from_strict_json_as_it_was() -> None:
    kept = set_of(x=sketch_of(np.random.default_rng(0).normal(size=999).astype(np.float32)), y=sketch_of(np.arange(5)))
    again = SetSketch.from_json(json.loads(json.dumps(kept.to_json(), allow_nan=False)))
    assert again == kept
    assert again is not None
    assert again.schema == kept.schema
    assert set_of(z=sketch_of(np.arange(5))).schema != kept.schema
    assert SetSketch.from_json({**kept.to_json(), "format": 2}) is None


def test_a_feature_takes_a_few_kilobytes_whatever_the_set_is() -> None:
    values = np.random.default_rng(0).normal(size=100_000)
    assert len(json.dumps(set_of(x=sketch_of(values)).to_json())) < 7_000

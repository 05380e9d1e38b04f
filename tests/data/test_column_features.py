"""Columns of a table that mean something are features; clocks, counters and nested ones are not."""

from datetime import datetime
from decimal import Decimal

import pyarrow as pa

from plaster_ops.data.column_features import column_features


def test_numbers_text_and_truth_are_features_by_name() -> None:
    table = pa.table(
        {
            "whole": [3, 1, 2],
            "gaps": pa.array([3, None, 2]),
            "price": pa.array([Decimal("1.5"), None, Decimal("2.5")]),
            "kind": ["a", None, "b"],
            "open": [True, False, True],
            "at": [datetime(2026, 1, day) for day in (1, 2, 3)],
            "list": [[1], [2], [3]],
            "aside": [1, 2, 3],
        }
    )
    features, types, left_out = column_features(table, {"aside"})
    assert list(features) == ["whole", "gaps", "price", "kind", "open"]
    assert features["whole"].dtype.kind == "i"
    assert str(features["gaps"].tolist()) == "[3.0, nan, 2.0]"
    assert str(features["price"].tolist()) == "[1.5, nan, 2.5]"
    assert features["kind"].tolist() == ["a", None, "b"]
    assert set(types) == {*features, "at", "list"}
    assert left_out == 0


def test_a_column_that_only_rises_is_a_clock() -> None:
    table = pa.table({"id": range(0, 100, 2), "step": [k // 2 for k in range(50)], "x": [k % 7 for k in range(50)]})
    assert list(column_features(table)[0]) == ["step", "x"]


def test_columns_past_the_bound_are_counted() -> None:
    table = pa.table({f"c{k}": [0.0, 0.0] for k in range(260)})
    features, types, left_out = column_features(table)
    assert (len(features), len(types), left_out) == (256, 260, 4)

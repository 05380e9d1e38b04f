"""Whether two sets of inputs differ: a test and a distance for every feature, and what is new, gone or missing.

A feature has drifted where its adjusted p-value (Benjamini-Hochberg over all features of the comparison) is below 0.01
*and* the distance is at least 0.1. The test alone flags every feature of a large set in the end; a distance alone flags
clean features of a small one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plaster_ops.data.sketch import SetSketch, Sketch, category_counts, present, sketch_of
from plaster_ops.domain.rule import benjamini_hochberg

ALPHA, LEAST_DISTANCE = 0.01, 0.1
FEWEST_ROWS = 5
_LEAST_EXPECTED = 5.0
_NAMED = 3
_NAMED_CATEGORIES = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One feature then and now. `distance`: Kolmogorov-Smirnov D, or total variation for categories; `p_value` None
    where it was not tested. `missing_change`: share of rows without a value, now - then."""

    feature: str
    kind: str
    distance: float
    p_value: float | None
    missing_change: float
    new: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    """Categories that did not occur then; those that do not occur now where five or more would be expected."""


def compare(then: SetSketch, now: SetSketch, values: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """The set of now, whose feature `values` are at hand, against the sketch of an earlier one."""
    shared = [name for name in now.features if name in then.features]
    found = [difference(name, then.features[name], now.features[name], values[name]) for name in shared]
    return {**_verdicts(found), **_sizes(then.samples, now.samples), "schema": _schema(then, now)}


def compare_rows(
    then: Mapping[str, NDArray[Any]], now: Mapping[str, NDArray[Any]], samples: tuple[int, int]
) -> dict[str, Any]:
    """Two sets whose rows are both at hand; `samples`: how many each has in all."""
    shared = [name for name in now if name in then]
    found = [_between(name, then[name], now[name]) for name in shared]
    return {**_verdicts(found), **_sizes(*samples)}


def compare_labels(then: Mapping[str, Sketch], now: Mapping[str, Sketch], values: Mapping[str, Any]) -> dict[str, Any]:
    """Labels then and now, each by its own test; `distance` is the largest one."""
    shared = [name for name in now if name in then]
    return _verdicts([difference(name, then[name], now[name], values[name]) for name in shared])


def difference(name: str, then: Sketch, now: Sketch, values: NDArray[Any]) -> Difference:
    """One feature against its earlier sketch. Raises nothing: what cannot be tested has no p-value."""
    there = present(values)
    if then.kind == "category" or (now.kind == "category" and then.rows == 0):
        return _categories(name, then.counts, then, category_counts(_as_kind(there, then)), now)
    if there.dtype.kind == "O":
        return Difference(feature=name, kind="retyped", distance=1.0, p_value=0.0, missing_change=0.0)
    distance = sketched_distance(then, there)
    return _number(name, distance, then, now)


def sketched_distance(then: Sketch, values: NDArray[Any]) -> float:
    """Largest distance of the two distribution functions at the points of the sketch, on both sides of each; 0 without
    values. At most 1/200 short of D over all rows."""
    if not then.rows or not len(values):
        return 0.0
    ordered, points = np.sort(values.astype(np.float64)), np.array(then.points)
    upto, ties = np.array(then.upto), np.array(then.ties)
    right = np.abs(upto / then.rows - np.searchsorted(ordered, points, side="right") / len(ordered))
    left = np.abs((upto - ties) / then.rows - np.searchsorted(ordered, points, side="left") / len(ordered))
    return float(max(right.max(), left.max()))


def ks_p_value(distance: float, then_rows: int, now_rows: int) -> float:
    """Two-sided p-value of the two-sample D by Kolmogorov's limit, a little too large for few rows. `scipy.stats` has
    the same and takes a second to import."""
    from scipy.special import kolmogorov

    together = then_rows * now_rows / (then_rows + now_rows)
    return float(kolmogorov(math.sqrt(together) * distance))


def _as_kind(there: NDArray[Any], then: Sketch) -> NDArray[Any]:
    """Whole numbers that a float holds, where they were categories as whole numbers before."""
    if there.dtype.kind == "f" and then.counts and not any("." in key for key in then.counts):
        whole = there.astype(np.int64)
        return whole if bool((whole == there).all()) else there
    return there


def _between(name: str, then: NDArray[Any], now: NDArray[Any]) -> Difference:
    before, after = sketch_of(then), sketch_of(now)
    mine, theirs = present(now), present(then)
    if before.kind == "category" or "O" in (mine.dtype.kind, theirs.dtype.kind):
        return _categories(name, category_counts(theirs), before, category_counts(mine), after)
    return _number(name, rows_distance(theirs, mine), before, after)


def rows_distance(then: NDArray[Any], now: NDArray[Any]) -> float:
    """D of two sets of numbers, over all of their values; 0 where one has none."""
    if not len(then) or not len(now):
        return 0.0
    mine, theirs = np.sort(now), np.sort(then)
    at = np.concatenate([mine, theirs])
    below = [np.searchsorted(rows, at, side="right") / len(rows) for rows in (mine, theirs)]
    return float(np.abs(below[0] - below[1]).max())


def _number(name: str, distance: float, then: Sketch, now: Sketch) -> Difference:
    p_value = ks_p_value(distance, then.rows, now.rows) if min(then.rows, now.rows) >= FEWEST_ROWS else None
    return _with_missing(name, "number", distance, p_value, then, now)


def _categories(
    name: str, before: Mapping[str, int], then: Sketch, after: Mapping[str, int], now: Sketch
) -> Difference:
    """Chi-square over the categories, the rare ones together; total variation over all that are known."""
    known = list(dict.fromkeys([*before, *after])) if then.rows == sum(before.values()) else list(before)
    table = np.array([[before.get(key, 0) for key in known], [after.get(key, 0) for key in known]], dtype=float)
    others = np.array([[then.rows], [now.rows]]) - table.sum(axis=1, keepdims=True)
    table = np.hstack([table, others])
    both = min(then.rows, now.rows) >= FEWEST_ROWS
    distance = float(np.abs(table[0] / then.rows - table[1] / now.rows).sum() / 2) if then.rows and now.rows else 0.0
    told = _with_missing(name, "category", distance, _chi_square(table) if both else None, then, now)
    whole = then.rows == sum(before.values())
    return Difference(
        **{field: getattr(told, field) for field in ("feature", "kind", "distance", "p_value", "missing_change")},
        new=tuple(sorted(key for key in after if key not in before)) if whole else (),
        gone=tuple(sorted(key for key in before if key not in after and _is_due(before[key], then, now))),
    )


def _is_due(count: int, then: Sketch, now: Sketch) -> bool:
    """Whether five or more would be expected now, so that none at all says something."""
    return count * now.rows >= _LEAST_EXPECTED * then.rows


def _chi_square(table: NDArray[Any]) -> float:
    """Of a table of two rows; columns that expect fewer than five in either row are put together."""
    from scipy.special import chdtrc

    totals = table.sum(axis=0)
    expected = np.outer(table.sum(axis=1), totals) / table.sum()
    rare = expected.min(axis=0) < _LEAST_EXPECTED
    table = np.hstack([table[:, ~rare], table[:, rare].sum(axis=1, keepdims=True)])
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:
        return 1.0
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    statistic = float(((table - expected) ** 2 / expected).sum())
    return float(chdtrc(table.shape[1] - 1, statistic))


def _with_missing(
    name: str, kind: str, distance: float, p_value: float | None, then: Sketch, now: Sketch
) -> Difference:
    """The difference, where rows without a value have a part: the larger distance, the smaller p-value doubled."""
    change = now.missing_ratio - then.missing_ratio
    if then.missing or now.missing:
        table = np.array([[then.rows, then.missing], [now.rows, now.missing]], dtype=float)
        if table.sum(axis=1).min() >= FEWEST_ROWS:
            tests = [p for p in (p_value, _chi_square(table)) if p is not None]
            p_value = min(1.0, len(tests) * min(tests))
            distance = max(distance, abs(change))
    return Difference(feature=name, kind=kind, distance=distance, p_value=p_value, missing_change=change)


def _verdicts(found: Sequence[Difference]) -> dict[str, Any]:
    tested = [each for each in found if each.p_value is not None]
    adjusted = benjamini_hochberg([each.p_value or 0.0 for each in tested])
    judged = sorted(zip(tested, adjusted, strict=True), key=lambda pair: (-pair[0].distance, pair[1]))
    drifted = [(each, p) for each, p in judged if p < ALPHA and each.distance >= LEAST_DISTANCE]
    return {
        "tested": len(tested),
        "drifted": len(drifted),
        "share": len(drifted) / len(tested) if tested else None,
        "distance": judged[0][0].distance if judged else None,
        "worst": [_told(each, p, (each, p) in drifted) for each, p in judged[:_NAMED]],
        "new": {each.feature: list(each.new[:_NAMED_CATEGORIES]) for each in found if each.new},
        "gone": {each.feature: list(each.gone[:_NAMED_CATEGORIES]) for each in found if each.gone},
        "missing": [
            {"feature": each.feature, "change": each.missing_change}
            for each in sorted(found, key=lambda each: -abs(each.missing_change))[:_NAMED]
            if each.missing_change
        ],
    }


def _told(each: Difference, adjusted: float, drifted: bool) -> dict[str, Any]:
    return {
        "feature": each.feature,
        "kind": each.kind,
        "distance": each.distance,
        "p_value": each.p_value,
        "p_adjusted": adjusted,
        "drifted": drifted,
    }


def _sizes(then: int, now: int) -> dict[str, Any]:
    return {"samples_then": then, "samples": now, "samples_ratio": now / then if then else None}


def _schema(then: SetSketch, now: SetSketch) -> dict[str, Any]:
    """Inputs or columns that are new, gone or of another type, and features likewise where those are the same."""
    retyped = [
        f"{name} {then.types[name]} -> {kind}"
        for name, kind in now.types.items()
        if name in then.types and then.types[name] != kind
    ]
    mine, theirs = {*now.types, *now.features}, {*then.types, *then.features}
    return {
        "changed": now.schema != then.schema,
        "new": sorted(mine - theirs)[:_NAMED_CATEGORIES],
        "gone": sorted(theirs - mine)[:_NAMED_CATEGORIES],
        "retyped": retyped[:_NAMED_CATEGORIES],
    }

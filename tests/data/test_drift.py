"""Two sets of inputs held against each other: clean ones are left alone, what moved is named with its distance."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from plaster_ops.data.drift import (
    compare,
    compare_labels,
    compare_rows,
    difference,
    ks_p_value,
    rows_distance,
    sketched_distance,
)
from plaster_ops.data.sketch import SetSketch, sketch_of

Values = dict[str, NDArray[Any]]


def kept(features: Values, **changed: Any) -> SetSketch:
    sketches = {name: sketch_of(values) for name, values in features.items()}
    samples = len(next(iter(features.values())))
    types = {name: str(values.dtype) for name, values in features.items()}
    return SetSketch(**{"samples": samples, "features": sketches, "labels": {}, "types": types, **changed})


def against(then: Values, now: Values) -> dict[str, Any]:
    return compare(kept(then), kept(now), now)


def normal(seed: int, rows: int, shift: float = 0.0) -> NDArray[Any]:
    return np.random.default_rng(seed).normal(shift, size=rows)


@pytest.mark.parametrize("sizes", [(5000, 200), (40, 5000), (150, 150), (5000, 5000)])
@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_the_distance_from_a_sketch_is_that_of_scipy_within_a_200th(sizes: tuple[int, int], shift: float) -> None:
    then, now = normal(1, sizes[0]), normal(2, sizes[1], shift)
    exact = stats.ks_2samp(then, now, method="asymp")
    assert exact.statistic - 1 / 200 <= sketched_distance(sketch_of(then), now) <= exact.statistic + 1e-12
    assert rows_distance(then, now) == pytest.approx(exact.statistic)
    mine = ks_p_value(float(exact.statistic), *sizes)
    assert exact.pvalue <= mine * 1.001, "never surer than scipy"
    if exact.pvalue > 1e-12:
        assert mine == pytest.approx(exact.pvalue, rel=0.3)


def test_a_jump_at_one_value_is_measured_on_both_of_its_sides() -> None:
    zeros = np.where(np.arange(1000) < 600, 0.0, normal(1, 1000))
    none = normal(2, 1000)
    exact = float(stats.ks_2samp(zeros, none).statistic)
    assert sketched_distance(sketch_of(zeros), none) == pytest.approx(exact, abs=1 / 200)
    assert exact > 0.25


def test_a_chi_square_is_that_of_scipy() -> None:
    draw = np.random.default_rng(3)
    then, now = draw.integers(0, 4, 900), draw.integers(0, 4, 300) // 2 * 2
    table = [[(rows == kind).sum() for kind in range(4)] for rows in (then, now)]
    found = difference("k", sketch_of(then), sketch_of(now), now)
    assert found.p_value == pytest.approx(float(stats.chi2_contingency(table, correction=False).pvalue))
    shares = [np.array(row) / sum(row) for row in table]
    assert found.distance == pytest.approx(np.abs(shares[0] - shares[1]).sum() / 2)


def test_clean_features_are_left_alone_and_moved_ones_named_worst_first() -> None:
    then = {f"x{n}": normal(n, 2000) for n in range(8)}
    now = {f"x{n}": normal(100 + n, 500, {3: 0.5, 5: 1.0}.get(n, 0.0)) for n in range(8)}
    told = against(then, now)
    assert (told["tested"], told["drifted"], told["share"]) == (8, 2, 0.25)
    assert [each["feature"] for each in told["worst"][:2]] == ["x5", "x3"]
    assert [each["drifted"] for each in told["worst"]] == [True, True, False]
    assert told["distance"] == told["worst"][0]["distance"] == pytest.approx(0.38, abs=0.06)
    assert compare_rows(then, now, (2000, 500))["drifted"] == 2


def test_a_small_distance_is_no_drift_however_sure_and_a_large_one_of_few_rows_neither() -> None:
    sure = against({"x": normal(1, 8000)}, {"x": normal(2, 8000, 0.15)})
    assert sure["worst"][0]["p_adjusted"] < 1e-6
    assert (sure["drifted"], sure["distance"] < 0.1) == (0, True)
    few = against({"x": normal(1, 5000)}, {"x": normal(4, 12)})
    assert few["distance"] > 0.1
    assert few["drifted"] == 0


def test_a_column_that_was_constant_and_comes_to_life_has_drifted() -> None:
    told = against({"x": np.full(500, 0.4)}, {"x": normal(1, 500)})
    assert told["drifted"] == 1
    same = against({"x": np.full(500, 0.4)}, {"x": np.full(300, 0.4)})
    assert (same["drifted"], same["distance"]) == (0, 0.0)


def test_new_categories_and_those_that_are_gone_are_named() -> None:
    draw = np.random.default_rng(0)
    then = {"kind": np.array(["red", "green"], dtype=object)[draw.integers(0, 2, 1000)]}
    then["kind"][:2] = "rare"
    now = {"kind": np.array(["red", "blue"], dtype=object)[draw.integers(0, 2, 500)]}
    told = against(then, now)
    assert told["new"] == {"kind": ["blue"]}
    assert told["gone"] == {"kind": ["green"]}, "one of 'rare' would be expected: its absence says nothing"
    assert told["worst"][0]["kind"] == "category"
    assert told["worst"][0]["distance"] == pytest.approx(0.5, abs=0.05)


def test_a_category_that_a_float_holds_today_is_the_same_one() -> None:
    then, now = np.arange(300) % 3, (np.arange(300) % 3).astype(float)
    assert difference("k", sketch_of(then), sketch_of(now), now).distance == 0.0


def test_many_rare_categories_in_few_rows_are_no_surer_than_they_may_be() -> None:
    shares = 1 / np.arange(1, 61) ** 1.3
    draw, sure = np.random.default_rng(0), 0
    for _ in range(200):
        then, now = (draw.choice(60, rows, p=shares / shares.sum()) for rows in (5000, 20))
        found = difference("k", sketch_of(then), sketch_of(now), now)
        sure += found.p_value is not None and found.p_value < 0.01
    assert sure <= 8, "2 of 200 are due to chance; without putting the rare ones together it would be 29"


def test_rare_words_make_no_drift() -> None:
    draw = np.random.default_rng(0)
    words = [np.array([f"w{n}" for n in draw.integers(0, 10**6, rows)], dtype=object) for rows in (3000, 800)]
    told = against({"text": words[0]}, {"text": words[1]})
    assert (told["drifted"], told["new"]) == (0, {})


def test_rows_without_a_value_are_drift_of_their_own() -> None:
    gaps = normal(2, 1000)
    gaps[:400] = np.nan
    told = against({"x": normal(1, 1000)}, {"x": gaps})
    assert told["drifted"] == 1
    assert told["missing"] == [{"feature": "x", "change": pytest.approx(0.4)}]
    assert told["worst"][0]["distance"] == pytest.approx(0.4)
    gone = against({"x": normal(1, 1000)}, {"x": np.full(200, np.nan)})
    assert gone["drifted"] == 1


def test_a_type_that_changed_and_columns_that_came_and_went_are_the_schema() -> None:
    text = np.array(["1"] * 50, dtype=object)
    told = against(
        {"a": normal(1, 50), "b": normal(2, 50), "c": normal(3, 50)}, {"a": normal(1, 50), "b": text, "d": text}
    )
    assert told["schema"] == {"changed": True, "new": ["d"], "gone": ["c"], "retyped": ["b float64 -> object"]}
    assert told["drifted"] == 1
    assert against({"a": normal(1, 50)}, {"a": normal(2, 50)})["schema"]["changed"] is False


def test_what_cannot_be_tested_has_no_share() -> None:
    for then, now in ((np.array([1.0]), normal(1, 50)), (np.array([]), np.array([]))):
        told = against({"x": then}, {"x": now})
        assert (told["tested"], told["share"], told["worst"]) == (0, None, [])
    assert against({"x": normal(1, 9)}, {"y": normal(1, 9)})["share"] is None


def test_labels_have_a_distance_of_their_own() -> None:
    then, now = np.repeat([0, 1], [500, 500]), np.repeat([0, 1, 2], [100, 300, 50])
    told = compare_labels({"label": sketch_of(then)}, {"label": sketch_of(now)}, {"label": now})
    assert (told["drifted"], told["new"]) == (1, {"label": ["2"]})
    assert told["distance"] == pytest.approx((abs(0.5 - 100 / 450) + abs(0.5 - 300 / 450) + 50 / 450) / 2)


def test_in_a_hundred_clean_comparisons_no_feature_is_flagged() -> None:
    flagged = 0
    for seed in range(100):
        draw = np.random.default_rng(seed)
        then = {f"x{n}": draw.normal(size=2000) for n in range(5)} | {"k": draw.integers(0, 6, 2000)}
        now = {f"x{n}": draw.normal(size=200) for n in range(5)} | {"k": draw.integers(0, 6, 200)}
        flagged += against(then, now)["drifted"]
    assert flagged == 0

"""Batches of tensors become named columns of bounded size, whatever the batches are."""

import numpy as np
import pytest
import torch
from torch import Tensor

from plaster_ops.data.features import EvenRows, FeatureRows, named_inputs, named_targets


def rows_of(batches: list[dict[str, Tensor]], **bounds: int) -> FeatureRows:
    found = FeatureRows(**bounds)
    for batch in batches:
        found.add(batch)
    return found


@pytest.mark.parametrize("batch", [1, 7, 100, 1000])
def test_the_same_rows_are_kept_however_they_are_cut_into_batches(batch: int) -> None:
    whole, cut = EvenRows(100), EvenRows(100)
    rows = np.arange(1000)
    whole.add(rows)
    for start in range(0, 1000, batch):
        cut.add(rows[start : start + batch])
    kept = whole.rows().tolist()
    assert cut.rows().tolist() == kept == list(range(0, 1000, kept[1]))
    assert 50 <= len(kept) <= 100


def test_few_rows_are_all_kept() -> None:
    few = EvenRows(100)
    few.add(np.arange(60))
    few.add(np.arange(60, 100))
    assert few.rows().tolist() == list(range(100))
    assert EvenRows(5).rows().size == 0


def test_a_table_gives_its_columns_and_a_vector_itself() -> None:
    found = rows_of([{"x": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "n": torch.tensor([5, 6])}]).features()
    assert {name: values.tolist() for name, values in found.items()} == {"x[0]": [1, 3], "x[1]": [2, 4], "n": [5, 6]}
    assert found["n"].dtype.kind == "i"


def test_an_image_gives_what_sums_it_up() -> None:
    found = rows_of([{"x": torch.tensor([[[0.0, 2.0], [4.0, 6.0]]])}]).features()
    assert {name: values.tolist() for name, values in found.items()} == {
        "x mean": [3.0],
        "x sd": [pytest.approx(np.sqrt(5.0))],
        "x min": [0.0],
        "x max": [6.0],
    }


def test_sequences_of_several_lengths_are_summed_up_with_their_size() -> None:
    found = rows_of([{"x": torch.ones(2, 3)}, {"x": torch.ones(1, 5)}]).features()
    assert list(found) == ["x mean", "x sd", "x min", "x max", "x size"]
    assert found["x size"].tolist() == [3, 3, 5]
    assert "x mean" in rows_of([{"x": torch.ones(2, 257)}]).features()


def test_features_past_the_bound_are_counted_not_kept() -> None:
    found = rows_of([{"x": torch.ones(2, 3), "y": torch.ones(2, 4)}], most_features=5)
    assert list(found.features()) == ["x[0]", "x[1]", "x[2]", "y[0]", "y[1]"]
    assert found.left_out == 2
    assert found.samples == 2


def test_what_is_missing_is_counted_over_every_row() -> None:
    whole = torch.zeros(100, 2)
    whole[3, 1] = float("nan")
    whole[98, 0] = -float("inf")
    found = rows_of([{"x": whole[:50], "n": torch.ones(50, dtype=torch.int64)}, {"x": whole[50:]}], most_rows=8)
    assert found.missing() == {"x": (200, 1, 1), "n": (50, 0, 0)}
    assert found.types() == {"x": "float32", "n": "int64"}


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.bool, torch.uint8, torch.complex64])
def test_every_type_of_tensor_is_read(kind: torch.dtype) -> None:
    found = rows_of([{"x": torch.ones(3, 1).to(kind), "empty": torch.ones(3, 0), "none": torch.ones(0, 2, 2)}])
    assert found.features()["x[0]"].tolist() == [1, 1, 1]


def test_inputs_and_targets_are_named_as_the_user_names_them() -> None:
    one, two = torch.ones(2), torch.zeros(2)
    assert list(named_inputs((one, two), {"a": 0, "b": 0})) == ["a", "b"]
    assert list(named_inputs((one, two), (0, 0))) == ["in0", "in1"]
    assert list(named_targets(one)) == ["label"]
    assert list(named_targets((one, two))) == ["label 0", "label 1"]
    assert list(named_targets({"kind": one, "text": ["a", "b"]})) == ["label kind"]

"""Training samples are looked at before they are trained on; NaN is named with its place."""

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from plaster_ops.data.checks import TrainingLook, look_at_training
from plaster_ops.errors import DataError

EXAMPLE = torch.zeros(2, 3)


def loader(inputs: torch.Tensor, targets: torch.Tensor) -> Any:
    return DataLoader(TensorDataset(inputs, targets), batch_size=7, shuffle=True)


def look(given: Any, wanted: int = 100, **changed: Any) -> TrainingLook:
    return look_at_training(given, EXAMPLE, None, wanted, **changed)


class Stream(IterableDataset[Any]):
    """Ten rows; the seventh has a NaN in its second value."""

    def __iter__(self) -> Any:
        for row in range(10):
            value = torch.ones(3)
            if row == 6:
                value[1] = float("nan")
            yield value, torch.tensor(row)


def test_clean_samples_are_kept_for_what_comes_after() -> None:
    found = look(loader(torch.rand(40, 3), torch.arange(40) % 4))
    assert (found.samples, found.reason) == (40, "")
    assert set(found.labels.features()["label"].tolist()) == {0, 1, 2, 3}
    assert list(found.inputs.features()) == ["in0[0]", "in0[1]", "in0[2]"]


def test_no_more_samples_are_read_than_wanted_and_they_are_spread() -> None:
    found = look(loader(torch.arange(3000.0).reshape(1000, 3), torch.arange(1000)), wanted=64)
    assert found.samples == 64
    labels = found.labels.features()["label"]
    assert labels.min() < 250
    assert labels.max() > 750
    assert len(set(labels.tolist())) == 64


def test_nan_among_inputs_names_tensor_count_and_place() -> None:
    inputs = torch.zeros(40, 3)
    inputs[17, 2] = inputs[17, 1] = float("nan")
    with pytest.raises(DataError) as caught:
        look(loader(inputs, torch.zeros(40)))
    assert "in0 holds 2 NaN in 1 of 40 training samples, the first in sample 17, value 1" in caught.value.message
    assert "training dataset of 40" in caught.value.message
    assert "data.check_samples = 0" in caught.value.next_step
    assert int(caught.value.exit_code) == 2


def test_nan_among_labels_is_named_too_and_infinite_values_are_not_nan() -> None:
    targets = torch.zeros(40)
    targets[3] = float("nan")
    with pytest.raises(DataError, match="label holds 1 NaN in 1 of 40 training samples, the first in sample 3 "):
        look(loader(torch.zeros(40, 3), targets))
    assert look(loader(torch.full((40, 3), float("inf")), torch.zeros(40))).samples == 40


def test_of_a_stream_the_first_samples_are_looked_at() -> None:
    stream = DataLoader(Stream(), batch_size=4)
    with pytest.raises(DataError, match=r"first in sample 6, value 1 \(counted from 0 in the stream"):
        look(stream)
    assert look(stream, wanted=4).samples == 4


def test_slow_samples_are_looked_at_for_a_bounded_time() -> None:
    ticks = iter(range(100))
    found = look(loader(torch.zeros(500, 3), torch.zeros(500)), 500, budget_s=2.0, clock=lambda: float(next(ticks)))
    assert 32 <= found.samples < 500


def test_a_loader_that_cannot_be_read_this_way_gives_a_reason() -> None:
    def broken(_: Any) -> Any:
        raise RuntimeError("no collating today")

    given = DataLoader(TensorDataset(torch.zeros(4, 3)), collate_fn=broken)
    assert "RuntimeError: no collating today" in look(given).reason
    assert "no targets" in look(DataLoader([1.0, 2.0])).reason
    assert look([]).reason == "no training samples"

"""A batch of any common form comes apart into inputs and targets; what does not is named."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from plaster_ops.data.batches import (
    SetDigest,
    batch_rows,
    flat_inputs,
    golden_loader,
    labelled_batches,
    rolling_loader,
    split_batch,
)
from plaster_ops.errors import DataError, PipelineError

X, Z, Y = torch.zeros(4, 3), torch.ones(4, 2), torch.arange(4)


# ---- inputs and targets --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("batch", [(X, Y), [X, Y], ((X,), Y)], ids=["tuple", "list", "nested"])
def test_one_input_and_its_target(batch: Any) -> None:
    inputs, targets = split_batch(batch, X)
    assert inputs is X
    assert targets is Y


@pytest.mark.parametrize("batch", [(X, Z, Y), ((X, Z), Y), [[X, Z], Y]], ids=["flat", "nested", "lists"])
def test_two_inputs_and_a_target(batch: Any) -> None:
    inputs, targets = split_batch(batch, (X, Z))
    assert [t is wanted for t, wanted in zip(inputs, (X, Z), strict=True)] == [True, True]
    assert targets is Y


def test_one_input_and_two_targets() -> None:
    inputs, targets = split_batch((X, Y, Z), X)
    assert inputs is X
    assert targets[0] is Y
    assert targets[1] is Z


def test_a_dict_holds_inputs_by_name_and_the_rest_are_targets() -> None:
    example = {"ids": X, "mask": Z}
    inputs, targets = split_batch({"mask": Z, "label": Y, "ids": X}, example)
    assert list(inputs) == ["ids", "mask"]
    assert targets is Y
    _, several = split_batch({"ids": X, "mask": Z, "a": Y, "b": Y}, example)
    assert list(several) == ["a", "b"]


def test_inputs_by_name_come_in_the_order_of_the_example_whatever_the_loaders() -> None:
    inputs, targets = split_batch(({"mask": Z, "ids": X}, Y), {"ids": X, "mask": Z})
    assert list(inputs) == ["ids", "mask"]
    assert [tensor.shape for tensor in flat_inputs(inputs)] == [X.shape, Z.shape]
    assert targets is Y


def test_a_pipeline_may_split_for_itself() -> None:
    pipeline = SimpleNamespace(split=lambda batch: (batch["x"], batch["meta"]["y"]))
    inputs, targets = split_batch({"x": X, "meta": {"y": Y}}, X, pipeline)
    assert inputs is X
    assert targets is Y


@pytest.mark.parametrize(
    ("batch", "example", "words"),
    [
        (X, X, "a batch of type Tensor has no targets"),
        ("text", X, "a batch of type str has no targets"),
        ((X,), X, "a batch of 1 parts cannot hold 1 input and a target"),
        ((X, Z), (X, Z), "a batch of 2 parts cannot hold 2 inputs and a target"),
        ({"ids": X}, {"ids": X}, "holds no targets"),
        ({"label": Y}, {"ids": X}, "lacks ids"),
        ({"ids": X, "y": Y}, X, "sample_batch returns Tensor"),
        (({"mask": Z}, Y), {"ids": X, "mask": Z}, "lacks ids"),
    ],
)
def test_a_batch_that_cannot_be_split_is_described(batch: Any, example: Any, words: str) -> None:
    with pytest.raises(DataError) as caught:
        split_batch(batch, example)
    assert words in caught.value.message
    assert caught.value.next_step


def test_inputs_lie_flat_on_the_cpu_without_gradients() -> None:
    weights = torch.ones(2, 2, requires_grad=True)
    flat = flat_inputs((weights, [X]))
    assert [t.shape for t in flat] == [(2, 2), (4, 3)]
    assert not any(t.requires_grad for t in flat)
    assert batch_rows({"a": X}) == 4


@pytest.mark.parametrize("inputs", [["a", "b"], [], {"a": 3}])
def test_inputs_that_are_no_tensors_are_named(inputs: Any) -> None:
    with pytest.raises(PipelineError, match="not tensors"):
        flat_inputs(inputs)


# ---- which loader --------------------------------------------------------------------------------------------------
class WithBoth(pl.LightningDataModule):
    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str | None] = []

    def setup(self, stage: str | None = None) -> None:
        self.asked.append(stage)

    def test_dataloader(self) -> Any:
        return "newest"

    def val_dataloader(self) -> Any:
        return "validation"


class WithValidation(pl.LightningDataModule):
    def val_dataloader(self) -> Any:
        return ["validation", "second"]


class WithNothing(pl.LightningDataModule):
    def train_dataloader(self) -> Any:
        return "train"


def test_the_rolling_set_is_the_test_loader_set_up_as_such() -> None:
    data = WithBoth()
    assert rolling_loader(data) == "newest"
    assert data.asked == ["test"]


def test_without_a_test_loader_it_is_the_first_validation_loader() -> None:
    assert rolling_loader(WithValidation()) == "validation"


def test_lightnings_own_empty_hooks_are_no_loaders() -> None:
    with pytest.raises(PipelineError, match="WithNothing has neither test_dataloader nor val_dataloader"):
        rolling_loader(WithNothing())


# ---- the golden set ------------------------------------------------------------------------------------------------
def rows_of(loader: Any) -> int:
    return sum(len(batch[0]) for batch in loader)


@pytest.mark.parametrize(
    "golden",
    [TensorDataset(X, Y), DataLoader(TensorDataset(X, Y), batch_size=3), (X, Y), [(X, Y)]],
    ids=["dataset", "loader", "pair", "batches"],
)
def test_a_golden_set_may_be_given_in_any_of_these_forms(golden: Any) -> None:
    assert rows_of(golden_loader(SimpleNamespace(golden=lambda: golden))) == 4


def test_a_pipeline_need_not_have_a_golden_set() -> None:
    assert golden_loader(SimpleNamespace()) is None
    assert golden_loader(SimpleNamespace(golden=None)) is None
    assert golden_loader(SimpleNamespace(golden=lambda: None)) is None


EMPTY = TensorDataset(X[:0], Y[:0])


@pytest.mark.parametrize("golden", [EMPTY, [], DataLoader(EMPTY, batch_size=1)], ids=["dataset", "list", "loader"])
def test_a_golden_set_of_no_rows_is_refused(golden: Any) -> None:
    with pytest.raises(DataError, match="the golden set has 0 rows"):
        golden_loader(SimpleNamespace(golden=lambda: golden))


# ---- digests -------------------------------------------------------------------------------------------------------
def digest(batches: Any) -> str:
    taken = SetDigest()
    for inputs, targets in batches:
        taken.add(inputs, targets)
    return taken.hexdigest()


def batches_of(size: int, labels: torch.Tensor = Y) -> Iterator[tuple[Any, Any]]:
    return labelled_batches(DataLoader(TensorDataset(X, labels), batch_size=size), X, None)


def test_equal_sets_have_equal_digests_however_they_are_batched() -> None:
    assert digest(batches_of(4)) == digest(batches_of(4)) == digest(batches_of(3)) == digest(batches_of(1))


def test_another_label_order_type_or_shape_is_another_set() -> None:
    changed = Y.clone()
    changed[2] = 9
    others = [
        digest(batches_of(4, changed)),
        digest(batches_of(4, Y.flip(0))),
        digest(batches_of(4, Y.int())),
        digest([(X.reshape(4, 1, 3), Y)]),
        digest([(X[:3], Y[:3])]),
        digest([(Y, X)]),
    ]
    assert len({digest(batches_of(4)), *others}) == 7


def test_samples_are_counted_while_they_are_digested() -> None:
    taken = SetDigest()
    for inputs, targets in batches_of(3):
        taken.add(inputs, targets)
    assert taken.samples == 4


def test_a_target_that_is_a_plain_number_is_digested_too() -> None:
    assert digest([(X, 3)]) != digest([(X, 4)])

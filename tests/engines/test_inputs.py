import pytest
import torch

from plaster_ops.engines.inputs import InputGuard, as_inputs, flatten_inputs, input_names, input_specs, resize
from plaster_ops.errors import DataError, PipelineError
from plaster_ops.ports import TensorSpec
from tests.engines import models


def test_a_tensor_a_tuple_and_a_dict_become_arguments() -> None:
    one, two = torch.ones(2, 3), torch.ones(2, 4)
    assert as_inputs(one) == ((one,), {})
    assert as_inputs((one, two)) == ((one, two), {})
    assert as_inputs({"b": one, "a": two}) == ((), {"b": one, "a": two})
    assert flatten_inputs({"b": one, "a": two}) == (one, two)


@pytest.mark.parametrize("value", ["text", (torch.ones(2), 3), {}, ()])
def test_what_is_no_tensor_is_refused_with_its_type(value: object) -> None:
    with pytest.raises(PipelineError, match=r"str|int|nothing"):
        as_inputs(value)


def test_inputs_are_named_after_the_parameters_of_forward() -> None:
    model = models.TwoByTwo()
    assert input_names(model, models.two_inputs(2)) == ("left", "right")
    assert input_names(model, models.named_inputs(2)) == ("right", "left")


def test_an_axis_that_differs_between_batches_is_dynamic_and_the_batch_axis_is_not() -> None:
    batches = [models.sequences(2, 5), models.sequences(7, 11), models.sequences(3, 8)]
    tokens, padding = input_specs(batches, None, ("tokens", "padding"))
    assert tokens == TensorSpec(name="tokens", dtype="int64", shape=(None,), ranges=((5, 11),))
    assert padding.shape == (None,)
    assert input_specs([(torch.ones(2, 3, 4),), (torch.ones(5, 3, 4),)])[0].shape == (3, 4)


@pytest.mark.parametrize("key", ["tokens", 0, "0"])
def test_a_declared_axis_widens_what_was_seen(key: object) -> None:
    batches = [models.sequences(2, 5), models.sequences(2, 11)]
    specs = input_specs(batches, {key: {1: (2, 9)}}, ("tokens", "padding"))
    assert specs[0].ranges == ((2, 11),)
    assert specs[1].ranges == ((5, 11),)


@pytest.mark.parametrize("axes", [{"token": {1: (2, 9)}}, {"tokens": {0: (2, 9)}}, {"tokens": {1: (9, 2)}}])
def test_a_declaration_that_fits_no_input_is_refused(axes: dict[str, dict[int, tuple[int, int]]]) -> None:
    with pytest.raises(PipelineError, match="dynamic_axes"):
        input_specs([models.sequences(2, 5)], axes, ("tokens", "padding"))


def test_batches_of_different_rank_or_dtype_are_refused() -> None:
    with pytest.raises(PipelineError, match="input0"):
        input_specs([(torch.ones(2, 3),), (torch.ones(2, 3, 1),)])
    with pytest.raises(PipelineError, match="int64"):
        input_specs([(torch.ones(2, 3),), (torch.ones(2, 3, dtype=torch.int64),)])


def test_resizing_repeats_and_cuts_real_values() -> None:
    tensor = torch.arange(6).reshape(2, 3)
    assert resize(tensor, (3, 2)).tolist() == [[0, 1], [3, 4], [0, 1]]


class TestInputGuard:
    guard = InputGuard(
        [
            TensorSpec(name="x", dtype="float32", shape=(None, 2), ranges=((3, 5),)),
            TensorSpec(name="y", dtype="int64", shape=()),
        ],
        max_batch=4,
    )

    def test_fitting_inputs_pass_unchanged_each_time(self) -> None:
        for rows, length in ((1, 3), (4, 5), (4, 5), (1, 3)):
            x, y = torch.ones(rows, length, 2), torch.ones(rows, dtype=torch.int64)
            assert self.guard.admit((x, y))[0] is x

    def test_a_view_becomes_contiguous_even_after_an_equal_shape_was_accepted(self) -> None:
        x, y = torch.arange(24.0).reshape(4, 3, 2), torch.ones(4, dtype=torch.int64)
        view = torch.arange(24.0).reshape(4, 2, 3).transpose(1, 2)
        self.guard.admit((x, y))
        admitted = self.guard.admit((view, y))[0]
        assert admitted.is_contiguous()
        assert torch.equal(admitted, view)

    @pytest.mark.parametrize(
        ("x", "y", "words"),
        [
            (torch.ones(5, 3, 2), torch.ones(5, dtype=torch.int64), r"1\.\.4"),
            (torch.ones(2, 6, 2), torch.ones(2, dtype=torch.int64), r"3\.\.5"),
            (torch.ones(2, 3, 3), torch.ones(2, dtype=torch.int64), "'x'"),
            (torch.ones(2, 3, 2).double(), torch.ones(2, dtype=torch.int64), "float64"),
            (torch.ones(2, 3, 2), torch.ones(3, dtype=torch.int64), "differ in samples"),
        ],
    )
    def test_what_the_engine_was_not_built_for_is_refused(self, x: torch.Tensor, y: torch.Tensor, words: str) -> None:
        with pytest.raises(DataError, match=words):
            self.guard.admit((x, y))

    def test_a_missing_input_is_refused(self) -> None:
        with pytest.raises(DataError, match="takes 2 inputs, got 1"):
            self.guard.admit((torch.ones(2, 3, 2),))

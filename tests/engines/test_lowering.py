"""One exported program in other arithmetic: what is lowered, what is kept, and that it still is the same model."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from plaster_ops.engines.export import flatten_inputs, output_names, run_eager
from plaster_ops.engines.graph import weights_digest
from plaster_ops.engines.lowering import (
    autocast_program,
    calibration_rows,
    flat_callable,
    product_precision,
    quantised_program,
)
from plaster_ops.engines.parity import compare_outputs
from plaster_ops.errors import BuildFailed
from tests.engines import models
from tests.engines.conftest import MAX_BATCH, Exported, export_model, export_own


@cache
def lowered(name: str, precision: str) -> ExportedProgram:
    exported = export_model(name)
    return autocast_program(exported.program, exported.spec("any", precision))


def stored(program: ExportedProgram) -> dict[str, torch.dtype]:
    """Dtype of each weight of the lowered program by its name in the user's model."""
    return {name.removeprefix("inner."): tensor.dtype for name, tensor in program.state_dict.items()}


def reasons(exported: Exported, program: ExportedProgram, precision: str, rows: int) -> tuple[str, ...]:
    value = exported.inputs(rows)
    with torch.no_grad():
        got = flat_callable(program)(*flatten_inputs(value))
    wanted = torch.utils._pytree.tree_leaves(run_eager(exported.module, value))
    return compare_outputs(wanted, got, output_names(exported.program), precision).reasons


# ---- products in another precision ---------------------------------------------------------------------------------
@pytest.mark.parametrize(("name", "precision"), [("conv", "bf16"), ("named", "fp16")])
@pytest.mark.parametrize("rows", [1, 5, MAX_BATCH])
def test_a_lowered_program_answers_as_the_model_does_at_any_batch(name: str, precision: str, rows: int) -> None:
    assert reasons(export_model(name), lowered(name, precision), precision, rows) == ()


@pytest.mark.parametrize(("name", "precision"), [("conv", "bf16"), ("named", "fp16")])
def test_it_says_that_its_products_run_in_that_precision(name: str, precision: str) -> None:
    assert product_precision(export_model(name).program) == ("fp32", 0.0)
    assert product_precision(lowered(name, precision)) == (precision, 1.0)


def test_it_does_round_and_is_no_copy_in_fp32() -> None:
    exported = export_model("conv")
    value = exported.inputs(4)
    with torch.no_grad():
        got = flat_callable(lowered("conv", "bf16"))(value)[0]
    assert not torch.allclose(got, run_eager(exported.module, value), rtol=1e-5, atol=1e-6)


def test_outputs_come_in_the_order_and_dtypes_of_the_model() -> None:
    left, right = models.two_inputs(2)
    value, choice = flat_callable(lowered("named", "fp16"))(right, left)
    assert (value.dtype, choice.dtype) == (torch.float32, torch.int64)
    assert value.shape == choice.shape == (2,)


def test_weights_of_products_are_stored_in_half_and_those_of_a_norm_in_full() -> None:
    found = stored(lowered("conv", "bf16"))
    halved = {name for name, dtype in found.items() if dtype is torch.bfloat16}
    assert halved == {"body.0.weight", "body.0.bias", "head.weight", "head.bias"}
    assert found["body.1.weight"] is found["body.1.running_mean"] is torch.float32


def test_a_weight_that_is_read_in_fp32_too_is_kept_in_fp32() -> None:
    class ReadTwice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Parameter(torch.randn(6, 6))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.mix + self.mix.sum()

    exported = export_own(ReadTwice())
    program = autocast_program(exported.program, exported.spec("any", "bf16"))
    assert stored(program) == {"mix": torch.float32}
    assert product_precision(program)[0] == "bf16"


def test_a_norm_whose_name_is_the_end_of_a_products_name_is_kept_in_fp32() -> None:
    exported = export_own(nn.Sequential(nn.Sequential(nn.ReLU(), nn.Linear(6, 5)), nn.LayerNorm(5)))
    found = stored(autocast_program(exported.program, exported.spec("any", "bf16")))
    assert found["0.1.weight"] is found["0.1.bias"] is torch.bfloat16
    assert found["1.weight"] is found["1.bias"] is torch.float32


def test_a_weight_that_two_products_share_is_stored_in_half() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(6, 6, bias=False)
            self.second = self.first

        def forward(self, x: Tensor) -> Tensor:
            return self.second(torch.relu(self.first(x)))

    exported = export_own(Tied())
    found = stored(autocast_program(exported.program, exported.spec("any", "bf16")))
    assert set(found.values()) == {torch.bfloat16}


def test_the_program_that_was_given_is_left_as_it_was() -> None:
    exported = export_own(models.mlp())
    before = weights_digest(exported.program.state_dict)
    autocast_program(exported.program, exported.spec("any", "bf16"))
    assert weights_digest(exported.program.state_dict) == before
    assert reasons(exported, exported.program, "fp32", 5) == ()


def test_a_graph_without_products_has_no_share_to_tell() -> None:
    exported = export_own(nn.ReLU())
    assert product_precision(exported.program) == ("fp32", None)


# ---- quantisation --------------------------------------------------------------------------------------------------
class Observed(nn.Module):
    """What `prepare` makes of the model: it remembers what passes."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner
        self.seen: list[tuple[Tensor, ...]] = []

    def forward(self, *inputs: Tensor) -> Any:
        self.seen.append(inputs)
        return self.inner(*inputs)


def quantise(prepare: Callable[[Any], Any], convert: Callable[[Any], Any]) -> ExportedProgram:
    exported = export_model("named")
    return quantised_program(
        exported.program, exported.spec("any", "int8"), [flatten_inputs(exported.inputs(10))], prepare, convert
    )


def test_real_inputs_pass_between_prepare_and_convert_and_the_result_is_the_model() -> None:
    made: list[Observed] = []

    def prepare(flat: Any) -> Observed:
        made.append(Observed(flat))
        return made[0]

    def convert(observed: Observed) -> Any:
        assert [len(row[0]) for row in observed.seen] == [8, 2]
        assert all([tensor.shape[1] for tensor in row] == [3, 5] for row in observed.seen)
        return observed.inner

    program = quantise(prepare, convert)
    assert reasons(export_model("named"), program, "fp32", 5) == ()


def test_a_quantiser_that_fails_is_told_in_its_own_words() -> None:
    def convert(_: Any) -> Any:
        raise KeyError("aten.twist has no observer")

    with pytest.raises(BuildFailed, match=r"cannot be quantised: KeyError: .aten\.twist has no observer") as caught:
        quantise(Observed, convert)
    assert "int8" in caught.value.next_step


def test_a_refusal_of_our_own_keeps_its_words() -> None:
    def prepare(_: Any) -> Any:
        raise BuildFailed("torchao is too old", "install a newer one")

    with pytest.raises(BuildFailed, match=r"^torchao is too old$"):
        quantise(prepare, nn.Identity)


def test_what_torch_cannot_export_again_is_told_with_the_precision() -> None:
    class Branching(Observed):
        def forward(self, *inputs: Tensor) -> Any:
            return self.inner(*inputs) if inputs[0].sum() > 0 else inputs

    with pytest.raises(BuildFailed, match="torch cannot lower the graph to int8") as caught:
        quantise(Observed, lambda observed: Branching(observed.inner))
    assert "remove int8 from engine.precisions" in caught.value.next_step


@pytest.mark.parametrize(
    ("rows", "sizes"), [((1,), [2]), ((2,), [2]), ((8,), [8]), ((9,), [8, 2]), ((3, 17), [3, 8, 8, 2]), ((), [])]
)
def test_calibration_inputs_come_in_batches_of_two_to_eight_none_left_out(
    rows: tuple[int, ...], sizes: list[int]
) -> None:
    groups = [(torch.arange(n).reshape(n, 1) + 100 * k, torch.arange(n)) for k, n in enumerate(rows)]
    found = list(calibration_rows(groups))
    assert [len(first) for first, _ in found] == sizes
    assert {int(value) for first, _ in found for value in first} == {int(v) for first, _ in groups for v in first}
    assert all(torch.equal(first[:, 0] % 100, second) for first, second in found)

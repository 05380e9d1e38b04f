from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from plaster_ops.engines import export
from plaster_ops.engines.eager import flat_module
from plaster_ops.engines.export import (
    export_program,
    flatten_inputs,
    input_specs,
    load_program,
    output_names,
    output_structure,
    run_eager,
    save_program,
    unflatten,
)
from plaster_ops.errors import BuildFailed
from tests.engines import models
from tests.engines.conftest import MAX_BATCH, export_model

ALL = ("mlp", "conv", "two", "named", "sequence", "regression", "other_regression", "recurrent")


@pytest.mark.parametrize("name", ALL)
def test_every_kind_of_model_answers_as_before_at_batch_one_and_at_the_largest(name: str) -> None:
    exported = export_model(name)
    graph = flat_module(exported.program)
    for rows in (1, MAX_BATCH):
        value = exported.inputs(rows)
        wanted = run_eager(exported.module, value)
        got = unflatten(exported.program, graph(*flatten_inputs(value)))
        assert type(got) is type(wanted)
        for ours, theirs in zip(tree_leaves(got), tree_leaves(wanted), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_a_length_that_two_inputs_share_is_free_in_its_range() -> None:
    exported = export_model("sequence")
    graph = flat_module(exported.program)
    for length in (4, 9, 14):
        value = models.sequences(3, length)
        torch.testing.assert_close(graph(*value)[0], run_eager(exported.module, value)[0])


def test_outputs_are_named_after_their_place_in_what_forward_returns() -> None:
    assert output_names(export_model("mlp").program) == ("output",)
    assert output_names(export_model("two").program) == ("value", "choice")
    assert output_names(export_model("sequence").program) == ("0", "1")


def test_the_structure_of_the_outputs_survives_as_text() -> None:
    structure = output_structure(export_model("two").program)
    assert unflatten(structure, [torch.ones(1), torch.zeros(1)]) == {"value": torch.ones(1), "choice": torch.zeros(1)}


def test_the_module_is_left_as_it_was_found() -> None:
    module = models.Regression().train()
    trainer = object()
    module.__dict__["_trainer"] = trainer
    export_program(module, models.rows(2), input_specs([(models.rows(2),)]), MAX_BATCH)
    assert module.__dict__["_trainer"] is trainer
    assert module.training
    assert module.net.training


def test_dropout_does_not_drop_in_the_exported_graph() -> None:
    module = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.9)).train()
    program = export_program(module, models.mlp_inputs(2), input_specs([(models.mlp_inputs(2),)]), MAX_BATCH)
    value = models.mlp_inputs(4)
    torch.testing.assert_close(flat_module(program)(value)[0], module[0](value))


def test_a_program_survives_its_file_without_the_users_inputs(tmp_path: Path) -> None:
    exported = export_model("conv")
    save_program(exported.program, tmp_path / "program.pt2")
    loaded = load_program(tmp_path / "program.pt2")
    assert loaded.example_inputs is None
    assert exported.program.example_inputs is not None
    value = exported.inputs(5)
    torch.testing.assert_close(flat_module(loaded)(value)[0], run_eager(exported.module, value))


def test_a_file_that_is_no_program_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "program.pt2").write_bytes(b"PK nothing")
    with pytest.raises(BuildFailed, match=r"program\.pt2 is no exported program"):
        load_program(tmp_path / "program.pt2")


def refusal(module: nn.Module) -> BuildFailed:
    value = torch.randn(3, 4)
    with pytest.raises(BuildFailed) as caught:
        export_program(module, value, input_specs([(value,)]), MAX_BATCH)
    assert len(caught.value.message) < 600
    assert caught.value.next_step
    return caught.value


def test_a_branch_on_values_is_refused_with_the_users_line() -> None:
    message = refusal(models.Branching()).message
    assert "torch.export cannot trace the model" in message
    assert "models.py:" in message
    assert "if x.sum() > 0:" in message


def test_a_fixed_batch_is_refused_as_such() -> None:
    assert "fixes its batch size" in refusal(models.FixedBatch()).message


def test_an_output_without_the_batch_axis_is_refused_by_name() -> None:
    assert "'loss'" in refusal(models.WithLoss()).message


def test_an_output_that_is_no_tensor_is_refused() -> None:
    assert "NoneType, not a tensor" in refusal(models.WithNone()).message


def test_no_output_at_all_is_refused() -> None:
    class Silent(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[()]:
            del x
            return ()

    assert "returns no tensor" in refusal(Silent()).message


class ComparesAxes(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.shape[0] == x.shape[1] else x + x


def test_the_batch_is_traced_with_a_size_that_no_other_axis_has() -> None:
    batches = [(torch.randn(4, 2),), (torch.randn(4, 3),)]
    program = export_program(ComparesAxes(), batches[0][0], input_specs(batches), MAX_BATCH)
    assert flat_module(program)(torch.ones(8, 3))[0].shape == (8, 3)


def test_a_batch_that_torch_tied_to_another_axis_in_silence_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def as_given(flat: tuple[torch.Tensor, ...], *_: object) -> tuple[torch.Tensor, ...]:
        return flat

    monkeypatch.setattr(export, "_trace_inputs", as_given)
    batches = [(torch.randn(3, 3),), (torch.randn(4, 9),)]
    with pytest.raises(BuildFailed, match="ties its batch size to another axis"):
        export_program(ComparesAxes(), batches[0][0], input_specs(batches), MAX_BATCH)


def test_an_axis_down_to_length_one_is_free_too() -> None:
    exported = export_model("sequence")
    specs = input_specs(
        [models.sequences(2, 5), models.sequences(2, 9)], {0: {1: (1, 9)}, 1: {1: (1, 9)}}, ("tokens", "padding")
    )
    graph = flat_module(export_program(exported.module, models.sequences(2), specs, MAX_BATCH))
    value = (torch.ones(2, 1, dtype=torch.int64), torch.zeros(2, 1, dtype=torch.bool))
    torch.testing.assert_close(graph(*value)[0], run_eager(exported.module, value)[0])

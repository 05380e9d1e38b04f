import pytest
import torch
from torch import nn

from plaster_ops.engines.export import export_program, input_specs, load_program, save_program
from plaster_ops.engines.graph import graph_digest, user_inputs, weights_digest
from tests.engines import models
from tests.engines.conftest import export_model


def digest_of(module: nn.Module, max_batch: int = 8) -> str:
    value = models.mlp_inputs(3)
    return graph_digest(export_program(module, value, input_specs([(value,)]), max_batch))


def two_layers(slope: float = 0.01, width: int = 8) -> nn.Module:
    return nn.Sequential(nn.Linear(6, width), nn.LeakyReLU(slope), nn.Linear(width, 2))


def test_other_weights_have_the_same_graph_and_another_weights_digest() -> None:
    one, two = two_layers(), two_layers()
    assert digest_of(one) == digest_of(two)
    assert weights_digest(one.state_dict()) != weights_digest(two.state_dict())
    assert weights_digest(one.state_dict()) == weights_digest(dict(reversed(one.state_dict().items())))


@pytest.mark.parametrize("changed", [two_layers(slope=0.3), two_layers(width=9), nn.Sequential(nn.Linear(6, 8))])
def test_an_argument_a_width_and_a_layer_change_the_graph(changed: nn.Module) -> None:
    assert digest_of(changed) != digest_of(two_layers())


def test_a_larger_batch_changes_the_graph() -> None:
    assert digest_of(two_layers(), 8) != digest_of(two_layers(), 16)


def test_the_digest_survives_a_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    program = export_model("sequence").program
    save_program(program, tmp_path / "program.pt2")
    assert graph_digest(load_program(tmp_path / "program.pt2")) == graph_digest(program)


def test_one_changed_bit_and_a_name_change_the_weights_digest() -> None:
    state = {"a": torch.zeros(3), "b": torch.tensor(1, dtype=torch.bfloat16)}
    changed = {"a": torch.tensor([0.0, 0.0, 1e-45]), "b": state["b"]}
    renamed = {"a": state["a"], "c": state["b"]}
    reshaped = {"a": torch.zeros(3, 1), "b": state["b"]}
    digests = {weights_digest(s) for s in (state, changed, renamed, reshaped)}
    assert len(digests) == 4


def test_user_inputs_come_in_the_order_of_the_call() -> None:
    assert [node.name for node in user_inputs(export_model("named").program)] == ["right", "left"]

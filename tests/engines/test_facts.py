import pytest
import torch
from torch import Tensor, nn

from plaster_ops.engines.export import export_program, input_specs, load_program, save_program
from plaster_ops.engines.facts import graph_facts, traced_inputs
from plaster_ops.engines.outside import look_outside
from tests.engines import models
from tests.engines.conftest import export_model


def test_the_facts_of_two_linear_layers_are_those_of_a_hand_count() -> None:
    exported = export_model("mlp")
    facts = graph_facts(exported.program, exported.module)
    assert facts["params_count"] == facts["params_trainable_count"] == 6 * 16 + 16 + 16 * 4 + 4
    assert facts["weights_bytes"] == 4 * facts["params_count"]
    assert facts["sample_macs"] == 6 * 16 + 16 * 4
    assert facts["layers_count"] == 2
    assert facts["depth_count"] == facts["ops_total"] == 3
    assert (facts["nodes_count"], facts["nodes_per_layer_mean"], facts["nodes_per_layer_max"]) == (20, 10.0, 16)
    assert facts["flops_by_node_kind"] == {"linear": 2 * facts["sample_macs"]}
    assert facts["flops_uncounted_ops"] == ["relu"]
    assert facts["sample_flops"] == 2 * facts["sample_macs"]
    assert facts["layer_flops_max"] == 2 * 6 * 16
    assert facts["connections_count"] == facts["connections_unique_count"] == 6 * 16 + 16 * 4
    assert facts["connections_effective_count"] == 6 * 16 + 16 * 4


def test_a_convolution_counts_its_pixels() -> None:
    exported = export_model("conv")
    facts = graph_facts(exported.program, exported.module)
    assert facts["sample_macs"] == 64 * 4 * 9 + 256 * 10
    assert facts["nodes_count"] == 256 + 256 + 10
    assert facts["layers_count"] == 3
    assert facts["weights_bytes"] == 4 * facts["params_count"] + 4 * 4 * 2 + 8


def test_attention_and_recurrent_layers_are_counted_as_one_layer_with_all_their_flops() -> None:
    exported = export_model("sequence")
    facts = graph_facts(exported.program, exported.module)
    assert facts["layers_count"] == 1 + 2 * 5 + 1
    assert facts["flops_by_node_kind"]["scaled_dot_product_attention"] == 2 * (2 * 2 * 9 * 9 * 16)
    exported = export_model("recurrent")
    facts = graph_facts(exported.program, exported.module)
    assert facts["flops_by_node_kind"]["lstm"] == 2 * 7 * 4 * 6 * (6 + 6)


def test_a_tied_layer_has_its_parameters_once_and_its_units_twice() -> None:
    exported = export_model("recurrent")
    facts = graph_facts(exported.program, exported.module)
    assert facts["layers_count"] == 3
    assert facts["nodes_count"] == 7 * 6 + 6 + 6 + 2
    assert facts["params_count"] == 4 * 6 * (6 + 6 + 2) + 36 + 12


def test_pruned_weights_and_frozen_parameters_are_seen() -> None:
    module = nn.Linear(6, 4)
    module.bias.requires_grad = False
    with torch.no_grad():
        module.weight[:, :2] = 0
    value = models.mlp_inputs(2)
    facts = graph_facts(export_program(module, value, input_specs([(value,)]), 4), module)
    assert facts["connections_count"] == facts["connections_effective_count"] == 6 * 4
    assert facts["connections_unique_count"] == 4 * 4
    assert facts["params_trainable_count"] == 24


@pytest.mark.parametrize("name", ["named", "sequence"])
def test_a_program_from_a_file_is_walked_with_zeros_of_the_traced_shapes(name: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    exported = export_model(name)
    save_program(exported.program, tmp_path / "program.pt2")
    loaded = load_program(tmp_path / "program.pt2")
    assert [t.shape for t in traced_inputs(loaded)] == [t.shape for t in traced_inputs(exported.program)]
    assert graph_facts(loaded, exported.module) == graph_facts(exported.program, exported.module)


class Sorted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sort(dim=1).values.relu()


def test_a_graph_without_flops_is_weighed_by_operators_and_says_so() -> None:
    program = torch.export.export(Sorted(), (torch.randn(2, 4),))
    found = look_outside(program, ["aten::sort"])
    assert not found.has_flops
    assert found.flops_ratio == 1 - 1 / found.operators
    linear = torch.export.export(nn.Sequential(nn.Linear(4, 4), Sorted()), (torch.randn(2, 4),))
    assert look_outside(linear, ["aten::sort"]).has_flops

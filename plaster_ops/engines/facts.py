"""How large a model is, read from its exported graph and its module: the evidence of the letter S, and FLOPs for P.

Everything is counted for one sample at the reference shape: dynamic axes at the middle of their range. Nothing is
timed or drawn, so two exports of one model give equal facts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from torch.export import ExportedProgram

from plaster_ops.engines.layers import count_weights, find_layers, rows_of
from plaster_ops.engines.operators import count_ops as count_ops
from plaster_ops.engines.operators import custom_ops as custom_ops
from plaster_ops.engines.operators import does_arithmetic as does_arithmetic
from plaster_ops.engines.operators import is_operator as is_operator
from plaster_ops.engines.operators import operator_kind as operator_kind
from plaster_ops.engines.walk import traced_inputs as traced_inputs
from plaster_ops.engines.walk import walk


def graph_facts(program: ExportedProgram, module: nn.Module) -> dict[str, Any]:
    """Plain JSON numbers about the model; `module` is the one that was exported.

    `params_count`, `params_trainable_count`: tied parameters once. `weights_bytes`: the state_dict, tied tensors once;
    `weights_fp32_bytes`: the same with four bytes for every floating number. `layers_count` and `layers`: see
    `engines.layers`. `nodes_count`, `nodes_per_layer_mean`, `nodes_per_layer_max`: output units of those layers, of all
    calls of a layer. `depth_count`: operators on the longest path from an input to an output. `sample_flops`, and
    `sample_macs` = FLOPs / 2. `layer_flops_max`: FLOPs of the layer that has most. `flops_by_node_kind`: by operator.
    `flops_uncounted_ops`: operators that do arithmetic for which no formula is known. `connections_count`,
    `connections_unique_count`: entries of the weights that layers multiply by, and those that are not zero, each once.
    `connections_effective_count`: uses of these weights for one sample = MACs of those products. `ops_total`: graph
    operators. `custom_ops`: operators that are not torch's own.
    """
    walked = walk(program)
    layers = find_layers(walked.operations, module)
    nodes = [layer.nodes for layer in layers]
    flops = walked.flops_by_kind()
    parameters = _distinct(module.parameters())
    stored = _distinct(value for value in module.state_dict().values() if isinstance(value, Tensor))
    connections, unique = count_weights(layers)
    return {
        "params_count": sum(p.numel() for p in parameters),
        "params_trainable_count": sum(p.numel() for p in parameters if p.requires_grad),
        "weights_bytes": sum(t.numel() * t.element_size() for t in stored),
        "weights_fp32_bytes": sum(t.numel() * (4 if t.is_floating_point() else t.element_size()) for t in stored),
        "layers_count": len(layers),
        "layers": rows_of(layers),
        "depth_count": walked.depth,
        "nodes_count": sum(nodes),
        "nodes_per_layer_mean": sum(nodes) / len(nodes) if nodes else 0.0,
        "nodes_per_layer_max": max(nodes, default=0),
        "sample_flops": sum(flops.values()),
        "sample_macs": sum(flops.values()) // 2,
        "layer_flops_max": max((layer.flops for layer in layers), default=0),
        "flops_by_node_kind": {kind: count for kind, count in flops.items() if count},
        "flops_uncounted_ops": [kind for kind, count in flops.items() if not count and does_arithmetic(kind)],
        "connections_count": connections,
        "connections_unique_count": unique,
        "connections_effective_count": sum(layer.uses for layer in layers) // 2,
        "ops_total": count_ops(program),
        "custom_ops": custom_ops(program),
    }


def flops_of_nodes(program: ExportedProgram) -> dict[str, int]:
    """FLOPs of every node of the graph that has any, for one sample at the reference shape, by node name."""
    return walk(program).flops_by_node


def elements_of_nodes(program: ExportedProgram) -> dict[str, int]:
    """Elements that every node of the graph gives for one sample at the reference shape, by node name."""
    return walk(program).units_by_node


def _distinct(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Each memory once, under whatever names and parameters it is known."""
    found: dict[Any, Tensor] = {}
    for tensor in tensors:
        place = (tensor.data_ptr(), tuple(tensor.shape), tensor.dtype) if tensor.numel() else id(tensor)
        found.setdefault(place, tensor)
    return list(found.values())

"""How much of a model OpenVINO's CPU plugin runs in its own kernels, by operators and by FLOPs.

The converter takes a graph whole or not at all, so pieces and breaks are one and none. What can still fall out is an
operator that the plugin does not know, or runs by the slow reference implementation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from plaster_ops.engines.openvino_model import heavy_nodes, node_facts
from plaster_ops.ports import Coverage

_NO_OPERATORS = {"Parameter", "Constant", "Result"}
_NO_LAYERS = {"Const", "Input", "Output"}


def measure_coverage(core: Any, model: Any, compiled: Any, ops_total: int, precision: str) -> Coverage:
    """`ops_total` counts the exported graph; OpenVINO's share of its own operators is applied to it, rounded down."""
    operators = [op for op in model.get_ops() if op.get_type_name() not in _NO_OPERATORS]
    supported = set(core.query_model(model, "CPU"))
    by_reference = _reference_operators(compiled)
    outside = [
        op for op in operators if op.get_friendly_name() not in supported or op.get_friendly_name() in by_reference
    ]
    known = sum(op.get_friendly_name() in supported for op in operators)
    flops = {op.get_friendly_name(): operator_flops(op) for op in operators}
    lost = sum(flops[op.get_friendly_name()] for op in outside)
    counted = sum(flops.values())
    inside_ratio = 1.0 - len(outside) / len(operators) if operators else 1.0
    makers = {op.get_friendly_name(): [v.get_node().get_friendly_name() for v in op.input_values()] for op in operators}
    layers = [node_facts(node).get("layerType") for node in compiled.get_runtime_model().get_ops()]
    return Coverage(
        ops_total=ops_total,
        ops_in_engine=ops_total if not outside else math.floor(ops_total * inside_ratio),
        ops_supported=ops_total if known == len(operators) else math.floor(ops_total * known / len(operators)),
        flops_ratio=1.0 - lost / counted if counted else inside_ratio,
        has_flops=counted > 0 or not outside,
        engines=1,
        fallback_ops=tuple(sorted({op.get_type_name() for op in outside})),
        precision_ratio=_precision_ratio(compiled, flops, makers, precision) if counted else None,
        layers=sum(layer not in _NO_LAYERS for layer in layers),
    )


def operator_flops(op: Any) -> int:
    """FLOPs of a matrix product or convolution for one sample, dynamic axes at their upper bound; 0 for other kinds."""
    kind = op.get_type_name()
    if kind not in ("MatMul", "Convolution", "GroupConvolution"):
        return 0
    results = math.prod(_sizes(op.output(0))[1:])
    weights = _sizes(op.input(1))
    if kind == "MatMul":
        transposed = bool(op.get_attributes().get("transpose_b", False))
        per_result = weights[-1] if transposed or len(weights) == 1 else weights[-2]
    else:
        per_result = math.prod(weights[1:] if kind == "Convolution" else weights[2:])
    return 2 * results * per_result


def _sizes(port: Any) -> list[int]:
    """Upper bounds; an axis without a bound counts once."""
    return [max(1, int(axis.get_max_length())) for axis in port.get_partial_shape()]


def _precision_ratio(
    compiled: Any, flops: dict[str, int], makers: Mapping[str, Sequence[str]], precision: str
) -> float | None:
    """FLOPs of the products in that precision / FLOPs of all products that the compiled model names an origin of."""
    told = [(_flops_of(origins, flops, makers), runs_in) for origins, runs_in in heavy_nodes(compiled)]
    counted = sum(count for count, _ in told)
    return sum(count for count, runs_in in told if runs_in == precision) / counted if counted else None


def _flops_of(origins: Iterable[str], flops: Mapping[str, int], makers: Mapping[str, Sequence[str]]) -> int:
    """Of a compiled product: one that took its bias in may bear the name of the addition alone, and is found before."""
    names = set(origins)
    for _ in range(3):
        count = sum(flops.get(name, 0) for name in names)
        if count:
            return count
        names = {maker for name in names for maker in makers.get(name, ())}
    return 0


def _reference_operators(compiled: Any) -> set[str]:
    """Names of operators that the plugin runs by the reference implementation, which nothing was optimised in."""
    names: set[str] = set()
    for node in compiled.get_runtime_model().get_ops():
        facts = node_facts(node)
        if facts.get("layerType") == "Reference":
            names.update(facts.get("originalLayersNames", "").split(","))
    return names

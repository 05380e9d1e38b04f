"""The exported program as an ONNX model, and what can be read from such a model: operators, FLOPs, precision.

For the backends that start from ONNX. With `onnx_engine` the landlord of onnx and onnxruntime.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaster_ops.errors import BuildFailed
from plaster_ops.ports import EngineSpec

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_LARGEST_BYTES = 2_000_000_000
HEAVY = {"Conv", "FusedConv", "ConvTranspose", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "Attention"}
EIGHT_BITS = {
    "QLinearConv",
    "QGemm",
    "QLinearMatMul",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
    "ConvInteger",
    "QAttention",
}
NO_OPERATORS = {"Constant", "Identity", "QuantizeLinear", "DequantizeLinear"}


def write_onnx(program: ExportedProgram, spec: EngineSpec, file: Path, *, optimize: bool = True) -> None:
    """Writes the whole graph, weights inside, inputs under their declared names.

    Raises `BuildFailed` where an operator has no ONNX counterpart, naming it, or the file would pass 2 GB.
    """
    import torch

    from plaster_ops.engines.quiet import foreign_warnings_ignored

    size = sum(tensor.numel() * tensor.element_size() for tensor in program.state_dict.values())
    if size > _LARGEST_BYTES:
        raise BuildFailed(f"{size / 1e9:.1f} GB of weights do not fit one ONNX file of 2 GB", "use another backend")
    try:
        with foreign_warnings_ignored(), contextlib.redirect_stdout(io.StringIO()):
            torch.onnx.export(
                program,
                f=str(file),
                input_names=[tensor.name for tensor in spec.inputs],
                external_data=False,
                optimize=optimize,
                verbose=False,
            )
    except Exception as error:
        raise BuildFailed(
            f"the graph has no ONNX form, which takes it whole or not at all: {_reason(error)}",
            "the other backends of engine.backends are tried",
        ) from error


def fold_constants(file: Path) -> None:
    """Writes the graph anew with everything computed that depends on no input; nothing is fused."""
    import onnx_ir
    from onnxscript import optimizer

    from plaster_ops.engines.quiet import foreign_warnings_ignored

    with foreign_warnings_ignored():
        model = onnx_ir.load(file)
        optimizer.fold_constants(model)
        optimizer.remove_unused_nodes(model)
        onnx_ir.save(model, file)


def _reason(error: BaseException) -> str:
    """The innermost telling line: torch wraps it in steps of its own."""
    inner: BaseException = error
    while inner.__cause__ is not None:
        inner = inner.__cause__
    lines = [line.strip() for line in str(inner).splitlines() if line.strip()]
    telling = [line for line in lines if "No ONNX function" in line or "not supported" in line.lower()]
    return f"{type(inner).__name__}: {' '.join((telling or lines)[:2])}"[:400]


def load_graph(model: Path | bytes) -> Any:
    """The graph of an ONNX file, with the shapes that can be inferred."""
    import onnx

    loaded = onnx.load(model) if isinstance(model, Path) else onnx.load_model_from_string(model)
    with contextlib.suppress(Exception):  # shapes are a help, not a need: operators of a runtime's own have none
        loaded = onnx.shape_inference.infer_shapes(loaded)
    return loaded.graph


def flops_of_nodes(graph: Any, lengths: Mapping[str, int] | None = None) -> dict[str, int]:
    """FLOPs of each product and convolution for one sample, by node name; other kinds are not in it.

    A free axis counts once, or as `lengths` (name of the free size -> size) says; the batch axis always once.
    """
    shapes = _shapes(graph, lengths or {})
    found = {}
    for node in graph.node:
        count = _node_flops(node, shapes)
        if count:
            found[node.name] = count
    return found


def count_kinds(graph: Any) -> dict[str, int]:
    """Nodes by kind, without those that only hold or quantise values."""
    kinds: dict[str, int] = {}
    for node in graph.node:
        if node.op_type not in NO_OPERATORS:
            kinds[node.op_type] = kinds.get(node.op_type, 0) + 1
    return kinds


def eight_bit_ratio(kinds: Mapping[str, int]) -> float | None:
    """8-bit products / all products of an optimised graph, by count; None where it has none."""
    low = sum(count for kind, count in kinds.items() if kind in EIGHT_BITS)
    high = sum(count for kind, count in kinds.items() if kind in HEAVY)
    return low / (low + high) if low + high else None


def boundary_bytes(graph: Any, inside: Iterable[int]) -> int:
    """Bytes of what nodes `inside` (positions) and the others hand to each other, for one sample; weights are not."""
    within = set(inside)
    shapes = _shapes(graph, {})
    sizes = _element_bytes(graph)
    held = {initializer.name for initializer in graph.initializer}
    maker = {name: position for position, node in enumerate(graph.node) for name in node.output}
    crossing = set()
    for position, node in enumerate(graph.node):
        for name in node.input:
            origin = maker.get(name)
            if origin is not None and (origin in within) != (position in within) and name not in held:
                crossing.add(name)
    return sum(math.prod(shapes.get(name, [0])) * sizes.get(name, 4) for name in crossing)


def _shapes(graph: Any, lengths: Mapping[str, int]) -> dict[str, list[int]]:
    shapes = {initializer.name: [int(d) for d in initializer.dims] for initializer in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        sizes = value.type.tensor_type.shape.dim
        shapes[value.name] = [
            int(d.dim_value) if d.HasField("dim_value") else lengths.get(d.dim_param, 1) for d in sizes
        ]
    return shapes


def _element_bytes(graph: Any) -> dict[str, int]:
    import onnx

    found = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type.elem_type
        if kind:
            found[value.name] = int(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize)
    return found


def _node_flops(node: Any, shapes: Mapping[str, Sequence[int]]) -> int:
    results = shapes.get(node.output[0]) if node.output else None
    if not results or node.op_type not in HEAVY or len(node.input) < 2:
        return 0
    weights = shapes.get(node.input[1])
    if not weights:
        return 0
    if "Conv" in node.op_type:
        if node.op_type == "ConvTranspose":  # weights [in, out, ...]: each input is spread over the kernel
            inputs = shapes.get(node.input[0])
            return 2 * math.prod(inputs) * math.prod(weights[1:]) if inputs else 0
        per_result = math.prod(weights[1:])
    else:
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        per_result = weights[-1] if transposed or len(weights) == 1 else weights[-2]
    return 2 * math.prod(results) * per_result

"""What the operators of an exported graph are called, and which of them compute."""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Node

_NO_ARITHMETIC = {
    "alias", "arange", "cat", "clone", "contiguous", "copy", "detach", "dropout", "empty", "expand", "flatten", "full",
    "full_like", "lift_fresh_copy", "masked_fill", "masked_fill_", "new_zeros", "ones", "ones_like", "pad", "permute",
    "repeat", "reshape", "split", "stack", "sym_size", "to", "transpose", "unflatten", "where", "zeros", "zeros_like",
    "_assert_tensor_metadata", "_to_copy", "constant_pad_nd", "index_select", "gather", "embedding", "select", "unbind",
    "bitwise_not", "logical_not", "lift_fresh", "scalar_tensor", "chunk", "feature_dropout", "eye", "tril", "triu",
    "_linalg_check_errors", "im2col", "unfold_copy", "roll", "flip", "new_ones", "new_full", "new_empty", "empty_like",
    "tile", "repeat_interleave", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "index", "movedim", "copy_",
    "detach_", "fill", "fill_", "zero_", "slice_scatter", "select_scatter", "scatter", "unfold", "diagonal_copy",
}  # fmt: skip
_TORCH_NAMESPACES = {"aten", "prim", "prims", "quantized_decomposed", "higher_order", "profiler", "inductor", "mkldnn"}
_ABOUT_SIZES = ("sym_size", "sym_numel", "_assert_scalar", "_assert_tensor_metadata")


def operator_kind(node: Node) -> str:
    """The operator of a node without its overload, as in `linear`."""
    target: Any = node.target
    packet = getattr(target, "overloadpacket", target)
    return str(getattr(packet, "__name__", packet)).removeprefix("aten.")


def is_operator(node: Node) -> bool:
    """Whether a node computes: picking an item and arithmetic on sizes do not."""
    if node.op != "call_function" or not isinstance(
        node.target, torch._ops.OpOverload | torch._ops.HigherOrderOperator
    ):
        return False
    return operator_kind(node) not in _ABOUT_SIZES


def is_about_sizes(node: Node) -> bool:
    """Whether a node tells a size of a tensor, not its values."""
    return operator_kind(node) in _ABOUT_SIZES


def does_arithmetic(kind: str) -> bool:
    """False for operators that only move, make or compare values, which have no FLOPs to count."""
    return kind not in _NO_ARITHMETIC


def moves_only(node: Node) -> bool:
    """Whether a node gives values that it was given, in another place or shape."""
    return bool(getattr(node.target, "is_view", False)) or not does_arithmetic(operator_kind(node))


def custom_ops(program: ExportedProgram) -> list[str]:
    """Operators of the graph that neither torch nor its quantisation brings, as `namespace::name`."""
    found = set()
    for node in program.graph.nodes:
        target: Any = node.target
        is_call = node.op == "call_function" and isinstance(target, torch._ops.OpOverload)
        if is_call and target.namespace not in _TORCH_NAMESPACES:
            found.add(f"{target.namespace}::{operator_kind(node).rpartition('.')[2]}")
    return sorted(found)


def count_ops(program: ExportedProgram) -> int:
    """Tensor operators of the graph; picking an item and arithmetic on sizes are none."""
    return sum(is_operator(node) for node in program.graph.nodes)

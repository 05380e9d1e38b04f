"""How large a model is, read from its exported graph and its module: the evidence of the letter S, and FLOPs for P.

Everything is counted for one sample at the reference shape: dynamic axes at the middle of their range.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import Interpreter, Node
from torch.utils.flop_counter import FlopCounterMode

from plaster_ops.engines.flop_formulas import FORMULAS
from plaster_ops.engines.graph import user_inputs
from plaster_ops.engines.quiet import foreign_warnings_ignored

_NO_ARITHMETIC = {
    "alias", "arange", "cat", "clone", "contiguous", "copy", "detach", "dropout", "empty", "expand", "flatten", "full",
    "full_like", "lift_fresh_copy", "masked_fill", "masked_fill_", "new_zeros", "ones", "ones_like", "pad", "permute",
    "repeat", "reshape", "split", "stack", "sym_size", "to", "transpose", "unflatten", "where", "zeros", "zeros_like",
    "_assert_tensor_metadata", "_to_copy", "constant_pad_nd", "index_select", "gather", "embedding", "select", "unbind",
    "bitwise_not", "logical_not", "lift_fresh", "scalar_tensor", "chunk", "feature_dropout", "eye", "tril", "triu",
    "_linalg_check_errors",
}  # fmt: skip
_NORMS = {"batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"}
_NORMS |= {"native_batch_norm", "_native_batch_norm_legit_no_training", "native_layer_norm", "native_group_norm"}
_TORCH_NAMESPACES = {"aten", "prim", "prims", "quantized_decomposed", "higher_order", "profiler", "inductor", "mkldnn"}
_WHOLE = (nn.MultiheadAttention, nn.RNNBase)


def graph_facts(program: ExportedProgram, module: nn.Module) -> dict[str, Any]:
    """Plain JSON numbers about the model; `module` is the one that was exported.

    `params_count`, `params_trainable_count`: tied parameters once. `weights_bytes`: parameters and buffers.
    `layers_count`: modules with weights that compute (an attention or a recurrent module is one; weights used outside
    a leaf module count by operator). `nodes_count`, `nodes_per_layer_mean`, `nodes_per_layer_max`: output units of
    those layers. `depth_count`: operators on the longest path. `sample_macs`: FLOPs / 2. `flops_by_node_kind`: FLOPs by
    operator. `flops_uncounted_ops`: operators that do arithmetic for which no formula is known. `custom_ops`: operators
    that are not torch's own.
    `connections_effective_count`: non-zero entries of weights with two or more axes. `ops_total`: graph operators.
    """
    walk = _walk(program)
    layers = _layers(program, module, walk.units)
    units = list(layers.values())
    flops = {kind: count for kind, count in sorted(walk.flops.items()) if count}
    parameters = list(module.parameters())
    stored = [*parameters, *module.buffers()]
    return {
        "params_count": sum(p.numel() for p in parameters),
        "params_trainable_count": sum(p.numel() for p in parameters if p.requires_grad),
        "weights_bytes": sum(t.numel() * t.element_size() for t in stored),
        "layers_count": len({_identity(module, name) for name in layers}),
        "depth_count": _depth(program),
        "nodes_count": sum(units),
        "nodes_per_layer_mean": sum(units) / len(units) if units else 0.0,
        "nodes_per_layer_max": max(units, default=0),
        "sample_macs": sum(flops.values()) // 2,
        "flops_by_node_kind": flops,
        "flops_uncounted_ops": sorted(k for k, n in walk.flops.items() if not n and k not in _NO_ARITHMETIC),
        "connections_effective_count": sum(int(torch.count_nonzero(p)) for p in parameters if p.dim() >= 2),
        "ops_total": count_ops(program),
        "custom_ops": custom_ops(program),
    }


def flops_of_nodes(program: ExportedProgram) -> dict[str, int]:
    """FLOPs of every node of the graph that has any, for one sample at the reference shape, by node name."""
    return _walk(program).by_node


def elements_of_nodes(program: ExportedProgram) -> dict[str, int]:
    """Elements that every node of the graph gives for one sample at the reference shape, by node name."""
    return {node.name: count for node, count in _walk(program).units.items()}


def operator_kind(node: Node) -> str:
    """The operator of a node without its overload, as in `linear`."""
    return _kind(node)


def is_operator(node: Node) -> bool:
    """Whether a node computes: picking an item and arithmetic on sizes do not."""
    return _is_operator(node)


def does_arithmetic(kind: str) -> bool:
    """False for operators that only move, make or compare values, which have no FLOPs to count."""
    return kind not in _NO_ARITHMETIC


def custom_ops(program: ExportedProgram) -> list[str]:
    """Operators of the graph that neither torch nor its quantisation brings, as `namespace::name`."""
    found = set()
    for node in program.graph.nodes:
        target: Any = node.target
        is_call = node.op == "call_function" and isinstance(target, torch._ops.OpOverload)
        if is_call and target.namespace not in _TORCH_NAMESPACES:
            found.add(f"{target.namespace}::{_kind(node).rpartition('.')[2]}")
    return sorted(found)


def count_ops(program: ExportedProgram) -> int:
    """Tensor operators of the graph; picking an item and arithmetic on sizes are none."""
    return sum(_is_operator(node) for node in program.graph.nodes)


def traced_inputs(program: ExportedProgram) -> tuple[Tensor, ...]:
    """The flat inputs that the program was traced with; zeros of their shapes where it came from a file."""
    example = program.example_inputs
    if example is not None:
        args, kwargs = example
        return (*args, *kwargs.values())
    values = [node.meta["val"] for node in user_inputs(program)]
    return tuple(torch.zeros([_hint(size) for size in value.shape], dtype=value.dtype) for value in values)


def _hint(size: Any) -> int:
    return size if isinstance(size, int) else int(size.node.hint)


def _is_operator(node: Node) -> bool:
    if node.op != "call_function" or not isinstance(
        node.target, torch._ops.OpOverload | torch._ops.HigherOrderOperator
    ):
        return False
    return _kind(node) not in ("sym_size", "sym_numel", "_assert_scalar", "_assert_tensor_metadata")


def _kind(node: Node) -> str:
    target: Any = node.target
    packet = getattr(target, "overloadpacket", target)
    return str(getattr(packet, "__name__", packet)).removeprefix("aten.")


class _Walk(Interpreter):
    """Runs the graph once; sums FLOPs by kind of operator and notes how many elements each node gave."""

    def __init__(self, program: ExportedProgram, counter: FlopCounterMode) -> None:
        super().__init__(program.graph_module)
        self._counter = counter
        self.flops: dict[str, int] = {}
        self.by_node: dict[str, int] = {}
        self.units: dict[Node, int] = {}

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """An operator that is kept in order by a token runs without it: the counter knows no such wrapping."""
        if target is not torch.ops.higher_order.with_effects:
            return super().call_function(target, args, kwargs)
        token, inner, *given = args
        answer = inner(*given, **kwargs)
        return (token, *answer) if isinstance(answer, tuple) else (token, answer)

    def run_node(self, n: Node) -> Any:
        """One node, with its FLOPs booked under its operator."""
        before = self._counter.get_total_flops()
        result = super().run_node(n)
        if _is_operator(n):
            kind = _kind(n)
            moves = bool(getattr(n.target, "is_view", False))
            spent = int(self._counter.get_total_flops() - before)
            if spent or not moves:
                self.flops[kind] = self.flops.get(kind, 0) + spent
            if spent:
                self.by_node[n.name] = spent
        first = result[0] if isinstance(result, (tuple, list)) and result else result
        self.units[n] = first.numel() if isinstance(first, Tensor) else 0
        return result


def _walk(program: ExportedProgram) -> _Walk:
    counter = FlopCounterMode(display=False, custom_mapping=dict(FORMULAS))
    walk = _Walk(program, counter)
    # The fused recurrent kernels have no formula; without oneDNN the same layers run as counted matrix products.
    with foreign_warnings_ignored(), torch.no_grad(), torch.backends.mkldnn.flags(enabled=False), counter:
        walk.run(*_all_inputs(program))
    return walk


def _all_inputs(program: ExportedProgram) -> list[Any]:
    """Weights, constants and one sample, in the order of the graph's placeholders.

    Operators that may raise are kept in order by tokens: empty tensors.
    """
    sample = (tensor[:1] for tensor in traced_inputs(program))
    state: Mapping[str, Any] = {**program.constants, **program.state_dict}
    return [
        next(sample) if s.kind == InputKind.USER_INPUT else state.get(str(s.target), torch.empty(0))
        for s in program.graph_signature.input_specs
    ]


def _layers(program: ExportedProgram, module: nn.Module, units: Mapping[Node, int]) -> dict[str, int]:
    """Output units by layer; a layer that is applied twice has a second entry `name@1`."""
    weighted = _reads_weights(program)
    layers: dict[str, int] = {}
    open_layers: set[str] = set()
    for node in program.graph.nodes:
        if not _is_operator(node):
            continue
        path = _module_path(node)
        name = path if _is_leaf(module, path) else f"{path}:{node.name}"
        starts = node in weighted and (_kind(node) in _NORMS or _kind(node) == "embedding" or not _moves(node))
        if starts and name not in open_layers and (name == path or _multiplies(node)):
            open_layers.add(name)
            layers[name] = units[node]
        elif name == path and name in open_layers and not _moves(node):
            layers[name] = units[node]
    return layers


def _moves(node: Node) -> bool:
    return bool(getattr(node.target, "is_view", False)) or _kind(node) in _NO_ARITHMETIC - {"embedding"}


def _multiplies(node: Node) -> bool:
    """Whether an operator outside a leaf module is a layer: it multiplies by weights, not merely adds a bias."""
    words = ("linear", "conv", "mm", "matmul", "lstm", "gru", "rnn", "embedding", "norm", "einsum", "attention")
    return any(word in _kind(node) for word in words)


def _reads_weights(program: ExportedProgram) -> set[Node]:
    """Operators that read a parameter, directly or through views of it."""
    parameters = {s.arg.name for s in program.graph_signature.input_specs if s.kind == InputKind.PARAMETER}
    carries: set[Node] = set()
    reads: set[Node] = set()
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in parameters:
            carries.add(node)
        elif _is_operator(node) and any(source in carries for source in node.all_input_nodes):
            reads.add(node)
            if getattr(node.target, "is_view", False):
                carries.add(node)
    return reads


def _module_path(node: Node) -> str:
    stack: Sequence[Any] = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]) if stack else ""


def _is_leaf(module: nn.Module, path: str) -> bool:
    try:
        found = module.get_submodule(path.partition("@")[0])
    except AttributeError:
        return False
    return isinstance(found, _WHOLE) or next(found.children(), None) is None


def _identity(module: nn.Module, name: str) -> Any:
    """What a layer is counted by: its module, however often and under whatever name it is called."""
    path = name.partition("@")[0]
    return id(module.get_submodule(path)) if ":" not in name else name


def _depth(program: ExportedProgram) -> int:
    """Operators on the longest path from an input to an output."""
    depth: dict[Node, int] = {}
    for node in program.graph.nodes:
        own = 1 if _is_operator(node) and node.target is not operator.getitem else 0
        depth[node] = own + max((depth[source] for source in node.all_input_nodes), default=0)
    return max(depth.values(), default=0)

"""Runs an exported graph once, on one sample, and notes what every operator cost, gave and read.

Blocks that torch keeps as graphs of their own (see `blocks`) are entered.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import GraphModule, Interpreter, Node
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from plaster_ops.engines.blocks import BLOCKS, Block, operand_nodes
from plaster_ops.engines.flop_formulas import FORMULAS
from plaster_ops.engines.graph import user_inputs
from plaster_ops.engines.operators import is_about_sizes, is_operator, moves_only, operator_kind
from plaster_ops.engines.quiet import foreign_warnings_ignored


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from.

    `reads_input`: it depends on the user's input, if only on its size; `reads_values`: on more. `has_parameter`: a
    parameter is among what it is made of. `depth`: operators on the longest path from an input to it. `identity`: equal
    for values that are made of the same weights in the same way.
    """

    reads_input: bool
    reads_values: bool
    has_parameter: bool
    depth: int
    identity: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One operator as it ran. `path`, `application`: the module that called it, and which call of that module.

    `units`: elements of its first output. `weights`: values it reads that are made of parameters alone, by identity;
    what a product only adds to its result is left out.
    """

    kind: str
    path: str
    application: Hashable
    flops: int
    units: int
    moves: bool
    reads_input: bool
    weights: tuple[tuple[int, Tensor], ...]


@dataclass(kw_only=True, slots=True)
class Walked:
    """All operators in order, and by node of the outer graph: FLOPs, and elements of its first output."""

    operations: list[Operation] = field(default_factory=list)
    flops_by_node: dict[str, int] = field(default_factory=dict)
    units_by_node: dict[str, int] = field(default_factory=dict)
    depth: int = 0

    def flops_by_kind(self) -> dict[str, int]:
        """FLOPs by operator; 0 for operators without a formula. Operators that only view are left out."""
        found: dict[str, int] = {}
        for operation in self.operations:
            if operation.flops or not operation.moves:
                found[operation.kind] = found.get(operation.kind, 0) + operation.flops
        return dict(sorted(found.items()))


def walk(program: ExportedProgram) -> Walked:
    """Runs the program on one sample at the reference shape."""
    counter = FlopCounterMode(display=False, custom_mapping=dict(FORMULAS))
    notes = _Notes(counter)
    origins = [
        notes.made(
            ("given", str(spec.target or spec.arg.name)),
            reads_input=spec.kind == InputKind.USER_INPUT,
            reads_values=spec.kind == InputKind.USER_INPUT,
            has_parameter=spec.kind == InputKind.PARAMETER,
        )
        for spec in program.graph_signature.input_specs
    ]
    # oneDNN's fused recurrent kernels have no formula; without it the same layers run as counted matrix products.
    fused = torch.backends.mkldnn.flags(enabled=not _is_recurrent(program.graph_module))
    with foreign_warnings_ignored(), torch.no_grad(), fused, counter:
        _Walk(program.graph_module, notes, origins).run(*_all_inputs(program))
    return notes.walked


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


def _all_inputs(program: ExportedProgram) -> list[Any]:
    """Weights, constants and one sample, in the order of the graph's placeholders.

    What a model may write to in place (buffers, its inputs) is a copy, and nothing asks for gradients: the counter's
    hooks need a graph of them. Operators that may raise are kept in order by tokens: empty tensors.
    """
    sample = (tensor[:1].clone() for tensor in traced_inputs(program))
    state: Mapping[str, Any] = {**program.constants, **program.state_dict}
    found: list[Any] = []
    for spec in program.graph_signature.input_specs:
        value = next(sample) if spec.kind == InputKind.USER_INPUT else state.get(str(spec.target), torch.empty(0))
        value = value.detach() if isinstance(value, Tensor) else value
        found.append(value.clone() if spec.kind == InputKind.BUFFER and isinstance(value, Tensor) else value)
    return found


def _is_recurrent(module: torch.nn.Module) -> bool:
    graphs = [found.graph for found in module.modules() if isinstance(found, GraphModule)]
    kinds = {operator_kind(node) for graph in graphs for node in graph.nodes if is_operator(node)}
    return any(word in kind for kind in kinds for word in ("lstm", "gru", "rnn"))


class _Notes:
    """What all graphs of one walk write to."""

    def __init__(self, counter: FlopCounterMode) -> None:
        self.walked = Walked()
        self._counter = counter
        self._identities: dict[Hashable, int] = {}

    def flops_so_far(self) -> int:
        return int(self._counter.get_total_flops())

    def made(
        self, recipe: Hashable, *, reads_input: bool, reads_values: bool, has_parameter: bool, depth: int = 0
    ) -> Origin:
        identity = self._identities.setdefault(recipe, len(self._identities))
        return Origin(reads_input, reads_values, has_parameter, depth, identity)


class _Walk(Interpreter):
    """One graph; `origins` are those of its placeholders, in order."""

    def __init__(self, module: GraphModule, notes: _Notes, origins: Sequence[Origin], *, inner: bool = False) -> None:
        super().__init__(module)
        self._notes, self._inner = notes, inner
        self._given = iter(origins)
        self._origins: dict[Node, Origin] = {}
        self.output_depth = 0

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """An operator that is kept in order by a token runs without it: the counter knows no such wrapping."""
        if target is not torch.ops.higher_order.with_effects:
            return super().call_function(target, args, kwargs)
        token, inner, *given = args
        answer = inner(*given, **kwargs)
        return (token, *answer) if isinstance(answer, tuple) else (token, answer)

    def run_node(self, n: Node) -> Any:
        """One node, with its FLOPs booked under its operator."""
        if n.op == "placeholder":
            self._origins[n] = next(self._given)
        before, entered = self._notes.flops_so_far(), None
        weights = self._weights_read(n) if is_operator(n) else ()
        block = BLOCKS.get(n.target) if n.op == "call_function" else None
        if block is not None:
            entered = self._enter(n, block)
            result, spent, depth = entered
        elif isinstance(n.target, torch._ops.HigherOrderOperator) and not _is_token(n):
            with _disable_current_modes():  # the counter cannot follow these: they are named as uncounted
                result = super().run_node(n)
            spent, depth = 0, 1
        else:
            result = super().run_node(n)
            spent, depth = self._notes.flops_so_far() - before, int(_adds_depth(n))
        if n.op != "placeholder":
            self._origins[n] = self._origin_of(n, depth)
        if n.op == "output":
            self.output_depth = max((self._origins[s].depth for s in n.all_input_nodes), default=0)
            if not self._inner:
                self._notes.walked.depth = self.output_depth
        self._note(n, result, spent, weights, entered=entered is not None)
        return result

    def _note(
        self, n: Node, result: Any, spent: int, weights: tuple[tuple[int, Tensor], ...], *, entered: bool
    ) -> None:
        first = next((leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)), None)
        units = first.numel() if first is not None else 0
        if not self._inner:
            self._notes.walked.units_by_node[n.name] = units
            if spent:
                self._notes.walked.flops_by_node[n.name] = spent
        if not is_operator(n) or entered:
            return
        stack: Mapping[str, Any] = n.meta.get("nn_module_stack") or {}
        paths = [str(path) for path, _ in stack.values()]
        self._notes.walked.operations.append(
            Operation(
                kind=operator_kind(n),
                path=paths[-1].partition("@")[0] if paths else "",
                application=tuple(stack),
                flops=spent,
                units=units,
                moves=moves_only(n),
                reads_input=self._origins[n].reads_input,
                weights=weights,
            )
        )

    def _weights_read(self, n: Node) -> tuple[tuple[int, Tensor], ...]:
        """Values that are made of parameters alone; only where there is none, those made of parameters and sizes."""
        found: list[tuple[Origin, Tensor]] = []
        only_added = n.args[0] if operator_kind(n) in _ADDED_TO else None
        for source in n.all_input_nodes:
            if source is only_added:
                continue
            origin, value = self._origins[source], self.env.get(source)
            if origin.has_parameter and not origin.reads_values and isinstance(value, Tensor):
                found.append((origin, value))
        alone = [(origin, value) for origin, value in found if not origin.reads_input]
        return tuple((origin.identity, value) for origin, value in alone or found)

    def _origin_of(self, n: Node, own_depth: int) -> Origin:
        sources = [self._origins[source] for source in n.all_input_nodes]
        reads_input = any(source.reads_input for source in sources)
        depths = [source.depth for source in sources if source.reads_input]
        changes = getattr(getattr(n.target, "_schema", None), "is_mutable", False)
        recipe = n if reads_input or changes or n.op == "get_attr" else (str(n.target), *_written(n, self._origins))
        return self._notes.made(
            recipe,
            reads_input=reads_input,
            reads_values=any(source.reads_values for source in sources) and not is_about_sizes(n),
            has_parameter=any(source.has_parameter for source in sources),
            depth=own_depth + max(depths, default=0) if reads_input else 0,
        )

    def _enter(self, n: Node, block: Callable[[Sequence[Any]], Block]) -> tuple[Any, int, int]:
        """Runs the graphs inside a block; where there are several, what is booked is the one with most FLOPs."""
        args, _ = self.fetch_args_kwargs_from_env(n)
        found = block(args)
        nodes = operand_nodes(n, len(found.operands))
        origins = [
            self._origins[node] if isinstance(node, Node) else self._notes.made(("plain", repr(node)), **_CONSTANT)
            for node in nodes
        ]
        entry = max((origin.depth for origin in origins), default=0)
        booked = len(self._notes.walked.operations)
        best: tuple[Any, int, int, list[Operation]] | None = None
        for graph in found.graphs:
            before = self._notes.flops_so_far()
            inner = _Walk(graph, self._notes, origins, inner=True)
            with found.context:
                result = inner.run(*found.operands)
            spent = self._notes.flops_so_far() - before
            operations = self._notes.walked.operations[booked:]
            del self._notes.walked.operations[booked:]
            if best is None or spent > best[1]:
                best = result, spent, max(0, inner.output_depth - entry), operations
        assert best is not None
        self._notes.walked.operations.extend(best[3])
        return best[0], best[1], best[2]


_ADDED_TO = {"addmm", "baddbmm", "addbmm", "addmv"}
_CONSTANT: dict[str, bool] = {"reads_input": False, "reads_values": False, "has_parameter": False}


def _is_token(n: Node) -> bool:
    return n.target is torch.ops.higher_order.with_effects


def _adds_depth(n: Node) -> bool:
    return is_operator(n) and n.target is not operator.getitem


def _written(n: Node, origins: Mapping[Node, Origin]) -> tuple[Hashable, ...]:
    """The arguments of a node as text, other nodes by the identity of their values."""

    def plain(value: Any) -> str:
        if isinstance(value, Node):
            return f"%{origins[value].identity}"
        if isinstance(value, (tuple, list)):
            return "[" + ",".join(plain(v) for v in value) + "]"
        return repr(value)

    return (*(plain(a) for a in n.args), *(f"{k}={plain(v)}" for k, v in sorted(n.kwargs.items())))

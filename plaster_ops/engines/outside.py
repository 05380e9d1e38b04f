"""What stays outside an engine, weighed: the FLOPs of the operators it does not take, and what crosses the border."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Node

from plaster_ops.engines.facts import does_arithmetic, elements_of_nodes, flops_of_nodes, is_operator, operator_kind


@dataclass(frozen=True, kw_only=True, slots=True)
class Outside:
    """`operators`: of the graph in all. `flops_ratio`: FLOPs inside / all. `boundary_bytes`: crossing, for one sample.

    `has_flops`: False where no operator has any, and `flops_ratio` is the share of operators. `uncounted`: kinds
    outside that compute and have no FLOP formula, so that `flops_ratio` does not see them.
    """

    operators: int
    flops_ratio: float
    has_flops: bool
    boundary_bytes: int
    uncounted: tuple[str, ...]


def look_outside(program: ExportedProgram, names: Iterable[str]) -> Outside:
    """`names`: operators outside, as the dispatcher (`aten::sort.stable`, `demo::twist`) or a C call names them."""
    wanted = {_plain(name) for name in names}
    nodes = [node for node in program.graph.nodes if is_operator(node)]
    return weigh(program, [node for node in nodes if _names_of(node) & wanted])


def weigh(program: ExportedProgram, outside: Iterable[Node]) -> Outside:
    """The same for given nodes of the graph."""
    left_out = set(outside)
    nodes = [node for node in program.graph.nodes if is_operator(node)]
    flops = flops_of_nodes(program)
    total = sum(flops.values())
    lost = sum(flops.get(node.name, 0) for node in left_out)
    return Outside(
        operators=len(nodes),
        flops_ratio=1.0 - lost / total if total else 1.0 - len(left_out) / max(1, len(nodes)),
        has_flops=total > 0,
        boundary_bytes=_boundary_bytes(program, left_out),
        uncounted=tuple(
            sorted(
                {
                    operator_kind(node)
                    for node in left_out
                    if not flops.get(node.name) and does_arithmetic(operator_kind(node))
                }
            )
        ),
    )


def _plain(name: str) -> str:
    """`aten::sort.stable` and `sort_stable` become the same."""
    return name.rpartition("::")[2].removesuffix(".default").replace(".", "_")


def _names_of(node: Node) -> set[str]:
    target: Any = node.target
    kind = operator_kind(node).rpartition(".")[2]
    overload = getattr(target, "_overloadname", "default")
    return {kind, f"{kind}_{overload}", f"{kind}_out"}


def _boundary_bytes(program: ExportedProgram, outside: set[Node]) -> int:
    """Bytes of every tensor that one side makes and the other reads, counted once; weights do not cross."""
    elements = elements_of_nodes(program)
    crossing = set()
    for node in program.graph.nodes:
        for source in node.all_input_nodes:
            if source.op == "call_function" and (source in outside) != (node in outside) and node.op != "output":
                crossing.add(source)
    return sum(elements.get(node.name, 0) * _itemsize(node) for node in crossing)


def _itemsize(node: Node) -> int:
    value = node.meta.get("val")
    first = value[0] if isinstance(value, (tuple, list)) and value else value
    return first.element_size() if isinstance(first, Tensor) else 0

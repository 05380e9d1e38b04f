"""Identity of a model: a digest of what its graph computes, and one of its weights.

Equal graph digests with other weights are the same architecture; nothing of torch's own naming enters.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx import GraphModule, Node

_SYMBOL = re.compile(r"\b[su]\d+\b")


def user_inputs(program: ExportedProgram) -> tuple[Node, ...]:
    """The placeholders of the model's inputs, in flat order."""
    wanted = set(program.graph_signature.user_inputs)
    return tuple(n for n in program.graph.nodes if n.op == "placeholder" and n.name in wanted)


def user_outputs(program: ExportedProgram) -> tuple[Any, ...]:
    """What the graph returns to the user, in flat order: nodes, or constants."""
    output = next(n for n in program.graph.nodes if n.op == "output")
    kinds = [s.kind for s in program.graph_signature.output_specs]
    return tuple(v for v, kind in zip(output.args[0], kinds, strict=True) if kind == OutputKind.USER_OUTPUT)


def graph_digest(program: ExportedProgram) -> str:
    """SHA-256 of the graph: operators with all arguments, shapes, dtypes, ranges, names and shapes of weights.

    Values of parameters and buffers do not enter, nor do torch's names of nodes and symbols, so two exports of one
    architecture agree. Tensors that are written into the code do: compilers fold them into what they generate.
    """
    writer = _Writer()
    sources = {
        s.arg.name: (s.kind.name, s.target if s.kind != InputKind.USER_INPUT else "")
        for s in program.graph_signature.input_specs
    }
    lines = writer.graph(program.graph_module, sources)
    lines.append(f"structure {program.call_spec.in_spec!s} -> {program.call_spec.out_spec!s}")
    lines += [f"{spec.target} = {digest_of(program.constants[spec.target])}" for spec in _written_in_code(program)]
    ranges = {str(symbol): f"[{bound.lower},{bound.upper}]" for symbol, bound in program.range_constraints.items()}
    lines += [f"{new} in {ranges[old]}" for old, new in writer.symbols.items() if old in ranges]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def all_weights(program: ExportedProgram) -> dict[str, Tensor]:
    """Every value that training may change: parameters and buffers, those that are not stored with a model too."""
    kinds = (InputKind.PARAMETER, InputKind.BUFFER)
    known: Mapping[str, Any] = {**program.constants, **program.state_dict}
    wanted = [str(s.target) for s in program.graph_signature.input_specs if s.kind in kinds]
    return {name: known[name] for name in wanted if isinstance(known.get(name), Tensor)}


def weights_read(program: ExportedProgram) -> set[str]:
    """Names of the parameters and buffers that some operator of the graph reads."""
    kinds = (InputKind.PARAMETER, InputKind.BUFFER)
    targets = {s.arg.name: str(s.target) for s in program.graph_signature.input_specs if s.kind in kinds}
    return {targets[node.name] for node in program.graph.nodes if node.name in targets and node.users}


def _written_in_code(program: ExportedProgram) -> list[Any]:
    specs = program.graph_signature.input_specs
    return [s for s in specs if s.kind == InputKind.CONSTANT_TENSOR and s.target in program.constants]


def digest_of(tensor: Tensor) -> str:
    """SHA-256 over a tensor's dtype, shape and bytes."""
    return weights_digest({"": tensor})


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over every tensor's name, dtype, shape and bytes, by name."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        if tensor.numel():
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


class _Writer:
    """Writes nodes as text with numbers for names; symbols are renamed in order of appearance."""

    def __init__(self) -> None:
        self.symbols: dict[str, str] = {}

    def graph(self, module: GraphModule, sources: Mapping[str, tuple[str, str]]) -> list[str]:
        numbers: dict[Node, int] = {}
        lines: list[str] = []
        for node in module.graph.nodes:
            numbers[node] = len(numbers)
            lines.append(self._line(node, module, numbers, sources))
        return lines

    def _line(
        self, node: Node, module: GraphModule, numbers: Mapping[Node, int], sources: Mapping[str, tuple[str, str]]
    ) -> str:
        target = str(node.target)
        if node.op == "placeholder":
            target = " ".join(sources.get(node.name, ("inner", "")))
        elif node.op == "get_attr":
            target = self._attribute(module, target)
        meta = "" if node.op == "output" else self._meta(node.meta.get("val"))
        args = [self._value(a, numbers) for a in node.args]
        args += [f"{key}={self._value(a, numbers)}" for key, a in sorted(node.kwargs.items())]
        return f"{numbers[node]} {node.op} {target} ({', '.join(args)}) {meta}"

    def _attribute(self, module: GraphModule, name: str) -> str:
        found: Any = module
        for part in name.split("."):
            found = getattr(found, part)
        if isinstance(found, GraphModule):
            return "{" + "; ".join(self.graph(found, {})) + "}"
        return self._meta(found)

    def _value(self, value: Any, numbers: Mapping[Node, int]) -> str:
        if isinstance(value, Node):
            return f"%{numbers[value]}"
        if isinstance(value, (tuple, list)):
            return "[" + ", ".join(self._value(v, numbers) for v in value) + "]"
        if isinstance(value, Mapping):
            return "{" + ", ".join(f"{k}: {self._value(v, numbers)}" for k, v in value.items()) + "}"
        return self._renamed(repr(value))

    def _meta(self, value: Any) -> str:
        if isinstance(value, Tensor):
            sizes = ",".join(self._renamed(str(size)) for size in value.shape)
            return f"{value.dtype}[{sizes}]"
        if isinstance(value, (tuple, list)):
            return "(" + " ".join(self._meta(v) for v in value) + ")"
        return type(value).__name__ if value is None else self._renamed(str(value))

    def _renamed(self, text: str) -> str:
        return _SYMBOL.sub(lambda found: self.symbols.setdefault(found.group(), f"n{len(self.symbols)}"), text)

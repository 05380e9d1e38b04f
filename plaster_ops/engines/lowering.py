"""The exported program once more, in other arithmetic: bf16 or fp16 products by autocast, or 8-bit by quantisation.

What is lowered takes flat inputs and gives flat outputs in the dtypes of the original. Normalisation, softmax and sums
stay in fp32 wherever autocast keeps them there.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind
from torch.utils import _pytree as pytree

from plaster_ops.engines.facts import flops_of_nodes, traced_inputs
from plaster_ops.engines.graph import user_outputs
from plaster_ops.engines.quiet import foreign_warnings_ignored
from plaster_ops.errors import BuildFailed
from plaster_ops.ports import Calibration, EngineSpec

LOW_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast_program(program: ExportedProgram, spec: EngineSpec) -> ExportedProgram:
    """The program with products in the precision of `spec`, casts written out, weights stored in that precision.

    A weight that other operators read in fp32 too is kept in fp32. Raises `BuildFailed` where torch cannot lower it.
    """
    flat = flat_callable(program)
    once = _reexport(_Autocast(flat, program, LOW_DTYPES[spec.precision], spec.device), program, spec)
    halved, kept = _read_as(once, LOW_DTYPES[spec.precision])
    if not halved:
        return once
    _store_as(flat, halved, kept, LOW_DTYPES[spec.precision])
    return _reexport(_Autocast(flat, program, LOW_DTYPES[spec.precision], spec.device), program, spec)


def quantised_program(
    program: ExportedProgram,
    spec: EngineSpec,
    calibration: Calibration,
    prepare: Callable[[Any], Any],
    convert: Callable[[Any], Any],
) -> ExportedProgram:
    """The program with quantisation written out: `prepare` puts observers in, real inputs pass, `convert` ends it."""
    flat = flat_callable(program)
    try:
        with foreign_warnings_ignored(), torch.no_grad():
            observed = prepare(flat)
            for row in calibration_rows(calibration):
                observed(*row)
            return _reexport(_Flat(convert(observed), program), program, spec)
    except BuildFailed:
        raise
    except Exception as error:
        raise BuildFailed(
            f"the model cannot be quantised: {type(error).__name__}: {' '.join(str(error).split())[:300]}",
            "remove int8 from engine.precisions, or see the log of the build",
        ) from error


def calibration_rows(calibration: Calibration, at_once: int = 8) -> Iterator[tuple[Tensor, ...]]:
    """The calibration inputs in batches of two to `at_once`, so that a traced batch axis is never one."""
    for group in calibration:
        rows = int(group[0].shape[0])
        for start in range(0, rows, at_once):
            part = tuple(tensor[start : start + at_once] for tensor in group)
            yield part if int(part[0].shape[0]) > 1 else tuple(torch.cat([tensor, tensor]) for tensor in part)


def flat_callable(program: ExportedProgram) -> Any:
    """The program as a module that takes its inputs one after the other, by position."""
    module: Any = program.module(check_guards=False)
    module._forward_pre_hooks.clear()
    module._forward_pre_hooks_with_kwargs.clear()
    module.graph.set_codegen(torch.fx.graph.CodeGen())
    module.recompile()
    return module


def product_precision(program: ExportedProgram) -> tuple[str, float | None]:
    """What most products of the graph run in, by FLOPs, and the share of FLOPs that is not fp32; None without any."""
    flops = flops_of_nodes(program)
    leaves = {node.name: pytree.tree_leaves(node.meta["val"]) for node in program.graph.nodes if node.name in flops}
    dtypes = {name: found[0].dtype for name, found in leaves.items() if found and isinstance(found[0], Tensor)}
    total = sum(flops.values())
    if not total:
        return "fp32", None
    for name, dtype in LOW_DTYPES.items():
        share = sum(flops[node] for node, found in dtypes.items() if found is dtype) / total
        if share > 0.5:
            return name, share
    return "fp32", 0.0


class _Flat(nn.Module):
    """Flat inputs to flat outputs."""

    def __init__(self, inner: Any, program: ExportedProgram) -> None:
        super().__init__()
        self.inner = inner
        self.dtypes = tuple(node.meta["val"].dtype for node in user_outputs(program))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Outputs in the original's dtypes."""
        found = pytree.tree_leaves(self.inner(*inputs))
        return tuple(output.to(dtype) for output, dtype in zip(found, self.dtypes, strict=True))


class _Autocast(_Flat):
    """The same with products in another dtype."""

    def __init__(self, inner: Any, program: ExportedProgram, dtype: torch.dtype, device: str) -> None:
        super().__init__(inner, program)
        self.dtype = dtype
        self.device = device.partition(":")[0]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Outputs in the original's dtypes."""
        with torch.autocast(self.device, self.dtype, cache_enabled=False):
            found = pytree.tree_leaves(self.inner(*inputs))
        return tuple(output.to(dtype) for output, dtype in zip(found, self.dtypes, strict=True))


def _reexport(module: nn.Module, program: ExportedProgram, spec: EngineSpec) -> ExportedProgram:
    batch = Dim("batch", min=1, max=max(2, spec.batch[2]))
    shapes = []
    for tensor in spec.inputs:
        axes: dict[int, Any] = {0: batch}
        ranges = iter(tensor.ranges)
        for axis, size in enumerate(tensor.shape, start=1):
            if size is None:
                low, high = next(ranges)
                axes[axis] = Dim.DYNAMIC(min=low, max=high)
        shapes.append(axes)
    try:
        with foreign_warnings_ignored(), torch.no_grad():
            lowered = torch.export.export(module, traced_inputs(program), dynamic_shapes=(tuple(shapes),))
            return lowered.run_decompositions({})
    except Exception as error:
        raise BuildFailed(
            f"torch cannot lower the graph to {spec.precision}: {' '.join(str(error).split())[:300]}",
            f"remove {spec.precision} from engine.precisions, or see the log of the build",
        ) from error


def _store_as(module: nn.Module, halved: set[str], kept: set[str], dtype: torch.dtype) -> None:
    """Parameters of the names `halved` get new memory in `dtype`, under every name that they have; the original's are
    left alone. One that is also read under a name in `kept` stays as it is."""
    names: dict[int, list[str]] = {}
    parameters = dict(module.named_parameters(remove_duplicate=False))
    for name, parameter in parameters.items():
        names.setdefault(id(parameter), []).append(name)
    for shared in names.values():
        if halved.isdisjoint(shared) or not kept.isdisjoint(shared):
            continue
        new = nn.Parameter(parameters[shared[0]].detach().to(dtype), requires_grad=False)
        for name in shared:
            owner, _, leaf = name.rpartition(".")
            module.get_submodule(owner)._parameters[leaf] = new


def _read_as(program: ExportedProgram, dtype: torch.dtype) -> tuple[set[str], set[str]]:
    """Names of parameters whose every reader is a cast to `dtype`, and of the others that are read."""
    specs = program.graph_signature.input_specs
    names = {s.arg.name: str(s.target).removeprefix("inner.") for s in specs if s.kind == InputKind.PARAMETER}
    halved: set[str] = set()
    kept: set[str] = set()
    for node in itertools.takewhile(lambda n: n.op == "placeholder", program.graph.nodes):
        casts = [u.target is torch.ops.aten._to_copy.default and u.kwargs.get("dtype") is dtype for u in node.users]
        if node.name in names and casts:
            (halved if all(casts) else kept).add(names[node.name])
    return halved, kept

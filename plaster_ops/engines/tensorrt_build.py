"""The half of the TensorRT backend that does not know torch_tensorrt: the typed graph, its shapes, the files of the
builder, the weighing of a cut.

8-bit graphs are made by nvidia-modelopt, whose quantisers Torch-TensorRT converts;
tests/engines/torch_tensorrt_api.json lists what is used of it.
"""

from __future__ import annotations

import hashlib
import json
import math
import operator
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.export import Dim
from torch.utils._pytree import tree_unflatten

from plaster_ops.engines.blob_cache import cache_folder
from plaster_ops.engines.device import copied, moved_to
from plaster_ops.engines.facts import flops_of_nodes, is_operator, operator_kind
from plaster_ops.engines.graph import user_inputs, user_outputs
from plaster_ops.engines.inputs import axis_ranges, middle_lengths
from plaster_ops.engines.lowering import autocast_program, calibration_rows, product_precision, quantised_program
from plaster_ops.engines.outside import weigh
from plaster_ops.engines.quiet import foreign_warnings_ignored
from plaster_ops.errors import BuildFailed, PlasterError
from plaster_ops.ports import Calibration, Coverage, EngineSpec

if TYPE_CHECKING:
    from torch.export import ExportedProgram

TIMINGS = "timing.cache"
ENGINES = "engines"
_DIGESTS = "engines.json"
CALIBRATED = ("int8", "fp8")
_ENGINE = "_run_on_acc"
_MOST_KEPT = 8
_QUANTISER = "tensorrt.quantize_op"
_LAYERS = {
    "aten.linear.default": "Linear",
    "aten.conv1d.default": "Conv1d",
    "aten.conv1d.padding": "Conv1d",
    "aten.conv2d.default": "Conv2d",
    "aten.conv2d.padding": "Conv2d",
    "aten.conv3d.default": "Conv3d",
    "aten.conv3d.padding": "Conv3d",
}


@contextmanager
def told(what: str, device: str) -> Iterator[None]:
    """On that GPU, without the libraries' warnings; what they raise becomes a `BuildFailed` that begins with `what`."""
    try:
        with foreign_warnings_ignored(), torch.cuda.device(device):
            yield
    except PlasterError:
        raise
    except Exception as error:
        words = " ".join(str(error).split())[:300]
        raise BuildFailed(f"{what}: {type(error).__name__}: {words}", "see the log of the build") from error


@contextmanager
def kept_files(folder: Path, key: str, *, timings: bool) -> Iterator[Path]:
    """Where the builder keeps timings and engines: a folder of that key, of which the eight used last stay.

    Where nobody said where to keep files, a folder beside `folder` that is removed. Without `timings`, earlier ones are
    forgotten. Torch-TensorRT unpickles what it finds, so engines stay only while they are what the last build left.
    """
    base = cache_folder("tensorrt")
    if base is None:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".tensorrt-", ignore_cleanup_errors=True) as work:
            yield Path(work)
        return
    kept = base / key
    kept.mkdir(parents=True, exist_ok=True)
    os.utime(kept)
    newest = sorted(base.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in newest[_MOST_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    if not timings:
        (kept / TIMINGS).unlink(missing_ok=True)
    _forget_unknown_engines(kept)
    yield kept
    if digests := _engine_digests(kept):
        (kept / _DIGESTS).write_text(json.dumps(digests), encoding="utf-8")


def kept_engines(kept: Path) -> int:
    """How many engines the builder keeps in that folder."""
    return len(_engine_digests(kept))


def typed_program(program: ExportedProgram, spec: EngineSpec, calibration: Calibration, *, cast: bool) -> Any:
    """The program as it is compiled: on the device, typed, flat inputs and outputs, traced at `usual_shapes`.

    Without `cast`, fp16 and bf16 stay fp32 here, for the compiler to cast. The original is not touched. Raises
    `BuildFailed` where torch or modelopt cannot make it.
    """
    with foreign_warnings_ignored():
        ours = copied(program)
        ours.example_inputs = tree_unflatten(list(zero_inputs(spec)), ours.call_spec.in_spec)
        ours = moved_to(ours, spec.device)
    if cast and spec.precision in ("fp16", "bf16"):
        return autocast_program(ours, spec)
    with ExitStack() as exporting:

        def prepare(module: Any) -> Any:
            return _quantised(module, spec, calibration) if spec.precision in CALIBRATED else module

        def convert(module: Any) -> Any:
            if spec.precision in CALIBRATED:
                from modelopt.torch.quantization.utils import export_torch_mode

                exporting.enter_context(export_torch_mode())
            return module

        return quantised_program(ours, spec, (), prepare, convert)


def usual_shapes(spec: EngineSpec) -> list[tuple[int, ...]]:
    """What the engines are tuned for: the usual batch, dynamic axes at their middle.

    Neither is below 2, which would be taken for a constant; the batch is the nearest that equals no other axis.
    """
    lengths = [
        tuple(max(2, m) if s is None else m for m, s in zip(middle_lengths(tensor), tensor.shape, strict=True))
        for tensor in spec.inputs
    ]
    taken = {size for length in lengths for size in length}
    near = sorted(range(2, max(2, spec.batch[2]) + 1), key=lambda rows: abs(rows - spec.batch[1]))
    rows = next((rows for rows in near if rows not in taken), near[0])
    return [(rows, *length) for length in lengths]


def profiles(spec: EngineSpec) -> Iterator[tuple[Any, ...]]:
    """Smallest, usual and largest shape, and dtype, of each input."""
    for tensor, usual in zip(spec.inputs, usual_shapes(spec), strict=True):
        low, high = zip(*axis_ranges(tensor, max(2, spec.batch[2])), strict=True)
        yield low, usual, high, getattr(torch, tensor.dtype)


def zero_inputs(spec: EngineSpec) -> tuple[Any, ...]:
    """Inputs of `usual_shapes` to trace with: what is saved keeps them, so no real ones."""
    return tuple(
        torch.zeros(shape, dtype=getattr(torch, tensor.dtype))
        for shape, tensor in zip(usual_shapes(spec), spec.inputs, strict=True)
    )


def output_dtypes(program: ExportedProgram) -> list[str]:
    """Of the flat outputs, as in `float32`."""
    return [str(output.meta["val"].dtype).removeprefix("torch.") for output in user_outputs(program)]


def by_position(module: Any) -> Any:
    """The module with one plain argument an input, so that `dynamic_shapes` fits it."""
    module.graph.set_codegen(torch.fx.graph.CodeGen())
    module.recompile()
    return module


def dynamic_shapes(spec: EngineSpec) -> tuple[dict[int, Any], ...]:
    """The free axes for torch.export: one batch for all inputs, other axes in their ranges."""
    batch = Dim("batch", min=1, max=max(2, spec.batch[2]))
    shapes = []
    for tensor in spec.inputs:
        ranges = iter(axis_ranges(tensor, spec.batch[2])[1:])
        free = [(axis, next(ranges), size) for axis, size in enumerate(tensor.shape, start=1)]
        shapes.append({0: batch} | {axis: Dim.DYNAMIC(min=b[0], max=b[1]) for axis, b, size in free if size is None})
    return tuple(shapes)


def lost_range(program: Any, spec: EngineSpec) -> str:
    """Which axis of a loaded program is narrower than the spec; empty where none is (pytorch/TensorRT#3174)."""
    ranges = {str(symbol): (bounds.lower, bounds.upper) for symbol, bounds in program.range_constraints.items()}
    for tensor, node in zip(spec.inputs, user_inputs(program), strict=True):
        sizes = node.meta["val"].shape
        for axis, (size, (low, high)) in enumerate(zip(sizes, axis_ranges(tensor, spec.batch[2]), strict=True)):
            found = (size, size) if isinstance(size, int) else ranges.get(str(size))
            # torch writes 2 for a free axis from 1 on.
            if found is None or found[0] > max(2, low) or found[1] < high:
                taken = f"{found[0]} to {found[1]} only" if found else "a size that nothing bounds"
                return f"takes axis {axis} of input {tensor.name!r} as {taken}; it was built for {low} to {high}"
    return ""


def typed_as(program: Any, precision: str) -> tuple[str, float | None]:
    """What most products run in, by FLOPs, and the share that runs in `precision`; itself and None without products."""
    found, low = product_precision(program)
    if low is None:
        return precision, None
    if precision not in CALIBRATED:
        return found, 1.0 - low if precision == "fp32" else low
    flops = flops_of_nodes(program)
    products = [node for node in program.graph.nodes if node.name in flops]
    share = sum(flops[node.name] for node in products if _reads(node, precision)) / sum(flops.values())
    return (precision if share > 0.5 else found), share


def cut_coverage(program: Any, parts: Any, total: int, known: float) -> Coverage:
    """Coverage from the module that the lowered `program` was cut into; `known`: the share that has converters.

    The cut is of lowered operators while `total` counts the original's, as for every backend, so counts are scaled by
    the share.
    """
    runs = {
        name: [node for node in part.graph.nodes if is_operator(node)]
        for name, part in parts.named_children()
        if hasattr(part, "graph")
    }
    inside = [nodes for name, nodes in runs.items() if _ENGINE in name]
    outside = [nodes for name, nodes in runs.items() if _ENGINE not in name and nodes]
    left = [node for nodes in outside for node in nodes]
    share = 1.0 - len(left) / max(1, sum(map(len, runs.values())))
    names = {node.name for node in left}
    found = [node for node in program.graph.nodes if node.name in names]
    coverage = Coverage(
        ops_total=total,
        ops_in_engine=math.floor(total * share),
        ops_supported=math.floor(total * known),
        flops_ratio=share,
        has_flops=not left,
        engines=len(inside),
        segments=len(outside),
        fallback_ops=tuple(sorted({operator_kind(node) for node in left})),
        boundary_bytes=None if left else 0,
    )
    # By FLOPs where every node outside leads back to one of the program; later passes may have made new ones, then by
    # the number of operators, and what crosses is not known.
    if not left or len(found) != len(left):
        return coverage
    weighed = weigh(program, found)
    return replace(
        coverage,
        flops_ratio=weighed.flops_ratio,
        has_flops=weighed.has_flops,
        boundary_bytes=weighed.boundary_bytes,
        uncounted_ops=weighed.uncounted,
    )


def with_layers(module: Any) -> Any:
    """The graph with its linear and convolution operators as modules: modelopt puts quantisers into nothing else."""
    for node in list(module.graph.nodes):
        layer = _layer(node, module)
        if layer is not None:
            name = f"layer_{node.name}"
            module.add_module(name, layer)
            with module.graph.inserting_before(node):
                node.replace_all_uses_with(module.graph.call_module(name, (node.args[0],)))
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    return torch.fx.GraphModule(module, module.graph)


def _engine_digests(kept: Path) -> dict[str, str]:
    files = sorted(path for path in (kept / ENGINES).rglob("*") if path.is_file())
    return {path.relative_to(kept).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _forget_unknown_engines(kept: Path) -> None:
    try:
        known = json.loads((kept / _DIGESTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    if _engine_digests(kept) != known:
        shutil.rmtree(kept / ENGINES, ignore_errors=True)
        (kept / _DIGESTS).unlink(missing_ok=True)


def _layer(node: Any, module: Any) -> Any | None:
    """The module that computes the node from the same weights; None for other nodes, and weights that are computed."""
    kind = _LAYERS.get(str(node.target))
    if kind is None or node.kwargs:
        return None
    stored = [
        operator.attrgetter(str(given.target))(module) if getattr(given, "op", "") == "get_attr" else given
        for given in (*node.args[1:], None)[: max(2, len(node.args) - 1)]
    ]
    weight, bias, *how = stored
    if not isinstance(weight, torch.nn.Parameter) or not isinstance(bias, torch.nn.Parameter | None):
        return None
    sizes: tuple[Any, ...] = (weight.shape[1], weight.shape[0])
    if kind != "Linear":
        plain: list[Any] = [(1,), (0,), (1,), 1]
        stride, padding, dilation, groups = [*how, *plain[len(how) :]]
        padded = padding if isinstance(padding, str) else tuple(padding)
        sizes = (weight.shape[1] * groups, weight.shape[0], tuple(weight.shape[2:]))
        sizes = (*sizes, tuple(stride), padded, tuple(dilation), groups)
    layer = getattr(torch.nn, kind)(*sizes, bias=bias is not None, device="meta")
    layer.weight, layer.bias = weight, bias
    return layer


def _quantised(module: Any, spec: EngineSpec, calibration: Calibration) -> Any:
    import modelopt.torch.quantization as mtq

    def calibrate(observed: Any) -> None:
        for row in calibration_rows(calibration):
            observed(*(tensor.to(spec.device) for tensor in row))

    config = mtq.INT8_DEFAULT_CFG if spec.precision == "int8" else mtq.FP8_DEFAULT_CFG
    return mtq.quantize(with_layers(module), config, forward_loop=calibrate)


def _reads(node: Any, precision: str) -> bool:
    """Whether both factors of a product are quantised in that way."""
    kinds = [_quantised_as(source) for source in node.all_input_nodes]
    return kinds.count(precision) >= min(2, len(kinds))


def _quantised_as(node: Any) -> str:
    while getattr(node.target, "is_view", False):
        node = node.args[0]
    if not str(node.target).startswith(_QUANTISER):
        return ""
    exponent_bits = node.args[3]
    return "fp8" if exponent_bits else "int8"

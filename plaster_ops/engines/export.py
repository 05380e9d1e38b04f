"""From a module to the exported program that every backend starts from, and back to the structure of its outputs.

Traced in eval mode with the batch axis free from 1 to the largest batch, so one engine serves all batches. Attention's
fused inference path is switched off: it cannot be converted, and it answers differently only at padded positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree

from plaster_ops.engines.facts import graph_facts
from plaster_ops.engines.graph import graph_digest, user_inputs, user_outputs, weights_digest
from plaster_ops.engines.inputs import (
    as_inputs,
    axis_ranges,
    flatten_inputs,
    input_names,
    input_specs,
    middle_lengths,
    resize,
)
from plaster_ops.engines.quiet import foreign_warnings_ignored
from plaster_ops.errors import BuildFailed
from plaster_ops.ports import TensorSpec

__all__ = [
    "as_inputs",
    "export_program",
    "flatten_inputs",
    "graph_digest",
    "graph_facts",
    "input_names",
    "input_specs",
    "load_program",
    "output_names",
    "output_structure",
    "run_eager",
    "save_program",
    "unflatten",
    "weights_digest",
]

_ADVICE = (
    "Caused by",
    "File ",
    "Suggested fixes",
    "The error above",
    "The following call",
    "consider using",
    "For extended logs",
    "For C++ stack",
    "For more",
    "If you suspect",
)


def export_program(module: nn.Module, example: Any, specs: Sequence[TensorSpec], max_batch: int) -> ExportedProgram:
    """The module as a graph. `example`: real inputs of at least one sample, as `sample_batch` returns them.

    Every input's batch axis is one free size in 1..max(2, max_batch); dynamic axes are free in their ranges, equal
    where the model needs them equal. The module is left as it was found. Raises `BuildFailed` with the reason in a few
    lines where torch.export refuses, the batch size became a constant, or an output is no batch of tensors.
    """
    args, kwargs = as_inputs(example)
    flat = _trace_inputs((*args, *kwargs.values()), specs, max_batch)
    batch = Dim("batch", min=1, max=max(2, max_batch))
    shapes = [_dynamic_shapes(spec, batch) for spec in specs]
    with _as_served(module), foreign_warnings_ignored():
        try:
            program = torch.export.export(
                module,
                flat[: len(args)],
                dict(zip(kwargs, flat[len(args) :], strict=True)),
                dynamic_shapes=dict(zip(kwargs, shapes, strict=True)) if kwargs else tuple(shapes),
            )
        except Exception as error:
            raise _refused(error) from error
    _check_ranges(program, specs, max_batch)
    _check_outputs(program)
    return program


def run_eager(module: nn.Module, value: Any) -> Any:
    """What `module` itself answers to inputs as `sample_batch` returns them: the reference of every engine.

    In eval mode, without gradients, by the same path through attention that was exported.
    """
    args, kwargs = as_inputs(value)
    with _as_served(module), torch.no_grad():
        return module(*args, **kwargs)


def save_program(program: ExportedProgram, file: Path) -> None:
    """Writes the program, weights included, to `file` (.pt2). Raises `BuildFailed` where torch cannot serialise it.

    The inputs that it was traced with are the user's data and stay out of the file.
    """
    example, program._example_inputs = program._example_inputs, None
    try:
        with foreign_warnings_ignored():
            torch.export.save(program, file)
    except Exception as error:
        raise BuildFailed(
            f"the exported graph cannot be written: {_first_lines(str(error))}",
            "return plain tensors, tuples, lists or dicts from forward",
        ) from error
    finally:
        program._example_inputs = example


def load_program(file: Path) -> ExportedProgram:
    """The program that `save_program` wrote. Raises `BuildFailed` for a file that is none."""
    try:
        with foreign_warnings_ignored():
            return torch.export.load(file)
    except Exception as error:
        raise BuildFailed(
            f"{file} is no exported program: {_first_lines(str(error))}", "export the model again: plaster-ops retrain"
        ) from error


def output_names(program: ExportedProgram) -> tuple[str, ...]:
    """One name per flat output: `output` for a bare tensor, else the path of keys and positions, as in `heads.0`."""
    spec = program.call_spec.out_spec
    leaves = pytree.tree_unflatten(list(range(spec.num_leaves)), spec)
    paths, _ = pytree.tree_flatten_with_path(leaves)
    return tuple(".".join(_key_text(key) for key in path) or "output" for path, _ in paths)


def output_structure(program: ExportedProgram) -> str:
    """How the user's outputs nest, as a JSON text for `unflatten`."""
    return str(pytree.treespec_dumps(program.call_spec.out_spec))


def unflatten(program: ExportedProgram | str, flat: Sequence[Tensor]) -> Any:
    """Flat outputs in the structure that `forward` returns. Takes the program, or its `output_structure`."""
    spec = pytree.treespec_loads(program) if isinstance(program, str) else program.call_spec.out_spec
    return pytree.tree_unflatten(list(flat), spec)


def _key_text(key: Any) -> str:
    return str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key))))


def _trace_inputs(flat: tuple[Tensor, ...], specs: Sequence[TensorSpec], max_batch: int) -> tuple[Tensor, ...]:
    """Inputs to trace with: a batch of at least two that equals no other size, dynamic axes at their middle.

    Sizes 0 and 1 would be taken for constants.
    """
    if len(flat) != len(specs):
        raise BuildFailed(f"{len(specs)} inputs are declared, the example has {len(flat)}", "see sample_batch")
    lengths = [
        tuple(max(2, m) if s is None else m for m, s in zip(middle_lengths(spec), spec.shape, strict=True))
        for spec in specs
    ]
    taken = {size for length in lengths for size in length}
    rows = next((n for n in (2, 3, 5, 7, 11) if n <= max_batch and n not in taken), 2)
    return tuple(resize(t.detach().cpu(), (rows, *length)) for t, length in zip(flat, lengths, strict=True))


def _dynamic_shapes(spec: TensorSpec, batch: Any) -> dict[int, Any]:
    axes: dict[int, Any] = {0: batch}
    ranges = iter(spec.ranges)
    for axis, size in enumerate(spec.shape, start=1):
        if size is None:
            low, high = next(ranges)
            axes[axis] = Dim.DYNAMIC(min=low, max=high)
    return axes


@contextmanager
def _as_served(module: nn.Module) -> Iterator[None]:
    """The module in eval mode on the CPU, without the references to a Trainer that a LightningModule keeps."""
    modes = {m: m.training for m in module.modules()}
    hidden = {name: module.__dict__[name] for name in ("_trainer", "_fabric") if module.__dict__.get(name) is not None}
    for name in hidden:
        module.__dict__[name] = None
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    module.eval()
    try:
        with torch.no_grad() if not any(p.requires_grad for p in module.parameters()) else nullcontext():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        module.__dict__.update(hidden)
        for part, training in modes.items():
            part.training = training


def _refused(error: Exception) -> BuildFailed:
    text = str(error)
    if "specialized it to be a constant" in text and "batch" in text:
        return BuildFailed(
            f"the model fixes its batch size, so one engine cannot serve every batch: {_first_lines(text)}",
            "let forward take the batch from its input, as in x.shape[0] or x.flatten(1)",
        )
    return BuildFailed(
        f"torch.export cannot trace the model: {type(error).__name__}: {_first_lines(text)}{_user_line(text)}",
        "write forward without Python branches on tensor values (torch.where, masks); "
        "torch.export.draft_export(model, inputs) lists everything that hinders",
    )


def _first_lines(text: str, most: int = 2) -> str:
    """The reason without torch's advice on itself: up to `most` lines in one, 300 characters at most."""
    lines = [line.partition("For more information")[0].partition(" If you're using")[0] for line in text.splitlines()]
    telling = [line.strip(" -") for line in lines if line.strip(" -") and not line.lstrip(" -").startswith(_ADVICE)]
    return " ".join(telling[:most])[:300]


def _user_line(text: str) -> str:
    """` (file.py:12: code)` of the user's line that torch names, or nothing."""
    _, found, rest = text.partition("The following call raised this error:")
    lines = [line.strip() for line in rest.splitlines() if line.strip()] if found else []
    if len(lines) < 2 or not lines[0].startswith("File "):
        return ""
    file, _, where = lines[0].removeprefix("File ").partition(", line ")
    return f" ({Path(file.strip(chr(34))).name}:{where.partition(',')[0]}: {lines[1]})"


def _check_ranges(program: ExportedProgram, specs: Sequence[TensorSpec], max_batch: int) -> None:
    """torch may tie the batch to another axis, or narrow a range, without a word."""
    values = [node.meta["val"] for node in user_inputs(program)]
    batch = str(values[0].shape[0])
    if any(str(v.shape[0]) != batch for v in values) or any(str(n) == batch for v in values for n in v.shape[1:]):
        raise BuildFailed(
            f"the model ties its batch size to another axis: {', '.join(_shape_text(v) for v in values)}",
            "let forward compare no other axis with the batch",
        )
    ranges = {str(symbol): bounds for symbol, bounds in program.range_constraints.items()}
    for spec, value in zip(specs, values, strict=True):
        for axis, (size, (low, high)) in enumerate(zip(value.shape, axis_ranges(spec, max_batch), strict=True)):
            found = ranges.get(str(size))
            # torch writes 2 for a free axis from 1 on, and traces it the same.
            if found is not None and not (found.lower <= max(2, low) and high <= found.upper):
                raise BuildFailed(
                    f"the model takes axis {axis} of input {spec.name!r} from {found.lower} to {found.upper} only, "
                    f"not from {low} to {high}",
                    "declare the range that it takes as dynamic_axes of the pipeline",
                )


def _check_outputs(program: ExportedProgram) -> None:
    spec = program.call_spec.out_spec
    strange = sorted(set(_strange_containers(pytree.tree_unflatten([0] * spec.num_leaves, spec))))
    if strange:
        raise BuildFailed(
            f"forward returns {', '.join(strange)}, which no engine can give back",
            "return a tensor, or tuples, lists and dicts of tensors",
        )
    outputs = user_outputs(program)
    if not outputs:
        raise BuildFailed("forward returns no tensor", "return the tensors that are served")
    batch = str(user_inputs(program)[0].meta["val"].shape[0])
    for name, output in zip(output_names(program), outputs, strict=True):
        value = output.meta["val"] if isinstance(output, torch.fx.Node) else output
        if not isinstance(value, Tensor):
            raise BuildFailed(
                f"output {name!r} of forward is {type(value).__name__}, not a tensor",
                "return tensors only from forward",
            )
        if value.dim() == 0 or str(value.shape[0]) != batch:
            raise BuildFailed(
                f"output {name!r} of forward has shape {_shape_text(value)} without the batch as its first axis",
                "return one row per sample from forward; losses and averages belong in training_step",
            )


def _strange_containers(value: Any) -> Iterator[str]:
    """Names of the types in an output that are none of tuple, list and dict; leaves are ints here."""
    if type(value) in (tuple, list):
        parts = list(value)
    elif type(value) is dict:
        parts = list(value.values())
    else:
        parts = []
        if not isinstance(value, int):
            yield type(value).__name__
    for part in parts:
        yield from _strange_containers(part)


def _shape_text(value: Tensor) -> str:
    return str([str(size) for size in value.shape]).replace("'", "")

"""The inputs of a model: from what a pipeline returns to flat tensors, their declared shapes, the check at the door.

An input's first axis is the batch. Flat order is the order of `forward`'s arguments as the pipeline gave them: a tuple
in its order, a dict in the order of its keys.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from plaster_ops.errors import DataError, PipelineError
from plaster_ops.ports import TensorSpec


def as_inputs(value: Any) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """`(args, kwargs)` for `forward`: a tensor and a tuple are positional, a dict is by keyword.

    Raises `PipelineError` where anything in it is no tensor.
    """
    args: tuple[Any, ...]
    if isinstance(value, Mapping):
        args, kwargs = (), {str(name): tensor for name, tensor in value.items()}
    elif isinstance(value, (tuple, list)):
        args, kwargs = tuple(value), {}
    else:
        args, kwargs = (value,), {}
    wrong = [type(t).__name__ for t in (*args, *kwargs.values()) if not isinstance(t, Tensor)]
    if wrong or not (args or kwargs):
        raise PipelineError(
            f"sample_batch returned {', '.join(wrong) or 'nothing'} where tensors are needed",
            "return a tensor, a flat tuple of tensors, or a dict of tensors, batch first",
        )
    return args, kwargs


def flatten_inputs(value: Any) -> tuple[Tensor, ...]:
    """The tensors of `as_inputs` in flat order."""
    args, kwargs = as_inputs(value)
    return (*args, *kwargs.values())


def input_names(module: torch.nn.Module, value: Any) -> tuple[str, ...]:
    """One name per flat input: the parameter of `forward`, the key of the dict, or `input<k>`."""
    args, kwargs = as_inputs(value)
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    known = [p.name for p in inspect.signature(module.forward).parameters.values() if p.kind in kinds]
    positional = [known[k] if k < len(known) else f"input{k}" for k in range(len(args))]
    return (*positional, *kwargs)


def input_specs(
    batches: Sequence[tuple[Tensor, ...]],
    dynamic_axes: Mapping[Any, Mapping[Any, Sequence[int]]] | None = None,
    names: Sequence[str] | None = None,
) -> tuple[TensorSpec, ...]:
    """What the model's inputs look like, from several real batches of flat inputs.

    An axis other than the batch whose size differs between batches is dynamic, with the sizes seen as its range.
    `dynamic_axes` = `{input position or name: {axis: (min, max)}}` (axis 0 is the batch) makes an axis dynamic or
    widens its range. Raises `PipelineError` where batches differ in count, rank or dtype, or a declaration fits no
    input.
    """
    if not batches or not batches[0]:
        raise PipelineError("there is not one batch of inputs", "let sample_batch(n) return the inputs of n samples")
    count = len(batches[0])
    given = tuple(names) if names is not None else tuple(f"input{k}" for k in range(count))
    if any(len(batch) != count for batch in batches) or len(given) != count:
        sizes = sorted({len(batch) for batch in batches})
        raise PipelineError(f"batches hold {sizes} inputs, names are {list(given)}", "give every batch the same inputs")
    declared = _declared_ranges(dynamic_axes or {}, given)
    return tuple(_spec(given[k], [batch[k] for batch in batches], declared.get(k, {})) for k in range(count))


def _declared_ranges(
    dynamic_axes: Mapping[Any, Mapping[Any, Sequence[int]]], names: Sequence[str]
) -> dict[int, dict[int, tuple[int, int]]]:
    positions = {name: k for k, name in enumerate(names)} | {str(k): k for k in range(len(names))}
    ranges: dict[int, dict[int, tuple[int, int]]] = {}
    for key, axes in dynamic_axes.items():
        if str(key) not in positions:
            raise PipelineError(
                f"dynamic_axes names input {key!r}, which the model does not have", f"its inputs are {', '.join(names)}"
            )
        for axis, bounds in axes.items():
            low, high = (int(bound) for bound in bounds)
            if int(axis) < 1 or not 1 <= low <= high:
                raise PipelineError(
                    f"dynamic_axes of {key!r}: axis {axis} with range ({low}, {high})",
                    "axes count from 1 (0 is the batch, always dynamic), and 1 <= min <= max",
                )
            ranges.setdefault(positions[str(key)], {})[int(axis)] = (low, high)
    return ranges


def _spec(name: str, tensors: Sequence[Tensor], declared: Mapping[int, tuple[int, int]]) -> TensorSpec:
    ranks = {tensor.dim() for tensor in tensors}
    dtypes = {tensor.dtype for tensor in tensors}
    if len(ranks) != 1 or len(dtypes) != 1 or 0 in ranks:
        found = ", ".join(sorted({f"{_dtype_name(t)}{list(t.shape)}" for t in tensors}))
        raise PipelineError(f"input {name!r} is {found}", "give it one dtype and one number of axes, batch first")
    rank = tensors[0].dim()
    if any(axis >= rank for axis in declared):
        raise PipelineError(f"dynamic_axes of {name!r} names axis {max(declared)}, it has {rank} axes", "count from 1")
    shape: list[int | None] = []
    ranges: list[tuple[int, int]] = []
    for axis in range(1, rank):
        seen = [int(tensor.shape[axis]) for tensor in tensors]
        low, high = min(seen), max(seen)
        if axis in declared:
            low, high = min(low, declared[axis][0]), max(high, declared[axis][1])
        shape.append(low if low == high else None)
        if low != high:
            ranges.append((low, high))
    return TensorSpec(name=name, dtype=_dtype_name(tensors[0]), shape=tuple(shape), ranges=tuple(ranges))


def _dtype_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def axis_ranges(spec: TensorSpec, max_batch: int) -> tuple[tuple[int, int], ...]:
    """(min, max) of every axis, the batch axis first."""
    dynamic = iter(spec.ranges)
    return ((1, max_batch), *(next(dynamic) if size is None else (size, size) for size in spec.shape))


def middle_lengths(spec: TensorSpec) -> tuple[int, ...]:
    """The shape without the batch axis, a dynamic axis at the middle of its range."""
    dynamic = iter(spec.ranges)
    return tuple(sum(next(dynamic)) // 2 if size is None else size for size in spec.shape)


def resize(tensor: Tensor, sizes: Sequence[int]) -> Tensor:
    """`tensor` cut or repeated along each axis to `sizes`; values stay real ones."""
    for axis, size in enumerate(sizes):
        have = int(tensor.shape[axis])
        if have != size:
            tensor = tensor.index_select(axis, torch.arange(size) % have)
    return tensor.contiguous()


class InputGuard:
    """Refuses tensors that the engine was not built for, at a cost of well under a microsecond per input.

    Compiled engines trust their callers: a wrong shape or stride reads foreign memory instead of raising.
    """

    def __init__(self, specs: Sequence[TensorSpec], max_batch: int) -> None:
        self._names = [spec.name for spec in specs]
        self._dtypes = [getattr(torch, spec.dtype) for spec in specs]
        self._ranges = [axis_ranges(spec, max_batch) for spec in specs]
        self._accepted: list[torch.Size] = []

    def admit(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The inputs, contiguous. Raises `DataError` naming the first input of a wrong shape or dtype."""
        accepted = self._accepted
        if accepted and len(accepted) == len(inputs):
            for tensor, shape, dtype in zip(inputs, accepted, self._dtypes, strict=True):
                if tensor.shape != shape or tensor.dtype is not dtype or not tensor.is_contiguous():
                    break
            else:
                return inputs
        return self._inspect(inputs)

    def _inspect(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if len(inputs) != len(self._names):
            raise DataError(f"the engine takes {len(self._names)} inputs, got {len(inputs)}", "pass all, in order")
        for name, tensor, dtype, ranges in zip(self._names, inputs, self._dtypes, self._ranges, strict=True):
            fits = tensor.dim() == len(ranges) and all(
                low <= size <= high for size, (low, high) in zip(tensor.shape, ranges, strict=True)
            )
            if not fits or tensor.dtype is not dtype:
                wanted = ", ".join(str(low) if low == high else f"{low}..{high}" for low, high in ranges)
                raise DataError(
                    f"input {name!r} is {tensor.dtype}{list(tensor.shape)}, the engine takes {dtype}[{wanted}]",
                    "declare the wider range as dynamic_axes of the pipeline, or raise max_batch, and build again",
                )
        if len({int(tensor.shape[0]) for tensor in inputs}) > 1:
            raise DataError(
                f"inputs differ in samples: {[int(t.shape[0]) for t in inputs]}", "give each input the same batch"
            )
        self._accepted = [tensor.shape for tensor in inputs]
        return tuple(tensor.contiguous() for tensor in inputs)

"""Which parts of a batch are the inputs of forward and which its targets, found by calling forward with them."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from plaster_ops.data.batches import split_batch
from plaster_ops.errors import PlasterError
from plaster_ops.flow.stages.inspecting.trouble import trouble

_TARGETS = {"y", "label", "labels", "target", "targets", "ys", "gt", "truth", "class", "classes", "output", "outputs"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A tensor in a batch and the expression that reaches it from `batch`."""

    text: str
    tensor: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """One way to read a batch: `names` empty: inputs are positional. `wrap`: forward takes them in one container,
    "dict" or "list", of which the pipeline makes arguments by name. `width`: parts of that list."""

    inputs: tuple[Part, ...]
    targets: tuple[Part, ...]
    names: tuple[str, ...] = ()
    wrap: str = ""
    width: int = 0
    outputs: Any = field(default=None, compare=False)

    @property
    def value(self) -> Any:
        """The inputs as `sample_batch` would return them."""
        if self.names:
            return {name: part.tensor for name, part in zip(self.names, self.inputs, strict=True)}
        return self.inputs[0].tensor if len(self.inputs) == 1 else tuple(part.tensor for part in self.inputs)


def read_batch(model: nn.Module, batch: Any) -> tuple[Reading | None, str]:
    """The first reading that forward accepts, with what it answered; else None and what each one met.

    A batch of one tensor is its own target where forward gives it back in its shape, as an autoencoder does.
    """
    alone = next(leaves(batch, "batch")) if _is_alone(batch) else None
    met: list[str] = []
    for reading in _readings(model, batch) if alone is None else [Reading(inputs=(alone,), targets=(alone,))]:
        try:
            outputs = _try(model, reading)
        except Exception as error:
            met.append(f"forward({', '.join(part.text for part in reading.inputs)}): {trouble(error)}")
            continue
        if not _answers(outputs, reading):
            met.append(f"forward({', '.join(part.text for part in reading.inputs)}) gave no row per sample")
            continue
        if alone is not None and not any(part.tensor.shape == alone.tensor.shape for part in leaves(outputs, "")):
            met.append(f"a batch is one tensor {list(alone.tensor.shape)}: it holds no targets")
            continue
        if not reading.targets:
            met.append("no tensor is left that could be a target")
            continue
        return replace(reading, outputs=outputs), ""
    return None, "; ".join(dict.fromkeys(met)) or f"a batch is a {type(batch).__name__} without tensors"


def read_alike(reading: Reading, batch: Any, model: nn.Module | None = None) -> Reading | None:
    """Another batch read in the same way, answered where `model` is given; None where it has another form."""
    try:
        inputs, targets = (
            tuple(Part(text=part.text, tensor=eval(part.text, {"batch": batch})) for part in parts)
            for parts in (reading.inputs, reading.targets)
        )
        found = replace(reading, inputs=inputs, targets=targets, outputs=None)
        return found if model is None else replace(found, outputs=_try(model, found))
    except Exception:
        return None


def needs_split(batch: Any, reading: Reading, target: Part) -> bool:
    """Whether plaster-ops would read the batch in another way by itself."""
    try:
        inputs, targets = split_batch(batch, reading.value)
    except PlasterError:
        return True
    if not isinstance(targets, Tensor) or targets is not target.tensor:
        return True
    mine, theirs = _flat(reading.value), _flat(inputs)
    return len(mine) != len(theirs) or any(a is not b for a, b in zip(mine, theirs, strict=True))


def leaves(value: Any, text: str) -> Iterator[Part]:
    """Every tensor in nested tuples, lists, mappings and plain objects, with its expression."""
    if isinstance(value, Tensor):
        yield Part(text=text, tensor=value)
        return
    for key, part in children(value):
        yield from leaves(part, f"{text}{key}")


def children(value: Any) -> list[tuple[str, Any]]:
    """What a container holds: `[0]`, `["x"]` or `.x`, and the part."""
    if isinstance(value, Mapping):
        return [(f'["{key}"]' if isinstance(key, str) else f"[{key!r}]", part) for key, part in value.items()]
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [(f"[{k}]", part) for k, part in enumerate(value)]
    if hasattr(value, "__dict__"):
        return [(f".{name}", part) for name, part in vars(value).items() if not name.startswith("_")]
    return []


def _is_alone(batch: Any) -> bool:
    return isinstance(batch, Tensor) or (isinstance(batch, Sequence) and len(list(leaves(batch, ""))) == 1)


def _readings(model: nn.Module, batch: Any) -> Iterator[Reading]:
    if isinstance(batch, Sequence):
        yield from _of_sequence(model, batch)
    else:
        yield from _of_named(model, batch)


def _of_sequence(model: nn.Module, batch: Sequence[Any]) -> Iterator[Reading]:
    parts = [list(leaves(part, f"batch[{k}]")) for k, part in enumerate(batch)]
    rest = [tuple(part for group in parts[k:] for part in group) for k in range(len(parts) + 1)]
    if parts and isinstance(batch[0], Mapping):
        yield from _by_name(model, batch[0], "batch[0]", rest[1])
    elif parts and isinstance(batch[0], tuple | list):
        yield Reading(inputs=tuple(parts[0]), targets=rest[1])
    for k in _widths(model, len(batch)):
        if all(len(group) == 1 for group in parts[:k]):
            yield Reading(inputs=tuple(group[0] for group in parts[:k]), targets=rest[k])
    for k in range(1, len(batch)):  # forward takes the batch as it is: the fewest leading parts that it can do with
        if all(len(group) == 1 for group in parts[:k]):
            inputs = tuple(group[0] for group in parts[:k])
            names = tuple(f"part{n}" for n in range(k))
            yield Reading(inputs=inputs, targets=rest[k], names=names, wrap="list", width=len(batch))


def _of_named(model: nn.Module, batch: Any) -> Iterator[Reading]:
    yield from _by_name(model, batch, "batch", ())


def _by_name(model: nn.Module, batch: Any, text: str, targets: tuple[Part, ...]) -> Iterator[Reading]:
    """Readings of a mapping (or an object with attributes): by the names of forward's arguments, one bare tensor, all
    by keyword, or the mapping itself. What is not an input and looks like a target comes first of the targets."""
    named = {
        key.strip('[]".'): Part(text=f"{text}{key}", tensor=t) for key, t in children(batch) if isinstance(t, Tensor)
    }
    nested = [
        part
        for key, value in children(batch)
        if not isinstance(value, Tensor)
        for part in leaves(value, f"{text}{key}")
    ]

    def reading(keys: Sequence[str], *, by_name: bool, wrap: str = "") -> Reading:
        left = sorted((k for k in named if k not in keys), key=lambda k: k.lower() not in _TARGETS)
        return Reading(
            inputs=tuple(named[k] for k in keys),
            targets=targets or (*(named[k] for k in left), *nested),
            names=tuple(keys) if by_name else (),
            wrap=wrap,
        )

    wanted = _arguments(model)
    candidates = [key for key in named if key.lower() not in _TARGETS]
    matching = [key for key in wanted if key in candidates]
    if matching:
        yield reading(matching, by_name=True)
    required = sum(p.default is inspect.Parameter.empty for p in wanted.values())
    if required <= 1:
        for key in candidates:
            yield reading([key], by_name=False)
    if _takes_keywords(model):
        yield reading(candidates, by_name=True)
    for keys in (candidates, list(named)):  # some count a loss where the labels are there, and do without them
        asked = _asked_keys(model, {key: named[key].tensor for key in keys})
        if asked:
            yield reading(asked, by_name=True, wrap="dict")


class _Watched(dict[str, Any]):
    """A batch that remembers which of its keys were asked for."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        super().__init__(content)
        self.asked: list[str] = []

    def __getitem__(self, key: str) -> Any:
        self.asked.append(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.append(key)
        return super().get(key, default)


def _asked_keys(model: nn.Module, content: Mapping[str, Tensor]) -> list[str]:
    watched = _Watched(content)
    try:
        with torch.no_grad():
            model.eval()(watched)
    except Exception:
        return []
    return list(dict.fromkeys(key for key in watched.asked if key in content))


def _try(model: nn.Module, reading: Reading) -> Any:
    value = reading.value
    with torch.no_grad():
        if reading.wrap == "dict":
            return model.eval()(value)
        if reading.wrap == "list":
            return model.eval()([*value.values(), *[None] * (reading.width - len(value))])
        if reading.names:
            return model.eval()(**value)
        return model.eval()(*value) if isinstance(value, tuple) else model.eval()(value)


def _answers(outputs: Any, reading: Reading) -> bool:
    """Whether some output has a row for every sample."""
    rows = int(reading.inputs[0].tensor.shape[0]) if reading.inputs and reading.inputs[0].tensor.dim() else -1
    return any(part.tensor.dim() > 0 and int(part.tensor.shape[0]) == rows for part in leaves(outputs, ""))


def _arguments(model: nn.Module) -> dict[str, inspect.Parameter]:
    kinds = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.KEYWORD_ONLY,
    )
    return {n: p for n, p in inspect.signature(model.forward).parameters.items() if p.kind in kinds}


def _takes_keywords(model: nn.Module) -> bool:
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in inspect.signature(model.forward).parameters.values())


def _widths(model: nn.Module, parts: int) -> list[int]:
    """How many leading parts forward may take, likeliest first: those it requires, with the optional ones that default
    to None; then those it requires; then any."""
    arguments = [p for p in _arguments(model).values() if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    required = max(1, sum(p.default is inspect.Parameter.empty for p in arguments))
    optional = 0
    for parameter in arguments[required:]:
        if parameter.default is not None or "bool" in str(parameter.annotation):
            break
        optional += 1
    most = parts - 1
    likely = [min(required + optional, most), min(required, most), *range(1, most + 1)]
    return [k for k in dict.fromkeys(likely) if k >= 1]


def _flat(value: Any) -> list[Tensor]:
    return [part.tensor for part in leaves(value, "")]

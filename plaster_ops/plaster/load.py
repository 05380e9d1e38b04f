"""Real inputs as queries: `samples.safetensors` cut into batches that are ready before any clock starts."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaster_ops.errors import DataError
from plaster_ops.plaster.timing import Query

if TYPE_CHECKING:
    from torch import Tensor

_MAX_POOL_BYTES = 256 * 1024 * 1024


class Samples:
    """Inputs grouped by shape; all inputs of a group have the same number of samples."""

    def __init__(self, groups: Sequence[Sequence["Tensor"]], *, pinned: bool = False) -> None:
        if not groups or any(not group or len(group[0]) == 0 for group in groups):
            raise DataError("there are no samples to measure with", "sample_batch(n) must return at least one sample")
        self._groups = [tuple(group) for group in groups]
        self._pinned = pinned
        self._pools: dict[int, list[Query]] = {}
        self._joined: dict[Hashable, Query] = {}

    @property
    def count(self) -> int:
        """Samples over all groups."""
        return sum(len(group[0]) for group in self._groups)

    @property
    def shapes(self) -> tuple[str, ...]:
        """Per input its shape without the batch axis, "?" where groups differ."""
        per_input = zip(*[[tuple(tensor.shape[1:]) for tensor in group] for group in self._groups], strict=True)
        return tuple(_merged(shapes) for shapes in per_input)

    def queries(self, batch: int) -> list[Query]:
        """Batches of exactly `batch` real samples, each in memory of its own, groups spread evenly over the list.

        A group's last batch is filled from the group's beginning. The list is cut at 256 MiB, at one query at least.
        """
        if batch not in self._pools:
            self._pools[batch] = self._cut(batch)
        return self._pools[batch]

    def forget(self, batch: int) -> None:
        """Frees the queries of that batch."""
        self._pools.pop(batch, None)

    def shape_key(self, query: Query) -> Hashable:
        """Equal for queries that can be joined: those of equal shapes and types."""
        return tuple((tuple(tensor.shape[1:]), tensor.dtype) for tensor in query)

    def join(self, queries: Sequence[Query]) -> Query:
        """One query of all their samples, in memory that the next join of so many overwrites. Shapes must be equal."""
        import torch

        key = (len(queries), self.shape_key(queries[0]))
        if key not in self._joined:
            empty = tuple(tensor.new_empty((len(queries), *tensor.shape[1:])) for tensor in queries[0])
            self._joined[key] = tuple(tensor.pin_memory() for tensor in empty) if self._pinned else empty
        joined = self._joined[key]
        for position, target in enumerate(joined):
            torch.cat([query[position] for query in queries], out=target)
        return joined

    def _cut(self, batch: int) -> list[Query]:
        places = [
            ((number + 0.5) / chunks, group, number)
            for group, tensors in enumerate(self._groups)
            for chunks in [-(-len(tensors[0]) // batch)]
            for number in range(chunks)
        ]
        pool: list[Query] = []
        used_bytes = 0
        for _, group, number in sorted(places):
            query = tuple(self._rows(tensor, number * batch, batch) for tensor in self._groups[group])
            used_bytes += sum(tensor.nbytes for tensor in query)
            if pool and used_bytes > _MAX_POOL_BYTES:
                break
            pool.append(query)
        return pool

    def _rows(self, tensor: "Tensor", start: int, batch: int) -> "Tensor":
        import torch

        rows = tensor.index_select(0, torch.arange(start, start + batch) % len(tensor)).contiguous()
        return rows.pin_memory() if self._pinned else rows


def load_samples(path: Path, *, pinned: bool = False) -> Samples:
    """Reads tensors named `g{j}/in{k}`; raises `DataError` where the file holds none or names a group unevenly."""
    from safetensors.torch import load_file

    return Samples(group_inputs(load_file(path), str(path)), pinned=pinned)


def group_inputs(tensors: Mapping[str, Any], origin: str) -> list[list[Any]]:
    """Tensors by group, then by position of the input in `forward`."""
    found: dict[int, dict[int, Any]] = {}
    for name, tensor in tensors.items():
        group, separator, position = name.partition("/in")
        if not separator or not group.startswith("g"):
            raise DataError(f"{origin}: tensor {name!r} is not named g<group>/in<input>", "prepare the samples again")
        found.setdefault(int(group[1:]), {})[int(position)] = tensor
    groups = [[inputs[k] for k in sorted(inputs)] for _, inputs in sorted(found.items())]
    if len({len(group) for group in groups}) > 1:
        raise DataError(f"{origin}: groups have different numbers of inputs", "prepare the samples again")
    return groups


def _merged(shapes: Sequence[tuple[int, ...]]) -> str:
    if len({len(shape) for shape in shapes}) > 1:
        return "?"
    sizes = [str(axis[0]) if len(set(axis)) == 1 else "?" for axis in zip(*shapes, strict=True)]
    return "x".join(sizes) or "scalar"

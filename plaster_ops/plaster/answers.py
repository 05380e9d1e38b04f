"""Outputs and targets in the user's own structure: tensors, or tuples, lists and dicts of them, batch first."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """One part of an evaluation set whose tensors fit together: `n` samples. Ragged sets have several parts.

    `slices`: per sample the names of the slices that it is in; empty where none were asked for.
    """

    outputs: Any
    targets: Any
    n: int
    slices: tuple[tuple[str, ...], ...] = ()


def take(structure: Any, index: Any) -> Any:
    """The rows `index` of every tensor in the structure."""
    if isinstance(structure, dict):
        return type(structure)((name, take(value, index)) for name, value in structure.items())
    if isinstance(structure, tuple | list):
        taken = [take(value, index) for value in structure]
        return type(structure)(*taken) if hasattr(structure, "_fields") else type(structure)(taken)
    return structure[index] if hasattr(structure, "shape") and len(structure.shape) else structure


def tensors(structure: Any) -> list[Any]:
    """Every tensor of the structure, in order."""
    if isinstance(structure, dict):
        return [tensor for value in structure.values() for tensor in tensors(value)]
    if isinstance(structure, tuple | list):
        return [tensor for value in structure for tensor in tensors(value)]
    return [structure] if hasattr(structure, "shape") else []


def outputs_digest(parts: Sequence[Answers]) -> str:
    """SHA-256 over all output tensors: dtype, shape and values."""
    digest = hashlib.sha256()
    for part in parts:
        for tensor in tensors(part.outputs):
            plain = tensor.detach().cpu().contiguous()
            digest.update(f"{plain.dtype}{tuple(plain.shape)}".encode())
            exact = plain.float() if plain.dtype.is_floating_point and plain.element_size() == 2 else plain
            digest.update(exact.numpy().tobytes())
    return digest.hexdigest()


def pick(parts: Sequence[Answers], index: npt.NDArray[np.int64]) -> list[Answers]:
    """The samples of the set with these numbers, part by part."""
    import torch

    picked, start = [], 0
    for part in parts:
        mine = index[(index >= start) & (index < start + part.n)] - start
        if len(mine):
            rows = torch.from_numpy(mine)
            picked.append(Answers(outputs=take(part.outputs, rows), targets=take(part.targets, rows), n=len(mine)))
        start += part.n
    return picked

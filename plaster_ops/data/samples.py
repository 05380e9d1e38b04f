"""Real inputs kept for measuring: up to 1,024 samples without targets, grouped by shape, as safetensors."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

MOST_SAMPLES = 1024


class SampleKeeper:
    """Collects the first samples of the evaluation batches it is shown."""

    def __init__(self, most: int = MOST_SAMPLES) -> None:
        self._most = most
        self._kept = 0
        self._groups: dict[tuple[tuple[int, ...], ...], list[tuple[Tensor, ...]]] = {}

    def add(self, inputs: Sequence[Tensor]) -> None:
        """Takes one batch of flat inputs [b, ...]; samples past the limit are left out."""
        room = self._most - self._kept
        if room <= 0:
            return
        part = tuple(tensor[:room].clone() for tensor in inputs)
        self._kept += int(part[0].shape[0])
        shapes = tuple(tuple(tensor.shape[1:]) for tensor in part)
        self._groups.setdefault(shapes, []).append(part)

    def save(self, file: Path) -> int:
        """Writes `g{group}/in{position}` tensors [n, ...]; returns the number of samples."""
        tensors = {}
        for j, parts in enumerate(self._groups.values()):
            for k in range(len(parts[0])):
                tensors[f"g{j}/in{k}"] = torch.cat([part[k] for part in parts]).contiguous()
        save_file(tensors, file)
        return self._kept


def load_groups(file: Path) -> list[tuple[Tensor, ...]]:
    """The groups of `SampleKeeper.save`: per shape a tuple of inputs [n, ...]."""
    tensors = load_file(file)
    groups: dict[int, dict[int, Tensor]] = {}
    for name, tensor in tensors.items():
        group, position = name.split("/")
        groups.setdefault(int(group[1:]), {})[int(position[2:])] = tensor
    return [tuple(parts[k] for k in sorted(parts)) for _, parts in sorted(groups.items())]

"""A part of a training loader's samples, spread over all of them, without running through the whole loader."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, IterableDataset, Subset

BATCH = 32


def evenly(count: int, wanted: int) -> list[int]:
    """Positions from the first to the last of `count`, counted in whole numbers."""
    wanted = min(count, wanted)
    return [position * (count - 1) // max(1, wanted - 1) for position in range(wanted)]


def at_random(count: int, wanted: int) -> list[int]:
    """Positions drawn without repeats, the same ones for the same numbers: however few are read, they are spread."""
    drawn = np.random.default_rng(0).choice(count, min(count, wanted), replace=False)
    return [int(position) for position in drawn]


def known_size(loader: Any) -> int | None:
    """Samples of the loader's dataset; None for a stream, and for what has no length or is no loader of torch's."""
    if not hasattr(loader, "collate_fn"):
        return None
    try:
        return None if isinstance(loader.dataset, IterableDataset) else len(loader.dataset)
    except (AttributeError, TypeError):
        return None


def batches_at(loader: Any, positions: list[int]) -> Iterator[Any]:
    """Batches of those samples of a loader whose dataset has positions, put together as the loader does."""
    yield from DataLoader(Subset(loader.dataset, positions), batch_size=BATCH, collate_fn=loader.collate_fn)

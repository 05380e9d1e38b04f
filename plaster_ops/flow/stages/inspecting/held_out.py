"""The held-out data as a retrain reads it: several times, in several processes. It must be the same each time."""

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader, RandomSampler

from plaster_ops.data.batches import overrides
from plaster_ops.flow.stages.inspecting.parts import leaves

MOST_BATCHES = 20


def loader_name(data: Any) -> str:
    """Which of its loaders gives the rolling set."""
    return "test_dataloader" if overrides(data, "test_dataloader") else "val_dataloader"


def is_shuffled(loader: Any) -> bool:
    """Whether it draws its samples in random order."""
    inner = getattr(getattr(loader, "batch_sampler", None), "sampler", None)
    return isinstance(getattr(loader, "sampler", None), RandomSampler) or isinstance(inner, RandomSampler)


def in_order(loader: Any) -> Any:
    """The same samples, first to last."""
    return DataLoader(loader.dataset, batch_size=loader.batch_size, collate_fn=loader.collate_fn)


def digests(loader: Iterable[Any]) -> list[bytes]:
    """One digest for each of the first batches."""
    return list(_digests(loader))


def _digests(loader: Iterable[Any]) -> Iterator[bytes]:
    for batch in islice(iter(loader), MOST_BATCHES):
        parts = [part.tensor.detach().cpu() for part in leaves(batch, "batch")]
        yield hashlib.sha256(b"".join(part.contiguous().numpy().tobytes() for part in parts)).digest()

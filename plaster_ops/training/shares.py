"""Which of the samples that a rank works on are its own, and which only even the ranks out. Runs in workers only.

Ranks must do the same number of steps, so a distributed sampler deals some samples out twice. They cost time like any
other, but nothing new is learned from them.
"""

import math
from collections.abc import Sized
from dataclasses import dataclass
from typing import Any

from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

_KNOWN = (SequentialSampler, RandomSampler, SubsetRandomSampler, WeightedRandomSampler)


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """A rank's part of one epoch. `own`: how many of its first samples are no repeats; None: all that come are its own.

    `reason` says why repeats cannot be told apart; empty where they can.
    """

    own: int | None = None
    reason: str = ""


def share_of(loader: Any, world_size: int) -> Share:
    """The share of this rank in an epoch of the training loader, as Lightning has made it ready.

    A sampler of the pipeline's own decides what an epoch is; what a `DistributedSampler` (the user's, or the one that
    Lightning puts around any other) repeats to fill the last round is at the end of a rank's share. Limits on batches
    and a loader's `drop_last` only shorten what is seen. Not known for samplers that draw with replacement or are
    neither torch's nor a list, and over several ranks or loading workers for iterable datasets and loaders that deal
    out by themselves.
    """
    if isinstance(loader, list | tuple | dict):
        return Share(reason="several training loaders are combined")
    if not isinstance(loader, DataLoader):
        return Share() if world_size == 1 else _unshared(f"{type(loader).__name__}, no DataLoader,")
    if isinstance(loader.dataset, IterableDataset):
        alone = world_size == 1 and loader.num_workers < 2
        return Share() if alone else _unshared("an iterable dataset")
    sampler = loader.sampler if loader.batch_sampler is None else loader.batch_sampler
    is_batched = type(sampler).__iter__ is BatchSampler.__iter__
    sampler = sampler.sampler if is_batched else sampler
    if isinstance(sampler, DistributedSampler):
        return _dealt(sampler, loader, world_size, is_batched=is_batched)
    if world_size > 1:
        return _unshared(f"{type(sampler).__name__}, no DistributedSampler,")
    return _drawn(sampler, loader)


def _dealt(sampler: Any, loader: Any, world_size: int, *, is_batched: bool) -> Share:
    """Rank r has the places r, r + n, r + 2 n, ... of the drawn order; places past its length are repeats.

    What the dataset gives for a place is a sample where batches are made of places, and else may be a whole batch.
    """
    wraps = type(sampler).__name__ == "DistributedSamplerWrapper"
    name = type(sampler).__name__
    if not wraps and type(sampler).__iter__ is not DistributedSampler.__iter__:
        return _unshared(name)
    if sampler.num_replicas != world_size:
        return Share(reason=f"{name} deals out to {sampler.num_replicas} ranks, and there are {world_size}")
    drawn = _drawn(sampler.dataset._sampler, loader) if wraps else Share()
    if drawn.reason:
        return drawn
    places = math.ceil((len(sampler.dataset) - sampler.rank) / sampler.num_replicas)
    if is_batched:
        return Share(own=max(0, min(places, sampler.num_samples)))
    if places >= sampler.num_samples:
        return Share()
    return Share(reason="the loader makes no batches: how many samples the repeats hold is not known")


def _drawn(sampler: Any, loader: Any) -> Share:
    """Whether a sampler draws nothing twice an epoch, which only those of torch and lists of places tell."""
    name = type(sampler).__name__
    given = sampler.indices if isinstance(sampler, SubsetRandomSampler) else sampler
    places = given if isinstance(given, list | tuple | range) else None
    longer = isinstance(sampler, Sized) and isinstance(loader.dataset, Sized) and len(sampler) > len(loader.dataset)
    again = isinstance(sampler, RandomSampler) and sampler.num_samples > len(sampler.data_source)
    repeats = places is not None and len(set(places)) < len(places)
    if longer or again or repeats or getattr(sampler, "replacement", False):
        return Share(reason=f"{name} draws samples more than once an epoch")
    if places is None and not any(type(sampler).__iter__ is known.__iter__ for known in _KNOWN):
        return Share(reason=f"{name} does not say whether it draws samples more than once an epoch")
    return Share()


def _unshared(what: str) -> Share:
    return Share(reason=f"{what} does not say which samples its ranks or workers share")

"""Every sample of an epoch is counted once over all ranks, by brute force against the indices that were dealt out."""

import itertools
from typing import Any

import pytest
import torch
from lightning.fabric.utilities.distributed import DistributedSamplerWrapper
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from plaster_ops.training.fitlog import FitLog
from plaster_ops.training.shares import Share, share_of
from tests.conftest import SteppedClock


def rows(count: int) -> TensorDataset:
    return TensorDataset(torch.arange(count))


def seen(loader: Any, limit: int | None = None) -> list[int]:
    return [int(index) for batch in itertools.islice(loader, limit) for index in batch[0]]


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("limit", [None, 2])
@pytest.mark.parametrize(("count", "ranks"), [(101, 2), (100, 2), (10, 4), (9, 8), (3, 4), (1, 3), (16, 4)])
def test_the_ranks_together_count_each_sample_that_they_saw_once(
    count: int, ranks: int, limit: int | None, *, drop_last: bool
) -> None:
    data, dealt, processed, learned = rows(count), set[int](), 0, 0
    for rank in range(ranks):
        sampler = DistributedSampler(data, num_replicas=ranks, rank=rank, shuffle=True, drop_last=drop_last)
        loader = DataLoader(data, batch_size=3, sampler=sampler)
        mine = seen(loader, limit)
        log = FitLog(SteppedClock())
        log.begin_epoch(share_of(loader, ranks).own)
        log.count(len(mine))
        dealt |= set(mine)
        processed += log.unsummed()[0]
        learned += log.unsummed()[3]
    assert learned == len(dealt)
    assert processed >= learned


def test_a_sampler_of_the_users_that_lightning_wraps_counts_what_it_drew() -> None:
    data, learned = rows(101), 0
    for rank in range(2):
        inner = RandomSampler(data, num_samples=77)
        sampler = DistributedSamplerWrapper(inner, num_replicas=2, rank=rank)
        loader = DataLoader(data, batch_sampler=BatchSampler(sampler, 8, drop_last=False))
        learned += share_of(loader, 2).own or 0
    assert learned == 77


def test_a_distributed_sampler_without_batches_is_seen() -> None:
    """The first of two ranks over five has no repeat; where each place is a sample of a batch, places are samples."""
    alone = DataLoader(rows(5), batch_size=None, sampler=dealt(5, 0))
    assert share_of(alone, 2) == Share()
    together = DataLoader(rows(5), batch_size=None, sampler=BatchSampler(dealt(5, 1), 2, drop_last=False))
    assert share_of(together, 2) == Share(own=2)


def dealt(count: int, rank: int) -> DistributedSampler[Any]:
    return DistributedSampler(rows(count), num_replicas=2, rank=rank)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(range(5))


class Halved(DistributedSampler[Any]):
    def __iter__(self) -> Any:
        return iter(range(3))


class Doubling(BatchSampler):
    """Draws every sample twice, whatever the sampler it was given draws."""

    def __iter__(self) -> Any:
        return iter([[n, n] for n in range(5)])


class OwnOrder(SequentialSampler):
    def __iter__(self) -> Any:
        return iter(range(5))


def weighted() -> WeightedRandomSampler:
    return WeightedRandomSampler([1.0] * 5, 5)


def wrapped() -> Any:
    sampler = DistributedSamplerWrapper(WeightedRandomSampler([1.0] * 5, 5), num_replicas=2, rank=0)
    return DataLoader(rows(5), sampler=sampler)


@pytest.mark.parametrize(
    ("loader", "ranks", "words"),
    [
        (DataLoader(Stream()), 2, "an iterable dataset does not say"),
        (DataLoader(Stream(), num_workers=2), 1, "an iterable dataset does not say"),
        (DataLoader(rows(5)), 2, "SequentialSampler, no DistributedSampler, does not say"),
        (DataLoader(rows(5), sampler=RandomSampler(range(9))), 1, "RandomSampler draws samples more than once"),
        (wrapped(), 2, "WeightedRandomSampler draws samples more than once"),
        (DataLoader(rows(5), sampler=Halved(rows(5), 2, 0)), 2, "Halved does not say"),
        (DataLoader(rows(5), sampler=DistributedSampler(rows(5), 3, 0)), 2, "to 3 ranks, and there are 2"),
        (DataLoader(rows(5), batch_size=None, sampler=weighted()), 1, "WeightedRandomSampler draws samples more than"),
        (DataLoader(rows(5), batch_size=None, sampler=BatchSampler(weighted(), 2, False)), 1, "WeightedRandomSampler"),
        (DataLoader(rows(5), batch_sampler=Doubling(range(5), 2, False)), 1, "Doubling does not say whether it draws"),
        (DataLoader(rows(5), sampler=OwnOrder(rows(5))), 1, "OwnOrder does not say whether it draws"),
        (DataLoader(rows(5), sampler=[0, 1, 1]), 1, "list draws samples more than once"),
        (
            DataLoader(rows(5), sampler=SubsetRandomSampler([0, 0])),
            1,
            "SubsetRandomSampler draws samples",
        ),
        (DataLoader(rows(5), batch_sampler=Doubling(range(5), 2, False)), 2, "Doubling, no DistributedSampler, does"),
        (DataLoader(rows(5), batch_size=None, sampler=dealt(5, 1)), 2, "the loader makes no batches"),
        ({"a": DataLoader(rows(5))}, 1, "several training loaders"),
        ([torch.zeros(2)], 1, "several training loaders"),
        (iter([]), 2, "no DataLoader, does not say"),
    ],
)
def test_where_repeats_cannot_be_told_apart_it_says_why(loader: Any, ranks: int, words: str) -> None:
    assert words in share_of(loader, ranks).reason


@pytest.mark.parametrize(
    "loader",
    [
        DataLoader(Stream()),
        DataLoader(rows(5)),
        DataLoader(rows(5), shuffle=True, batch_size=2),
        DataLoader(rows(5), batch_size=None),
        DataLoader(rows(5), sampler=[4, 2, 0]),
        DataLoader(rows(5), sampler=SubsetRandomSampler([3, 1])),
        iter([]),
    ],
)
def test_a_rank_alone_owns_all_that_comes(loader: Any) -> None:
    share = share_of(loader, 1)
    assert (share.own, share.reason) == (None, "")

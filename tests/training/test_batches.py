"""Batches of every shape are counted by their samples."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from plaster_ops.errors import TrainingFailed
from plaster_ops.training.batches import LossWatch, batch_size_of, loss_of

X = torch.zeros(5, 2)


@pytest.mark.parametrize(
    ("batch", "size"),
    [
        (X, 5),
        ([X, torch.zeros(5)], 5),
        ({"ids": X, "mask": X}, 5),
        ({"inputs": {"left": (X, X)}, "target": torch.zeros(5)}, 5),
        ((torch.tensor(3.0), X), 5),
        (SimpleNamespace(num_graphs=9), 9),
        (["a", "b"], 2),
        (torch.tensor(1.0), None),
        (object(), None),
        ([], None),
    ],
)
def test_the_size_of_a_batch_is_its_samples(batch: Any, size: int | None) -> None:
    assert batch_size_of(batch) == size


def test_the_loss_is_found_in_what_lightning_hands_over() -> None:
    loss = torch.tensor(2.0)
    assert loss_of({"loss": loss, "other": 1}) == 2.0
    assert loss_of(loss) == 2.0
    assert loss_of(None) is None


def test_an_infinite_loss_stops_at_its_step() -> None:
    watch = LossWatch(deferred=False)
    watch.see(torch.tensor(1.5), epoch=0, step=1)
    assert watch.check() == 1.5
    with pytest.raises(TrainingFailed, match="the loss is inf at epoch 2, step 9"):
        watch.see(torch.tensor(float("inf")), epoch=2, step=9)


def test_a_deferred_watch_names_the_first_bad_step_at_the_next_check() -> None:
    watch = LossWatch(deferred=True)
    assert watch.check() is None
    for step, loss in enumerate([1.0, float("nan"), float("inf"), 0.5]):
        watch.see(torch.tensor(loss), epoch=3, step=step)
    with pytest.raises(TrainingFailed, match="the loss is nan at epoch 3, step 1"):
        watch.check()

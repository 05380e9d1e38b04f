"""Weights go through safetensors whole, tied or not, and never spoilt."""

from pathlib import Path

import pytest
import torch

from plaster_ops.errors import Postponed, TrainingFailed
from plaster_ops.training.resume import digest_of
from plaster_ops.training.weights import load_weights, save_weights


class Tied(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(7, 3)
        self.head = torch.nn.Linear(3, 7, bias=False)
        self.head.weight = self.embed.weight


def test_tied_weights_come_back_tied_and_equal(tmp_path: Path) -> None:
    model, other = Tied(), Tied()
    digest = save_weights(model, tmp_path / "w.safetensors")
    load_weights(other, tmp_path / "w.safetensors")
    assert digest == digest_of(tmp_path / "w.safetensors")
    assert torch.equal(other.head.weight, model.embed.weight)
    assert other.head.weight is other.embed.weight


def test_weights_that_are_not_finite_are_never_written(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    model.bias.data[0] = float("inf")
    with pytest.raises(TrainingFailed, match="not finite: bias"):
        save_weights(model, tmp_path / "w.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_weights_that_find_no_room_leave_nothing_and_are_for_later(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").mkdir()
    with pytest.raises(Postponed, match="could not be written") as caught:
        save_weights(torch.nn.Linear(2, 2), tmp_path / "w.safetensors")
    assert caught.value.next_step == f"make room for {tmp_path / 'w.safetensors'}"
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def test_missing_and_unknown_tensors_are_named(tmp_path: Path) -> None:
    save_weights(torch.nn.Linear(2, 2), tmp_path / "w.safetensors")
    with pytest.raises(TrainingFailed, match=r"gain \(missing\).*weight \(unknown to the model\)"):
        load_weights(torch.nn.ParameterDict({"gain": torch.ones(1)}), tmp_path / "w.safetensors")


def test_a_file_that_is_no_safetensors_is_named(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"not weights")
    with pytest.raises(TrainingFailed, match=r"w\.safetensors cannot be read"):
        load_weights(torch.nn.Linear(2, 2), tmp_path / "w.safetensors")

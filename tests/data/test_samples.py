"""Real inputs are kept by shape, up to a limit, and read back as they were."""

from pathlib import Path

import torch

from plaster_ops.data.samples import SampleKeeper, load_groups


def test_inputs_come_back_grouped_by_shape_in_order(tmp_path: Path) -> None:
    keeper = SampleKeeper()
    short, long = torch.arange(6.0).reshape(2, 3), torch.arange(15.0).reshape(3, 5)
    mask = torch.ones(2, 1, dtype=torch.bool)
    keeper.add((short, mask))
    keeper.add((long, torch.zeros(3, 1, dtype=torch.bool)))
    keeper.add((short + 100, mask))
    assert keeper.save(tmp_path / "samples.safetensors") == 7
    first, second = load_groups(tmp_path / "samples.safetensors")
    assert torch.equal(first[0], torch.cat([short, short + 100]))
    assert first[1].dtype is torch.bool
    assert torch.equal(second[0], long)


def test_samples_past_the_limit_are_left_out(tmp_path: Path) -> None:
    keeper = SampleKeeper(most=5)
    for start in (0.0, 3.0, 6.0):
        keeper.add((torch.arange(start, start + 3).reshape(3, 1),))
    assert keeper.save(tmp_path / "s") == 5
    ((kept,),) = load_groups(tmp_path / "s")
    assert kept.flatten().tolist() == [0, 1, 2, 3, 4]


def test_a_batch_that_its_loader_reuses_is_kept_as_it_was(tmp_path: Path) -> None:
    keeper, reused = SampleKeeper(), torch.zeros(2, 1)
    keeper.add((reused,))
    reused.fill_(9.0)
    keeper.save(tmp_path / "s")
    ((kept,),) = load_groups(tmp_path / "s")
    assert kept.sum() == 0


def test_twelve_inputs_keep_their_positions(tmp_path: Path) -> None:
    keeper = SampleKeeper()
    keeper.add(tuple(torch.full((1, 2), float(k)) for k in range(12)))
    keeper.save(tmp_path / "s")
    (group,) = load_groups(tmp_path / "s")
    assert [float(tensor[0, 0]) for tensor in group] == list(range(12))

"""A disk that is full, a file that may not grow: the checkpoint before stays in force, and the fit goes on."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from plaster_ops.training.checkpoint_file import keep, write_state
from plaster_ops.training.resume import digest_of, newest_complete

MB = 1 << 20


def state(megabytes: float) -> dict[str, Any]:
    return {"weights": torch.zeros(int(megabytes * MB), dtype=torch.uint8)}


def facts(epoch: int, batch: int = 0) -> dict[str, Any]:
    return {"epoch": epoch, "batch": batch, "step": epoch * 10 + batch, "world_size": 1, "fit_id": "this", "log": {}}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with room for eight megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(place)], capture_output=True, check=False
        ).returncode
    )
    if not mounted:
        pytest.skip("a file system of a few megabytes can only be mounted by root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_the_digest_is_that_of_the_file_and_the_state_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "some.ckpt"
    assert write_state(state(0.1) | {"words": ["a", 1]}, path) == digest_of(path)
    back = torch.load(path, weights_only=True)
    assert back["words"] == ["a", 1]
    assert len(back["weights"]) == int(0.1 * MB)


def test_on_a_full_disk_the_checkpoint_before_stays_in_force_and_it_is_said(small_disk: Path) -> None:
    told: list[str] = []
    folder = small_disk / "checkpoints"
    assert keep(state(3), folder, facts(1), told.append) is not None
    assert told == []
    assert keep(state(6), folder, facts(2), told.append) is None
    assert "no checkpoint at step 20" in told[0]
    assert "No space left on device" in told[0]
    newest = newest_complete(folder, "this")
    assert newest is not None
    assert newest.epoch == 1
    assert sorted(path.suffix for path in folder.iterdir()) == [".ckpt", ".json"]


def test_on_a_full_disk_older_checkpoints_make_room(small_disk: Path) -> None:
    told: list[str] = []
    for epoch in (1, 2, 3):
        assert keep(state(3), small_disk, facts(epoch), told.append) is not None
    assert [text.partition(" (")[0] for text in told] == ["the disk was full"]
    assert sorted(path.stem for path in small_disk.glob("*.ckpt")) == ["epoch-000002-00000000", "epoch-000003-00000000"]
    newest = newest_complete(small_disk, "this")
    assert newest is not None
    assert newest.epoch == 3


def test_a_file_that_may_not_grow_is_no_end_of_the_process(tmp_path: Path) -> None:
    """torch's own writer aborts there; so this is tried in a process whose files may have a megabyte."""
    code = (
        "import resource, sys, torch; from pathlib import Path\n"
        "from plaster_ops.training.checkpoint_file import keep\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({MB}, {MB}))\n"
        "facts = {'epoch': 1, 'batch': 0, 'step': 9, 'world_size': 1, 'fit_id': 'this', 'log': {}}\n"
        f"state = {{'weights': torch.zeros({3 * MB}, dtype=torch.uint8)}}\n"
        "print(keep(state, Path(sys.argv[1]), facts, print))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "checkpoints")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "no checkpoint at step 9: [Errno 27] File too large" in done.stdout
    assert list((tmp_path / "checkpoints").iterdir()) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_two_checkpoints_and_the_newest_end_of_an_epoch_are_kept(tmp_path: Path) -> None:
    for epoch, batch in ((1, 0), (1, 3), (1, 6), (1, 9)):
        keep(state(0.001), tmp_path, facts(epoch, batch), print)
    names = [path.stem for path in sorted(tmp_path.glob("*.ckpt"))]
    assert names == ["epoch-000001-00000000", "epoch-000001-00000006", "epoch-000001-00000009"]


def test_inside_an_epoch_only_one_of_as_many_ranks_counts(tmp_path: Path) -> None:
    for epoch, batch in ((1, 0), (1, 3)):
        keep(state(0.001), tmp_path, facts(epoch, batch), print)
    found = [newest_complete(tmp_path, "this", ranks) for ranks in (None, 1, 2)]
    assert [one and (one.epoch, one.batch) for one in found] == [(1, 3), (1, 3), (1, 0)]

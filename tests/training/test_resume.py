"""A checkpoint counts when it is whole and of this fit."""

from pathlib import Path

from plaster_ops.training.resume import complete, newest_complete, unfinished_path


def _write(folder: Path, epoch: int, fit_id: str = "this") -> Path:
    unfinished_path(folder).write_bytes(f"state of epoch {epoch}".encode())
    return complete(folder, epoch=epoch, step=epoch * 7, fit_id=fit_id, log={"fit_s": epoch * 1.5})


def test_the_newest_whole_checkpoint_is_found_and_only_two_are_kept(tmp_path: Path) -> None:
    for epoch in (1, 2, 3):
        _write(tmp_path, epoch)
    newest = newest_complete(tmp_path, "this")
    assert newest is not None
    assert (newest.epoch, newest.step, newest.fit_s) == (3, 21, 4.5)
    assert len(list(tmp_path.glob("*.ckpt"))) == 2


def test_a_checkpoint_cut_short_leaves_the_one_before_it_in_force(tmp_path: Path) -> None:
    _write(tmp_path, 1)
    _write(tmp_path, 2).write_bytes(b"state")
    newest = newest_complete(tmp_path, "this")
    assert newest is not None
    assert newest.epoch == 1


def test_a_checkpoint_whose_bytes_were_changed_does_not_count(tmp_path: Path) -> None:
    path = _write(tmp_path, 1)
    path.write_bytes(path.read_bytes().replace(b"1", b"9"))
    assert newest_complete(tmp_path, "this") is None


def test_one_without_its_sidecar_or_of_another_fit_does_not_count(tmp_path: Path) -> None:
    _write(tmp_path, 1, fit_id="other")
    _write(tmp_path, 2).with_suffix(".json").unlink()
    unfinished_path(tmp_path).write_bytes(b"half")
    assert newest_complete(tmp_path, "this") is None


def test_there_is_none_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert newest_complete(tmp_path / "never", "this") is None

"""One retrain of a pipeline at a time, and the kernel lets go when its holder dies."""

import json
import os
from pathlib import Path

import pytest

from plaster_ops.errors import Busy, NotRecorded
from plaster_ops.flow.lock import INHERITED, device_lock, pipeline_lock, promotion_lock, slug, take_device


def test_who_holds_the_lock_is_named_to_the_next_one(tmp_path: Path) -> None:
    with pipeline_lock(tmp_path, "digits", "digits"):
        with pytest.raises(Busy) as caught, pipeline_lock(tmp_path, "digits", "digits"):
            raise AssertionError("the lock was given twice")
        assert f"process {os.getpid()} on {os.uname().nodename}" in caught.value.message
        assert int(caught.value.exit_code) == 75


def test_the_champion_can_be_changed_while_a_retrain_runs_but_not_by_two_at_once(tmp_path: Path) -> None:
    with pipeline_lock(tmp_path, "digits", "digits"), promotion_lock(tmp_path, "digits"):
        with pytest.raises(Busy, match="is being changed") as caught, promotion_lock(tmp_path, "digits", wait_s=0):
            raise AssertionError("the lock was given twice")
        assert int(caught.value.exit_code) == 75
        with promotion_lock(tmp_path, "power", wait_s=0):
            pass
    with promotion_lock(tmp_path, "digits", wait_s=0):
        pass


def test_another_pipeline_is_not_held_up(tmp_path: Path) -> None:
    with pipeline_lock(tmp_path, "digits", "digits"), pipeline_lock(tmp_path, "power", "power"):
        assert sorted(path.name for path in tmp_path.iterdir()) == ["digits.lock", "power.lock"]


def test_the_lock_is_free_again_after_the_block_however_it_ended(tmp_path: Path) -> None:
    def fail() -> None:
        with pipeline_lock(tmp_path, "digits", "digits"):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with pipeline_lock(tmp_path, "digits", "digits"):
        pass


def test_a_lock_file_that_a_dead_process_left_does_not_lock(tmp_path: Path) -> None:
    (tmp_path / "digits.lock").write_text('{"pid": 1, "host": "gone", "and": "a longer text than the next holder"}')
    with pipeline_lock(tmp_path, "digits", "digits"):
        assert json.loads((tmp_path / "digits.lock").read_text())["pid"] == os.getpid()


def test_a_holder_that_cannot_be_read_is_not_guessed(tmp_path: Path) -> None:
    with pipeline_lock(tmp_path, "digits", "digits"):
        (tmp_path / "digits.lock").write_text("")
        with pytest.raises(Busy, match="its process is not known"), pipeline_lock(tmp_path, "digits", "digits"):
            pass


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "locks").write_text("a file where a folder should be")
    with pytest.raises(NotRecorded) as caught, pipeline_lock(tmp_path / "locks", "digits", "digits"):
        pass
    assert str(tmp_path / "locks" / "digits.lock") in caught.value.message


@pytest.mark.parametrize(
    ("name", "file"), [("digits", "digits"), ("a b/c:d", "a_b_c_d"), ("..", "_"), ("../x", "_x"), ("näme", "näme")]
)
def test_a_name_becomes_a_file_name_that_stays_in_its_folder(name: str, file: str) -> None:
    assert slug(name) == file


def test_no_more_retrains_at_once_than_devices(tmp_path: Path) -> None:
    with device_lock(tmp_path, 2), device_lock(tmp_path, 2):
        with (
            pytest.raises(Busy, match=r"as this project has devices, 2 \(process \d+ on ") as caught,
            device_lock(tmp_path, 2),
        ):
            pass
        assert "scheduler.devices" in str(caught.value.next_step)
    with device_lock(tmp_path, 1):
        pass


def test_a_device_that_a_scheduler_handed_on_is_held_and_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed = take_device(tmp_path, 1)
    assert handed is not None
    monkeypatch.setenv(INHERITED, str(handed))
    os.set_inheritable(handed, True)
    with device_lock(tmp_path, 1):
        assert INHERITED not in os.environ
        assert not os.get_inheritable(handed)
        assert take_device(tmp_path, 1) is None
    free = take_device(tmp_path, 1, only=0)
    assert free is not None
    os.close(free)

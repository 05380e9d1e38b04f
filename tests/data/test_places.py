"""Folders that are not what they should be, links, and a ledger that is gone: what is said, and what is new then."""

import os
from pathlib import Path

import pytest

from plaster_ops.domain.window import Window
from plaster_ops.errors import DataError
from tests.data.test_folder_rules import GOOD, HEADER, NOW, all_rows, put, source


def test_a_linked_file_is_taken_and_followed_when_what_it_leads_to_changes(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", GOOD)
    kept = tmp_path / "kept.csv"
    kept.write_text(HEADER + "7,0.1,0\n")
    os.utime(kept, (NOW - 50, NOW - 50))
    (tmp_path / "in" / "l.csv").symlink_to(kept)
    (tmp_path / "in" / "dead.csv").symlink_to("nowhere.csv")
    (tmp_path / "in" / "self").symlink_to(".")
    there = source(tmp_path)
    assert there.newest() == "4@7"
    kept.write_text(HEADER + "7,0.1,0\n8,0.1,0\n")
    os.utime(kept, (NOW - 20, NOW - 20))
    assert there.count("4@7", there.newest()) == 1


def test_a_folder_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("")
    with pytest.raises(DataError, match="in is no folder"):
        source(tmp_path).newest()


def test_a_mount_point_that_holds_only_a_note_has_lost_everything(tmp_path: Path) -> None:
    file = put(tmp_path, "a.csv", GOOD)
    there = source(tmp_path)
    there.newest()
    file.unlink()
    put(tmp_path, "NOT_MOUNTED.txt", "")
    with pytest.raises(DataError, match=r"no file of data, and 1 were accepted .* is it mounted"):
        there.newest()


def test_without_its_ledger_every_row_is_new_again(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", GOOD)
    there = source(tmp_path)
    seen = there.newest()
    learned = there.cut(None, seen)
    (tmp_path / "mlruns" / "sources" / "s.db").unlink()
    put(tmp_path, "0.csv", HEADER + "0,0.1,0\n", age_s=500)
    end = there.newest()
    cut = there.cut(learned, end)
    window = Window(learned=learned, seen=seen, cut=cut, end=end, replay_ratio=0.0)
    assert there.count(seen, end) == 4
    assert there.train_rows(window)["at"].to_pylist() == [0, 1, 2]
    assert there.held_out_rows(window)["at"].to_pylist() == [3]


def test_a_ledger_that_is_a_folder_is_named(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", GOOD)
    (tmp_path / "mlruns" / "sources" / "s.db").mkdir(parents=True)
    with pytest.raises(DataError, match=r"s\.db is no file"):
        source(tmp_path).newest()


def test_a_rewritten_file_is_no_double_of_what_it_was(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", GOOD)
    there = source(tmp_path, key=["at"])
    there.newest()
    put(tmp_path, "a.csv", GOOD.replace("0.25", "0.26") + "3,0.9,1\n")
    assert all_rows(there)["price"].to_pylist() == [0.5, 0.26, 0.75]
    assert there.report()["rows"]["doubles"] == 1


@pytest.mark.parametrize("was_away", [False, True])
def test_rows_that_moved_or_came_back_still_have_their_keys(tmp_path: Path, was_away: bool) -> None:
    file = put(tmp_path, "a.csv", GOOD)
    put(tmp_path, "z.csv", HEADER + "9,0.9,1\n")
    there = source(tmp_path, key=["at"])
    there.newest()
    file.rename(file.with_name("b.txt" if was_away else "b.csv"))
    there.newest()
    file.with_name("b.txt" if was_away else "b.csv").rename(file.with_name("c.csv"))
    there.newest()
    put(tmp_path, "d.csv", HEADER + "3,0.1,0\n4,0.2,0\n", age_s=10)
    assert all_rows(there)["price"].to_pylist() == [0.5, 0.25, 0.75, 0.2, 0.9]

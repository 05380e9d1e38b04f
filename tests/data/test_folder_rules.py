"""What becomes of a file, by the table of docs/pipelines.md: one rule, one test; every message says where."""

import gzip
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from plaster_ops.data.folder import FolderSource
from plaster_ops.data.ledger import Ledger
from plaster_ops.domain.window import Window
from plaster_ops.errors import DataError, SettingsError
from plaster_ops.ports import Source

NOW = 1_700_000_000.0
HEADER = "at,price,class\n"
GOOD = HEADER + "1,0.5,0\n2,0.25,1\n3,0.75,0\n"


@dataclass(frozen=True)
class Stopped:
    """A clock that stands still."""

    now: float = NOW

    def now_utc(self) -> float:
        return self.now

    def monotonic_s(self) -> float:
        return 0.0


def source(project: Path, **changed: Any) -> FolderSource:
    given = {"name": "s", "time": "at", "label": "class", "holdout": 1, "settle_s": 0.0, "clock": Stopped()}
    return FolderSource("in", project=project, **{**given, **changed})


def put(project: Path, name: str, content: str | bytes, age_s: float = 100.0) -> Path:
    file = project / "in" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    os.utime(file, (NOW - age_s, NOW - age_s))
    return file


def parquet(table: dict[str, Any]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(table), sink)
    return bytes(sink.getvalue().to_pybytes())


def state(there: FolderSource, name: str) -> str:
    """What the ledger says of a file, after a look."""
    there.newest()
    assert there.project is not None
    with Ledger.opened(there.project / "mlruns" / "sources" / "s.db", create=False) as ledger:
        return str(ledger.files()[name].state)


def all_rows(there: FolderSource) -> pa.Table:
    end = there.newest()
    window = Window(learned=None, seen=None, cut=end, end=end)
    return there.train_rows(window)


def aside(there: FolderSource, name: str) -> dict[str, Any]:
    there.newest()
    return next(row for row in there.report()["set_aside"] if row["file"] == name)


def test_it_is_a_source(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", GOOD)
    typed: Source = source(tmp_path)
    assert typed.newest() == "3@3"
    assert typed.count(None, "3@3") == 3
    assert typed.cut(None, "3@3") == "3@2"
    assert typed.arrived_at("3@3") == pytest.approx(NOW, abs=100)


@pytest.mark.parametrize("name", [".a.csv", "_a.csv", "a.csv.tmp", "a.part", "a.csv.swp", "_old/a.csv", ".git/a.csv"])
def test_names_of_unfinished_and_private_files_are_ignored(tmp_path: Path, name: str) -> None:
    put(tmp_path, name, GOOD)
    there = source(tmp_path)
    assert there.newest() is None
    assert there.report()["scan"]["other_files"] == 0


def test_what_is_no_data_is_counted_and_left_alone(tmp_path: Path) -> None:
    put(tmp_path, "readme.txt", "hello")
    there = source(tmp_path)
    assert there.newest() is None
    assert there.report()["scan"]["other_files"] == 1


def test_a_file_that_was_just_written_is_waited_for_once_and_taken(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", GOOD, age_s=0.0)
    assert source(tmp_path, settle_s=0.01).newest() == "3@3"


def test_a_file_that_still_moves_after_that_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a.csv", GOOD, age_s=0.0)
    put(tmp_path, "b.csv", HEADER + "9,0.5,0\n")
    monkeypatch.setattr("time.sleep", lambda _: put(tmp_path, "a.csv", GOOD + "4,0.5,0\n", age_s=0.0))
    there = source(tmp_path, settle_s=2.0)
    assert there.count(None, there.newest()) == 1
    assert aside(there, "a.csv")["reason"] == "it is still being written"


CUT_SHORT = {
    "a.csv": (GOOD + "4,0.5").encode(),
    "a.parquet": parquet({"at": [1], "price": [0.5], "class": [0]})[:-20],
    "a.csv.gz": gzip.compress(GOOD.encode() * 50)[:-15],
    "a.npz": b"PK\x03\x04half",
}


@pytest.mark.parametrize("name", CUT_SHORT)
def test_a_half_written_file_waits_is_broken_when_patience_ends_and_taken_when_whole(tmp_path: Path, name: str) -> None:
    put(tmp_path, name, CUT_SHORT[name])
    there = source(tmp_path)
    assert state(there, name) == "waiting"
    put(tmp_path, name, CUT_SHORT[name], age_s=3700.0)
    assert state(there, name) == "quarantined"
    whole = {"a.csv": GOOD.encode(), "a.csv.gz": gzip.compress(GOOD.encode())}
    put(tmp_path, name, whole.get(name, parquet({"at": [1, 2, 3], "price": [0.5] * 3, "class": [0, 1, 0]})))
    if name != "a.npz":
        assert state(there, name) == "accepted"
        assert there.count(None, there.newest()) == 3


def test_the_line_that_is_cut_short_is_named(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", CUT_SHORT["a.csv"])
    assert aside(source(tmp_path), "a.csv")["reason"] == "its last line, row 4, is cut short: '4,0.5'"


def test_a_last_line_without_an_end_waits_and_is_taken_when_patience_ends(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", GOOD.rstrip())
    there = source(tmp_path)
    assert state(there, "a.csv") == "waiting"
    put(tmp_path, "a.csv", GOOD.rstrip(), age_s=3700.0)
    assert there.newest() == "3@3"
    assert all_rows(there)["price"].to_pylist() == [0.5, 0.25, 0.75]


def test_a_short_line_in_the_middle_is_quarantined_with_its_row(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", HEADER + "1,0.5,0\n2,0.25\n3,0.75,0\n")
    found = aside(source(tmp_path), "a.csv")
    assert (found["row"], found["reason"]) == (2, "a line has 2 cells, not 3: '2,0.25'")


def test_the_same_rows_in_another_file_are_taken_once(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", GOOD)
    put(tmp_path, "b.parquet", parquet({"class": [0, 1, 0], "at": [1, 2, 3], "price": [0.5, 0.25, 0.75]}), age_s=50)
    there = source(tmp_path)
    assert there.count(None, there.newest()) == 3
    assert there.report()["duplicates"] == {"b.parquet": "its rows are those of a.csv"}


def test_a_double_takes_over_where_the_first_goes(tmp_path: Path) -> None:
    first = put(tmp_path, "a.csv", GOOD)
    put(tmp_path, "b.csv", GOOD, age_s=50)
    there = source(tmp_path)
    before = there.newest()
    first.unlink()
    assert there.count(before, there.newest()) == 0
    assert all_rows(there).num_rows == 3
    assert there.report()["rows"]["vanished_unlearned"] == 0


def test_a_copy_of_a_file_that_was_rewritten_since_the_last_look_is_a_double(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", GOOD)
    there = source(tmp_path)
    there.newest()
    for age_s, name in enumerate(("b.csv", "a.csv")):
        put(tmp_path, name, GOOD.replace("0.25", "0.26"), age_s=age_s)
    assert there.count(None, there.newest()) == 3


def test_rows_with_a_known_key_are_dropped_and_counted(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", GOOD)
    put(tmp_path, "b.csv", HEADER + "3,0.1,1\n4,0.2,1\n4,0.3,1\n", age_s=50)
    there = source(tmp_path, key=["at"])
    assert all_rows(there)["price"].to_pylist() == [0.5, 0.25, 0.75, 0.2]
    assert there.report()["rows"]["doubles"] == there.report()["scan"]["double_rows"] == 2


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_of_a_file_that_grew_only_the_tail_is_new(tmp_path: Path, name: str) -> None:
    def content(rows: int) -> bytes:
        if name == "a.csv":
            return (HEADER + "".join(f"{row},0.5,0\n" for row in range(rows))).encode()
        return parquet({"at": list(range(rows)), "price": [0.5] * rows, "class": [0] * rows})

    put(tmp_path, name, content(5))
    there = source(tmp_path)
    before = there.newest()
    put(tmp_path, name, content(8))
    assert there.count(before, there.newest()) == 3
    assert there.report()["scan"]["grown"] == 1
    assert all_rows(there)["at"].to_pylist() == list(range(8))


def test_a_rewritten_file_arrives_anew_and_its_old_rows_are_taken_back(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", GOOD)
    there = source(tmp_path)
    before = there.newest()
    put(tmp_path, "a.csv", GOOD.replace("0.25", "0.26"))
    after = there.newest()
    assert there.report()["scan"]["revised"] == 1
    assert (there.count(before, after), there.count(None, after)) == (3, 3)
    assert all_rows(there)["price"].to_pylist() == [0.5, 0.26, 0.75]


def test_a_rotated_log_keeps_its_rows(tmp_path: Path) -> None:
    file = put(tmp_path, "log.csv", GOOD)
    there = source(tmp_path)
    before = there.newest()
    file.rename(file.with_name("log.1.csv"))
    put(tmp_path, "log.csv", HEADER + "9,0.9,1\n", age_s=10)
    after = there.newest()
    assert (there.count(before, after), there.count(None, after)) == (1, 4)
    assert all_rows(there)["at"].to_pylist() == [1, 2, 3, 9]


def test_a_deleted_file_is_gone_and_told_where_nobody_had_learned_it(tmp_path: Path) -> None:
    file = put(tmp_path, "a.csv", GOOD)
    put(tmp_path, "b.csv", HEADER + "9,0.9,1\n")
    there = source(tmp_path)
    first = there.newest()
    file.unlink()
    second = there.newest()
    assert there.count(None, second) == 1
    told = [
        there.report(Window(learned=learned, seen=first, cut=second, end=second))["rows"]["vanished_unlearned"]
        for learned in (None, "4@2", first)
    ]
    assert told == [3, 1, 0]


@pytest.mark.parametrize("cut_meanwhile", [False, True])
def test_a_file_that_comes_back_is_new_only_where_a_window_was_cut_without_it(
    tmp_path: Path, cut_meanwhile: bool
) -> None:
    file = put(tmp_path, "a.csv", GOOD)
    put(tmp_path, "b.csv", HEADER + "9,0.9,1\n")
    there = source(tmp_path)
    there.cut(None, there.newest())
    file.unlink()
    away = there.newest()
    if cut_meanwhile:
        there.cut(None, away)
    put(tmp_path, "elsewhere/a.csv", GOOD)
    back = there.newest()
    assert there.count(None, back) == 4
    assert there.count(away, back) == (3 if cut_meanwhile else 0)


def test_a_folder_that_was_never_there_is_named_and_one_without_files_has_no_rows_yet(tmp_path: Path) -> None:
    there = source(tmp_path)
    with pytest.raises(DataError, match="is not there"):
        there.newest()
    (tmp_path / "in").mkdir()
    assert there.newest() is None


def test_a_folder_that_lost_everything_is_an_error_and_changes_nothing(tmp_path: Path) -> None:
    file = put(tmp_path, "a.csv", GOOD)
    there = source(tmp_path)
    there.newest()
    file.unlink()
    with pytest.raises(
        DataError, match=r"holds no file of data, and 1 were accepted from it \(such as a.csv\): is it mounted"
    ):
        there.newest()
    put(tmp_path, "a.csv", GOOD)
    assert there.newest() == "3@3"


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", GOOD)
    put(tmp_path, "b.csv", "at,class\n5,1\n", age_s=50)
    assert aside(source(tmp_path), "b.csv")["reason"] == "has no column price; it has at, class"


@pytest.mark.parametrize("declared", [None, {"price": "float64"}])
def test_a_value_of_another_type_is_named_with_its_place_and_all_others_go_on(
    tmp_path: Path, declared: dict[str, str] | None
) -> None:
    put(tmp_path, "a.csv", GOOD)
    put(tmp_path, "b.csv", HEADER + "5,0.5,0\n6,abc,1\n", age_s=50)
    put(tmp_path, "c.csv", HEADER + "7,0.5,0\n", age_s=40)
    there = source(tmp_path, schema=declared)
    assert aside(there, "b.csv") == {
        "state": "quarantined", "file": "b.csv", "row": 2, "column": "price", "value": "abc",
        "reason": "'abc' is no double",
    }  # fmt: skip
    assert all_rows(there)["at"].to_pylist() == [1, 2, 3, 7]


def test_a_column_more_and_another_order_are_taken_and_told(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", GOOD)
    put(tmp_path, "b.csv", "class,note,price,at\n1,hello,0.5,5\n", age_s=50)
    there = source(tmp_path)
    there.newest()
    assert there.report()["extra_columns"] == {"b.csv": ["note"]}
    assert all_rows(there).column_names == ["at", "price", "class"]


def test_whole_numbers_become_fractions_for_all_files_and_nothing_is_new_for_it(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", HEADER + "1,2,0\n")
    there = source(tmp_path)
    assert all_rows(there).schema.field("price").type == pa.int64()
    before = there.newest()
    put(tmp_path, "b.csv", HEADER + "2,2.5,0\n", age_s=50)
    os.utime(tmp_path / "in" / "a.csv", (NOW - 20, NOW - 20))
    assert there.count(before, there.newest()) == 1
    assert all_rows(there)["price"].to_pylist() == [2.0, 2.5]


@pytest.mark.parametrize("content", ["", HEADER])
def test_an_empty_file_is_recorded_and_is_no_error(tmp_path: Path, content: str) -> None:
    put(tmp_path, "a.csv", content)
    there = source(tmp_path)
    assert there.newest() is None
    assert there.report()["files"]["empty"] == 1
    put(tmp_path, "a.csv", GOOD)
    assert there.newest() == "3@3"


POISON = {
    "infinite": ("4,inf,0\n", 1, "price", "inf is not finite"),
    "missing": ("4,,0\n5,0.1,0\n", 1, "price", "1 of 2 values are missing (50.0%, at most 5.0%), first here"),
    "range": ("4,0.1,0\n5,1.5,0\n", 2, "price", "1.5 is outside 0 to 1"),
    "label": ("4,0.1,2\n", 1, "class", "2 is none of the labels 0, 1"),
    "no label": ("4,0.1,\n", 1, "class", "1 of 1 values are missing (100.0%, at most 5.0%), first here"),
    "no time": (",0.1,1\n", 1, "at", "a row has no time"),
}


@pytest.mark.parametrize("kind", POISON)
def test_a_poisoned_file_is_quarantined_whole_and_named_to_the_cell(tmp_path: Path, kind: str) -> None:
    lines, row, column, reason = POISON[kind]
    put(tmp_path, "a.csv", GOOD)
    file = put(tmp_path, "b.csv", HEADER + lines, age_s=50)
    there = source(tmp_path, ranges={"price": (0, 1)}, labels=(0, 1))
    found = aside(there, "b.csv")
    assert (found["state"], found["row"], found["column"], found["reason"]) == ("quarantined", row, column, reason)
    assert there.count(None, there.newest()) == 3
    assert file.read_text() == HEADER + lines, "it stays as it is"


def test_a_time_in_the_future_is_poison(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "at,price,class\n2023-11-14T00:00:00,0.5,0\n2099-01-01T00:00:00,0.5,0\n")
    found = aside(source(tmp_path), "a.csv")
    assert (found["row"], found["value"]) == (2, "2099-01-01 00:00:00")
    assert "in the future" in found["reason"]


def test_a_quarantined_file_is_looked_at_again_when_the_rules_change_or_it_does(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", HEADER + "1,1.5,0\n")
    strict = source(tmp_path, ranges={"price": (0, 1)})
    assert state(strict, "a.csv") == "quarantined"
    assert strict.newest() is None
    assert strict.report()["newly_quarantined"] == [], "named once, not every night"
    assert source(tmp_path, ranges={"price": (0, 2)}).newest() == "1@1"
    put(tmp_path, "b.csv", HEADER + "2,7,0\n")
    assert state(strict, "b.csv") == "quarantined"
    put(tmp_path, "b.csv", HEADER + "2,0.7,0\n")
    assert state(strict, "b.csv") == "accepted"


def test_few_missing_values_are_left_as_nulls(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", HEADER + "0,nan,0\n" + "".join(f"{row},0.5,0\n" for row in range(1, 30)))
    table = all_rows(source(tmp_path))
    assert (table.num_rows, table["price"].null_count) == (30, 1)


def test_labels_may_come_later_and_rows_without_one_are_counted_and_never_given_out(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", HEADER + "0,0.5,0\n1,0.5,\n86400,0.5,1\n172800,0.5,1\n")
    there = source(tmp_path, label_delay="1d")
    end = there.newest()
    assert end == "4@86400"
    rows = there.report(Window(learned=None, seen=None, cut=end, end=end))["rows"]
    assert (rows["missing_labels"], rows["too_young"]) == (1, 1)
    assert all_rows(there)["at"].to_pylist() == [0, 86400]


def test_a_window_whose_file_changed_is_refused_by_name(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", GOOD)
    put(tmp_path, "b.csv", HEADER + "9,0.5,0\n")
    there = source(tmp_path)
    end = there.newest()
    window = Window(learned=None, seen=None, cut=end, end=end)
    first = there.train_rows(window)
    put(tmp_path, "a.csv", GOOD + "4,0.5,0\n5,0.")
    assert there.train_rows(window) == first, "what grew still begins with what was accepted"
    put(tmp_path, "a.csv", GOOD.replace("0.75", "0.76"))
    with pytest.raises(DataError, match=r"a\.csv changed since its rows were accepted"):
        there.train_rows(window)
    (tmp_path / "in" / "a.csv").unlink()
    with pytest.raises(DataError, match=r"a\.csv changed .* it is gone"):
        there.train_rows(window)


def test_numpy_arrays_of_any_rank_are_rows_and_pickles_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "x.npy", b"")
    np.savez(tmp_path / "in" / "a.npz", at=np.arange(3), x=np.arange(12.0).reshape(3, 2, 2), y=np.array([0, 1, 0]))
    np.save(tmp_path / "in" / "p.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    there = source(tmp_path, label="y", clock=Stopped(2e9))
    table = all_rows(there)
    assert table["x"].combine_chunks().to_numpy_ndarray().tolist() == np.arange(12.0).reshape(3, 2, 2).tolist()
    assert "never loaded" in aside(there, "p.npy")["reason"]


def test_images_are_rows_labelled_by_their_folder_and_read_when_asked(tmp_path: Path) -> None:
    from PIL import Image

    for name in ("cat/a.png", "dog/b.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True)
        Image.new("L", (4, 4), color=ord(name[0])).save(tmp_path / "in" / name)
    whole = (tmp_path / "in" / "cat" / "a.png").read_bytes()
    put(tmp_path, "dog/cut.png", whole[:40])
    Image.new("L", (4, 4), color=77).save(tmp_path / "in" / "dog" / "c.png")
    there = source(tmp_path, time=None, label=None, clock=Stopped())
    end = there.newest()
    assert end == 3
    table = there.train_rows(Window(learned=None, seen=None, cut=end, end=end))
    assert sorted(zip(table["path"].to_pylist(), table["label"].to_pylist(), strict=True)) == [
        ("cat/a.png", "cat"), ("dog/b.png", "dog"), ("dog/c.png", "dog"),
    ]  # fmt: skip
    with there.open("cat/a.png") as file:
        assert file.read() == whole
    assert aside(there, "dog/cut.png")["state"] == "waiting"


def test_a_bucket_is_a_folder(tmp_path: Path) -> None:
    import fsspec

    bucket = fsspec.filesystem("memory")
    bucket.pipe("/bucket-of-rules/day/a.csv", GOOD.encode())
    there = FolderSource("memory://bucket-of-rules", name="m", time="at", holdout=1, settle_s=0.0, project=tmp_path)
    assert there.newest() == "3@3"
    assert all_rows(there).num_rows == 3
    bucket.pipe("/bucket-of-rules/day/a.csv", (GOOD + "4,0.5,1\n").encode())
    assert there.count("3@3", there.newest()) == 1


def test_a_look_at_nothing_new_opens_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a.csv", GOOD)
    put(tmp_path, "b.csv", HEADER + "5,abc,0\n")
    there = source(tmp_path)
    before = there.newest()

    def opened(*_: Any, **__: Any) -> Any:
        raise AssertionError("a file that did not change was opened")

    monkeypatch.setattr("plaster_ops.data.accept.read_rows", opened)
    assert there.newest() == before


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"holdout": "soon"}, "is no duration"),
        ({"holdout": "7d", "time": None}, "needs a time column"),
        ({"holdout": 0}, "holds nothing out"),
        ({"label_delay": "1d", "time": None}, "needs a time column"),
        ({"format": "xml"}, "format 'xml' is unknown"),
        ({"schema": {"price": "money"}}, "which Arrow does not have"),
        ({"ranges": {"price": (1, 0)}}, "ranges: 'price'"),
        ({"labels": (0, 1), "label": None}, "no label column"),
        ({"max_missing_ratio": 2}, "is no ratio"),
        ({"name": "a/b"}, "is no file name"),
    ],
)
def test_a_keyword_that_means_nothing_is_refused_at_once(tmp_path: Path, changed: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        source(tmp_path, **changed)


def test_a_position_of_another_source_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", GOOD)
    there = source(tmp_path)
    there.newest()
    with pytest.raises(DataError, match="17 is no position of source 's'"):
        there.count(17, "3@3")


def test_a_damaged_ledger_is_named_with_the_way_out(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", GOOD)
    ledger = tmp_path / "mlruns" / "sources" / "s.db"
    ledger.parent.mkdir(parents=True)
    ledger.write_bytes(b"no database" * 100)
    with pytest.raises(DataError, match=r"s\.db cannot be used") as caught:
        source(tmp_path).newest()
    assert "counts as new once more" in caught.value.next_step


def test_a_lookback_by_age_needs_event_times(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", GOOD)
    there = source(tmp_path, time=None)
    end = there.newest()
    with pytest.raises(SettingsError, match=r"data\.window = '90d' needs event times"):
        there.train_rows(Window(learned=None, seen=None, cut=there.cut(None, end), end=end, lookback="90d"))


def test_old_rows_are_repeated_as_the_window_says_and_new_ones_always(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", HEADER + "".join(f"{at},0.5,0\n" for at in range(100)))
    there = source(tmp_path)
    first = there.newest()
    put(tmp_path, "b.csv", HEADER + "3,0.1,0\n100,0.1,0\n101,0.1,0\n")
    end = there.newest()

    def trained(**more: Any) -> list[int]:
        window = Window(learned=first, seen=first, cut=end, end=end, **more)
        found: list[int] = there.train_rows(window)["at"].to_pylist()
        assert found == there.train_rows(window)["at"].to_pylist(), "the same window gives the same rows"
        return found

    assert trained(lookback="10s") == [3, *range(92, 102)]
    assert trained(lookback="last 5") == [3, *range(97, 102)]
    assert trained(replay_ratio=0.0) == [3, 100, 101]
    drawn = trained(replay_ratio=2.0)
    assert len(drawn) == 9
    assert drawn != sorted([3, *range(94, 102)]), "drawn, not the newest"
    assert len(trained(replay_ratio=1000.0)) == 103

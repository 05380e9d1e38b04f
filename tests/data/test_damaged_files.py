"""One damaged file never ends a look: it waits or is set aside, with its own row, and all others are taken."""

import gzip
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from plaster_ops.data import listing
from tests.data.test_folder_rules import GOOD, HEADER, NOW, Stopped, all_rows, aside, parquet, put, source, state

LATER = Stopped(NOW + 10_000)


def npz(**arrays: Any) -> bytes:
    sink = io.BytesIO()
    np.savez(sink, **arrays)
    return sink.getvalue()


def far_time() -> bytes:
    times = pa.array([10, 2**62], pa.timestamp("us"))
    return parquet({"at": times, "price": [0.5, 0.5], "class": [0, 0]})


def spoiled_text() -> bytes:
    whole = parquet({"at": [5, 6], "price": [0.5, 0.5], "class": ["1", "é"]})
    place = whole.find("é".encode())
    return whole[:place] + b"\xe9a" + whole[place + 2 :]


SET_ASIDE: dict[str, tuple[str | bytes, int | None, str | None, str]] = {
    "latin.csv": ((HEADER + '4,0.5,0\n\n"5",0.5,1\n6,0.5,').encode() + b"\xe9\n", 3, None, "byte 0xe9 is no UTF-8"),
    "latin-header.csv": (b"at,pr\xe9ce,class\n1,2,3\n", None, None, "byte 0xe9 is no UTF-8"),
    "twice.csv": ("at,price,price,class\n4,0.1,0.2,1\n", None, "price", "2 columns of one name"),
    "huge.csv": (HEADER + "4,0.1,1\n99999999999999,0.1,1\n", 2, "at", "99999999999999 is too large for a time"),
    "list.parquet": (parquet({"at": [4, 5, 6], "price": [[1.0], [2.0, 3.0], [np.inf]], "class": [0, 0, 0]}), 3,
                     "price", "holds a number that is not finite"),
    "shape.npz": (npz(at=np.arange(3), price=np.ones((3, 4)), **{"class": np.arange(3)}), 1, "price", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", SET_ASIDE)
def test_a_file_that_cannot_be_taken_is_set_aside_alone_with_its_row(tmp_path: Path, name: str) -> None:
    content, row, column, reason = SET_ASIDE[name]
    nested = name in ("list.parquet", "shape.npz")
    first = npz(at=np.arange(3), price=np.ones((3, 2)), **{"class": np.arange(3)}) if nested else GOOD
    if name != "list.parquet":
        put(tmp_path, "a.npz" if nested else "a.csv", first)
    put(tmp_path, name, content, age_s=50)
    put(tmp_path, "z.csv" if not nested else "z.txt", HEADER + "7,0.5,0\n", age_s=10)
    there = source(tmp_path)
    found = aside(there, name)
    assert (found["state"], found["row"], found["column"]) == ("quarantined", row, column)
    assert reason in found["reason"]
    assert there.report()["files"]["accepted"] == (2 if not nested else name != "list.parquet")


@pytest.mark.parametrize(("content", "row"), [(far_time(), 2), (spoiled_text(), 2)], ids=["time", "text"])
def test_a_value_that_python_cannot_hold_is_named_by_its_row(tmp_path: Path, content: bytes, row: int) -> None:
    put(tmp_path, "a.parquet", content)
    found = aside(source(tmp_path), "a.parquet")
    assert (found["state"], found["row"]) == ("quarantined", row)


def test_the_row_of_a_text_among_times_is_named_in_a_first_file_too(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", HEADER + "1,0.5,0\n2,0.5,0\nsoon,0.5,0\n4,0.5,0\n")
    found = aside(source(tmp_path), "a.csv")
    assert (found["row"], found["value"]) == (3, "soon")


OPEN_QUOTE = 'at,price,class,note\n4,0.5,1,"a\nb"\n5,0.5,1,"c\n'


def test_a_cut_inside_a_quoted_value_is_no_end_of_a_line(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", OPEN_QUOTE)
    there = source(tmp_path)
    assert there.newest() is None
    assert "a quote is still open at its end, in row 2" in aside(there, "a.csv")["reason"]
    put(tmp_path, "a.csv", OPEN_QUOTE + 'd"\n')
    assert all_rows(there)["note"].to_pylist() == ["a\nb", "c\nd"]


def test_a_quote_left_open_is_set_aside_when_patience_is_over(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", OPEN_QUOTE)
    assert aside(source(tmp_path, clock=LATER), "a.csv")["state"] == "quarantined"


def test_a_single_quote_sign_inside_a_value_is_none_that_is_open(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", 'at,price,class,note\n4,0.5,1,5" pipe\n')
    assert all_rows(source(tmp_path))["note"].to_pylist() == ['5" pipe']


def test_a_last_line_without_end_has_the_number_of_its_row_whatever_stands_before(tmp_path: Path) -> None:
    text = 'at,price,class,note\n4,0.5,1,"a\nb, c"\n\n5,0.5,1,"d\ne"'
    put(tmp_path, "a.csv", text)
    there = source(tmp_path)
    assert "row 2, has no end" in aside(there, "a.csv")["reason"]
    assert all_rows(source(tmp_path, clock=LATER))["note"].to_pylist() == ["a\nb, c", "d\ne"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv.gz", gzip.compress(b"")), ("a.csv", "\n\n"), ("a.csv", "at,price,class"),
        ("a.npz", npz(at=np.arange(0), price=np.ones((0, 2)))),
    ],
    ids=["packed", "blank lines", "header", "arrays"],
)  # fmt: skip
def test_what_holds_no_rows_is_empty_in_every_form(tmp_path: Path, name: str, content: str | bytes) -> None:
    put(tmp_path, name, content)
    assert state(source(tmp_path, clock=LATER), name) == "empty"


@pytest.mark.parametrize("name", ["b.csv", "b.npz", "b.png"])
def test_a_file_that_the_system_does_not_give_waits_however_old_and_hinders_none(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = listing.Folder.open

    def refused(folder: listing.Folder, path: str) -> Any:
        if path == name:
            raise PermissionError(13, "Permission denied", path)
        return opened(folder, path)

    put(tmp_path, "a.csv", GOOD)
    put(tmp_path, name, GOOD)
    monkeypatch.setattr(listing.Folder, "open", refused)
    there = source(tmp_path, clock=LATER)
    assert there.newest() == "3@3"
    found = aside(there, name)
    assert (found["state"], found["reason"]) == ("waiting", "it cannot be read: Permission denied")


def test_numbers_of_another_width_or_byte_order_are_taken(tmp_path: Path) -> None:
    for number, kind in enumerate(("f8", "f4", ">f8", "f2")):
        at = np.array([number])
        put(tmp_path, f"{number}.npz", npz(at=at, price=np.full((1, 2), 0.5, kind), **{"class": at}), age_s=90 - number)
    assert all_rows(source(tmp_path))["price"].combine_chunks().to_numpy_ndarray().tolist() == [[0.5, 0.5]] * 4


def test_arrays_of_yes_and_no_are_taken(tmp_path: Path) -> None:
    put(tmp_path, "a.npz", npz(at=np.arange(2), price=np.ones((2, 2), bool), **{"class": np.arange(2)}))
    assert all_rows(source(tmp_path))["price"].to_pylist() == [[True, True], [True, True]]


def test_a_picture_too_large_to_open_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    (tmp_path / "in").mkdir()
    Image.new("1", (100, 100)).save(tmp_path / "in" / "a.png")
    os.utime(tmp_path / "in" / "a.png", (NOW - 50, NOW - 50))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert "exceeds limit" in aside(source(tmp_path, time=None, label=None), "a.png")["reason"]

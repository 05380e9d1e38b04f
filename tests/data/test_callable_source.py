"""Rows from a function are landed once, whatever dies in between."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from plaster_ops.data import callable_source
from plaster_ops.data.callable_source import CallableSource
from plaster_ops.domain.window import Window
from plaster_ops.errors import DataError


class Feed:
    """Ten rows a call, numbered; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.last = 100

    def __call__(self, after: Any) -> tuple[Any, Any]:
        self.asked.append(after)
        first = 0 if after is None else after["row"]
        upto = min(self.last, first + 10)
        return {"row": list(range(first, upto)), "value": [0.5] * (upto - first)}, {"row": upto}


def source(project: Path, fetch: Any) -> CallableSource:
    return CallableSource(fetch, name="feed", holdout=5, project=project)


def everything(there: CallableSource) -> list[int]:
    end = there.newest()
    window = Window(learned=None, seen=None, cut=there.cut(None, end), end=end)
    rows = [*there.train_rows(window)["row"].to_pylist(), *there.held_out_rows(window)["row"].to_pylist()]
    return sorted(rows)


def test_each_call_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    feed = Feed()
    there = source(tmp_path, feed)
    assert there.newest() == 10
    assert there.newest() == 20
    assert feed.asked == [None, {"row": 10}]
    assert everything(there) == list(range(30))
    assert there.count(20, 30) == 10


def test_a_feed_that_gives_nothing_gives_nothing_new(tmp_path: Path) -> None:
    feed = Feed()
    feed.last = 10
    there = source(tmp_path, feed)
    assert [there.newest(), there.newest(), there.newest()] == [10, 10, 10]


@pytest.mark.parametrize("empty", [None, [], {}, {"row": []}])
def test_no_rows_yet_is_no_data(tmp_path: Path, empty: Any) -> None:
    assert source(tmp_path, lambda after: (empty, after)).newest() is None


@pytest.mark.parametrize("rows", [[{"row": 1}, {"row": 2}], {"row": [1, 2]}, pa.table({"row": [1, 2]})])
def test_rows_come_in_three_forms(tmp_path: Path, rows: Any) -> None:
    assert source(tmp_path, lambda after: (rows if after is None else None, 1)).newest() == 2


def test_killed_between_landing_and_the_cursor_nothing_is_doubled_or_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = Feed()
    there = source(tmp_path, feed)
    there.newest()

    class Killed(BaseException):
        """Stands for a SIGKILL: no handler of ours sees it."""

    def landed_and_killed(rows: Any, cursor: str, file: Path) -> None:
        write(rows, cursor, file)
        raise Killed

    write = callable_source._write
    monkeypatch.setattr(callable_source, "_write", landed_and_killed)
    with pytest.raises(Killed):
        there.newest()
    monkeypatch.setattr(callable_source, "_write", write)
    there.newest()
    assert everything(there) == list(range(30))
    assert feed.asked == [None, {"row": 10}, {"row": 20}], "the landed rows were not asked for again"


@pytest.mark.parametrize(
    ("answer", "told"),
    [([1, 2], "returned list"), ((7, None), "cannot be kept"), (({"row": [1]}, object()), "cannot be kept")],
)
def test_an_answer_of_another_form_is_named(tmp_path: Path, answer: Any, told: str) -> None:
    with pytest.raises(DataError, match=told):
        source(tmp_path, lambda _: answer).newest()


def test_what_is_no_function_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="fetch is 7"):
        source(tmp_path, 7)


def test_without_its_ledger_a_feed_goes_on_behind_all_that_landed(tmp_path: Path) -> None:
    feed = Feed()
    there = source(tmp_path, feed)
    for _ in range(3):
        there.newest()
    (tmp_path / "mlruns" / "sources" / "feed.db").unlink()
    there.newest()
    assert everything(there) == list(range(40))
    assert feed.asked[-1] == {"row": 30}

"""Rows of a real SQLite file as arriving data: positions, the held-out part, late rows, and what goes wrong."""

import random
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from plaster_ops.data.table import TableSource
from plaster_ops.domain.window import Window
from plaster_ops.errors import DataError
from plaster_ops.ports import Source

SECRET = "s3cret-word"
NOON = 1_700_000_000.0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A table `sales` with columns of awkward names, empty."""
    with sqlite3.connect(tmp_path / "shop.db") as there:
        there.execute('create table sales (id integer primary key, "sold at" text, "order" real, label integer)')
    there.close()
    return tmp_path / "shop.db"


def insert(file: Path, rows: Iterable[tuple[Any, ...]]) -> None:
    with sqlite3.connect(file) as there:
        there.executemany("insert into sales values (?, ?, ?, ?)", list(rows))
    there.close()


def at(hour: int) -> str:
    return f"2023-11-{1 + hour // 24:02d} {hour % 24:02d}:00:00"


def row(number: int, hour: int | None = None, label: int | None = 1) -> tuple[Any, ...]:
    return number, at(number if hour is None else hour), number / 2, label


def plain(file: Path, **changed: Any) -> TableSource:
    given: dict[str, Any] = {"name": "shop", "url": "sqlite:///shop.db", "table": "sales", "order": "id", "holdout": 2}
    return TableSource(**{**given, "project": file.parent, "now": lambda: NOON, **changed})


def timed(file: Path, **changed: Any) -> TableSource:
    return plain(file, **{"time": "sold at", "label": "label", **changed})


def window_of(source: TableSource, learned: Any = None) -> Window:
    end = source.newest()
    return Window(learned=learned, seen=None, cut=source.cut(learned, end), end=end)


def asked(window: Window, **changed: Any) -> Any:
    """The window with a look-back or a replay asked for."""
    return SimpleNamespace(**{**window.to_json(), "lookback": "all", "replay_ratio": None, **changed})


def ids(table: Any) -> list[int]:
    return list(table.column("id").to_pylist())


def test_it_is_a_source_of_numbered_rows(file: Path) -> None:
    insert(file, map(row, range(1, 11)))
    typed: Source = plain(file)
    assert typed.newest() == "10#10"
    assert typed.cut(None, "10#10") == "8#8"
    assert (typed.count(None, "10#10"), typed.count("8#8", "10#10"), typed.count("10#10", "10#10")) == (10, 2, 0)
    assert typed.arrived_at("10#10") is None


def test_the_parts_of_a_window_are_its_rows_and_meet_nowhere(file: Path) -> None:
    insert(file, map(row, range(1, 11)))
    window = window_of(plain(file))
    assert ids(plain(file).train_rows(window)) == list(range(1, 9))
    assert ids(plain(file).held_out_rows(window)) == [9, 10]


def test_a_learned_row_is_not_held_out_again(file: Path) -> None:
    insert(file, map(row, range(1, 11)))
    assert plain(file, holdout=6).cut("8#8", "10#10") == "8#8"
    assert plain(file, holdout=20).cut(None, "10#10") is None
    window = Window(learned=None, seen=None, cut=None, end="10#10")
    assert plain(file).train_rows(window).num_rows == 0
    assert plain(file).held_out_rows(window).num_rows == 10


def test_a_row_that_committed_late_counts_as_new_until_it_is_learned(file: Path) -> None:
    insert(file, [row(n) for n in range(1, 11) if n != 5])
    first = window_of(plain(file))
    assert (first.cut, plain(file).remarks(first.cut)) == ("8#7", [])
    insert(file, [row(5), row(11)])
    assert plain(file).count(first.cut, plain(file).newest()) == 4
    assert "1 rows came late" in plain(file).remarks(first.cut)[0]
    second = window_of(plain(file), learned=first.cut)
    assert 5 in ids(plain(file).train_rows(second))
    assert plain(file).remarks(second.cut) == []
    assert plain(file).count(second.cut, second.end) == 2


def test_rows_that_are_gone_are_told_and_make_no_count_negative(file: Path) -> None:
    insert(file, map(row, range(1, 11)))
    with sqlite3.connect(file) as there:
        there.execute("delete from sales where id < 4")
    there.close()
    assert plain(file).remarks("8#8") == ["shop: 3 rows that were learned are gone"]
    assert plain(file).count("8#8", "10#10") == 2


@pytest.mark.parametrize("late", [False, True])
def test_a_replay_takes_what_is_new_and_all_where_it_cannot_tell(file: Path, late: bool) -> None:
    insert(file, [row(n) for n in range(1, 21) if n != 5])
    learned = plain(file).cut(None, plain(file).newest())
    insert(file, [row(n) for n in range(21, 25)] + ([row(5)] if late else []))
    made = window_of(plain(file), learned=learned)
    found = ids(plain(file).train_rows(asked(made, learned=learned, replay_ratio=0.5)))
    assert set(range(19, 23)) <= set(found)
    assert len(found) == (22 if late else 4 + 2)


def test_a_look_back_bounds_the_old_rows_and_never_the_new_ones(file: Path) -> None:
    insert(file, map(row, range(1, 37)))
    first = window_of(timed(file))
    assert ids(timed(file).train_rows(asked(first, lookback="last 5"))) == list(range(1, 35))
    insert(file, map(row, range(37, 41)))
    made = window_of(timed(file), learned=first.cut)
    wanted = {"last 6": range(33, 39), "last 2": range(35, 39), "1d": range(15, 39), "1h": range(35, 39)}
    for lookback, rows in wanted.items():
        found = timed(file).train_rows(asked(made, learned=first.cut, lookback=lookback))
        assert ids(found) == list(rows), lookback
    plainly = window_of(plain(file), learned=plain(file).cut(None, "20#20"))
    with pytest.raises(DataError, match="a duration needs points in time"):
        plain(file).train_rows(asked(plainly, lookback="1d"))


def test_a_position_with_event_time_names_both_and_how_many(file: Path) -> None:
    insert(file, map(row, range(1, 11)))
    window = window_of(timed(file, holdout="3h"))
    assert (window.end, window.cut) == (f"10@{at(10)}#10", f"10@{at(7)}#7")
    assert ids(timed(file).held_out_rows(window)) == [8, 9, 10]
    assert len(timed(file).times(None, window.end)) == 10
    assert timed(file).times(window.cut, window.end)[0][1] == 1


def test_a_row_whose_time_lies_in_what_was_learned_is_trained_on_next_time(file: Path) -> None:
    insert(file, map(row, range(1, 11)))
    first = window_of(timed(file))
    insert(file, [row(11, hour=3), row(12, hour=12)])
    end = timed(file).newest()
    assert timed(file).count(first.cut, end) == 4
    second = window_of(timed(file), learned=first.cut)
    assert 11 in ids(timed(file).train_rows(second))
    assert 11 not in ids(timed(file).held_out_rows(second))


def test_a_row_without_its_label_waits_and_is_not_lost(file: Path) -> None:
    insert(file, [row(n, label=None if n == 4 else 1) for n in range(1, 11)])
    first = window_of(timed(file))
    assert 4 not in ids(timed(file).train_rows(first))
    with sqlite3.connect(file) as there:
        there.execute("update sales set label = 0 where id = 4")
    there.close()
    assert timed(file).count(first.cut, first.end) == 3
    assert 4 in ids(timed(file).train_rows(first))


def test_rows_nearer_than_the_label_delay_and_rows_of_the_future_are_not_there_yet(file: Path) -> None:
    now = 1_698_840_000.0  # 2023-11-01 12:00 UTC
    insert(file, map(row, range(1, 15)))
    assert timed(file, now=lambda: now).newest() == f"14@{at(12)}#12"
    assert timed(file, now=lambda: now, label_delay="2h").newest() == f"14@{at(10)}#10"


def test_what_has_not_settled_is_left_for_the_next_time(file: Path) -> None:
    insert(file, map(row, range(1, 11)))
    assert plain(file, settle=3).newest() == "7#7"
    assert plain(file, settle=30).newest() is None
    by_time = {"order": "sold at", "now": lambda: 1_698_832_800.0}  # 10:00 UTC
    assert plain(file, settle="2h", **by_time).newest() == f"{at(8)}#8"
    assert plain(file, settle="2h", **by_time).arrived_at(f"{at(8)}#8") == 1_698_825_600.0


@pytest.mark.parametrize("seed", range(3))
def test_no_row_is_lost_or_scored_and_trained_at_once_in_any_order_of_arrival(file: Path, seed: int) -> None:
    draw = random.Random(seed)
    rows = [row(n, hour=max(0, n - draw.choice([0, 0, 0, 1, 6]))) for n in range(1, 101)]
    delayed = {n: draw.choice([0, 0, 3, 12]) for n in range(1, 101)}
    source, learned, there, counted = timed(file, holdout="5h"), None, set[int](), 0
    for step in range(0, 130, 10):
        come = [r for r in rows if r[0] not in there and r[0] + delayed[r[0]] <= step]
        there |= {r[0] for r in come}
        insert(file, come)
        window = window_of(source, learned)
        if window.cut is None or window.cut == learned:
            continue
        trained, held = ids(source.train_rows(window)), ids(source.held_out_rows(window))
        assert len(set(trained)) == len(trained)
        assert set(trained) | set(held) == there
        assert not set(trained) & set(held)
        counted += source.count(learned, window.cut)
        assert counted == len(trained)
        learned = window.cut
    assert len(there) == 100


def test_the_address_may_stand_in_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    insert(file, map(row, range(1, 4)))
    hidden = plain(file, url=None, url_env="SHOP_URL")
    with pytest.raises(DataError, match="SHOP_URL is not set"):
        hidden.newest()
    monkeypatch.setenv("SHOP_URL", f"sqlite:///{file}")
    assert hidden.newest() == "3#3"


def test_a_query_is_read_like_a_table_and_columns_are_chosen(file: Path) -> None:
    insert(file, map(row, range(1, 11)))
    asked = plain(
        file,
        table=None,
        query='select id, "order" * 2 as twice, label from sales where id <> 7',
        columns=["id", "twice"],
    )
    assert asked.newest() == "10#9"
    found = asked.train_rows(window_of(asked))
    assert found.column_names == ["id", "twice"]
    assert ids(found) == [1, 2, 3, 4, 5, 6, 8]


def test_nothing_in_the_table_is_no_position(file: Path) -> None:
    for source in (plain(file), timed(file)):
        assert source.newest() is None
        assert source.cut(None, None) is None
        assert source.count(None, None) == 0
        assert source.remarks(None) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"order": "idd"}, r"has no column 'idd'; did you mean 'id'\?"),
        ({"columns": ["gone"]}, "table 'sales' has no column 'gone'"),
        ({"table": "salez"}, "no table 'salez'"),
        ({"table": None, "query": "select absent from sales"}, "cannot answer: no such column: absent"),
        ({"url": "sqlite:///elsewhere.db"}, "no SQLite file 'elsewhere.db'"),
        ({"url": f"nonsense {SECRET}"}, "its url is no database URL"),
        ({"url": f"oracel://u:{SECRET}@h/d"}, "no driver for the database"),
        ({"order": "sold at", "settle": 5, "table": None, "query": "select 'a' as \"sold at\", 1 as id"}, "settle"),
    ],
)
def test_what_cannot_be_read_is_named_with_the_next_step(file: Path, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        plain(file, **changed).newest()
    assert int(caught.value.exit_code) == 2
    assert caught.value.next_step
    assert SECRET not in caught.value.message + caught.value.next_step + repr(plain(file, **changed))


@pytest.mark.filterwarnings("ignore:Query string argument")
def test_a_password_that_a_driver_repeats_is_struck_out(file: Path) -> None:
    told = plain(file, url="sqlite:///shop.db?password=hidden9", table=None, query="select hidden9 from sales")
    with pytest.raises(DataError, match=r"no such column: \*\*\*") as caught:
        told.newest()
    assert "hidden9" not in caught.value.message


def test_a_position_of_another_source_is_refused(file: Path) -> None:
    insert(file, map(row, range(1, 4)))
    for wrong in (7, "x#1", "3@2023#1"):
        with pytest.raises(DataError, match="is no position in table 'sales'"):
            plain(file).count(wrong, "3#3")


def test_text_among_numbers_names_the_column(file: Path) -> None:
    insert(file, [row(1), (2, at(2), "many", 1), row(3), row(4)])
    with pytest.raises(DataError, match="column 'order', rows 0 to 1"):
        plain(file).train_rows(window_of(plain(file)))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"url_env": "X"}, "both url_env and url"),
        ({"table": None}, "neither table and query"),
        ({"holdout": "3d"}, "needs the column of event time"),
        ({"label_delay": "3d"}, "needs the column of event time"),
        ({"holdout": -1}, "holdout = -1"),
        ({"time": "sold at", "holdout": "soon"}, "holdout = 'soon' is no duration"),
        ({"settle": "-3s"}, "settle = '-3s' is no duration"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(file: Path, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        plain(file, **changed)

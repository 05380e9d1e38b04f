"""Looking at what arrived leaves no trace: a retrain later says what it would have said."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from plaster_ops.data import scan
from plaster_ops.data.arrivals import Arrivals
from plaster_ops.data.callable_source import CallableSource
from plaster_ops.data.folder import FolderSource
from plaster_ops.data.lookout import Lookout
from plaster_ops.data.replay import ReplaySource
from plaster_ops.data.windows import arrived, lookout_of
from tests.conftest import SteppedClock

NOW_S = 1_795_000_000.0


def put(folder: Path, name: str, text: str, at_s: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    os.utime(folder / name, (at_s, at_s))


def rows(*numbers: int) -> str:
    return "n\n" + "".join(f"{number}\n" for number in numbers)


def source(project: Path, clock: SteppedClock | None = None, **given: Any) -> FolderSource:
    return FolderSource(
        "in", name="f", holdout=1, project=project, schema={"n": "int64"}, clock=clock or SteppedClock(), **given
    )


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """The ledgers that files were taken in to, one for each scan."""
    found: list[Path] = []
    real = Arrivals.scan

    def noted(self: Arrivals, **given: Any) -> None:
        found.append(self.file)
        real(self, **given)

    monkeypatch.setattr(Arrivals, "scan", noted)
    return found


def land(project: Path, step: int) -> None:
    """What lands, grows, moves, breaks and goes away, step by step."""
    folder, at_s = project / "in", NOW_S - 1000 + 10 * step
    steps: list[tuple[str, str | None]] = [
        ("a.csv", rows(1, 2)),
        ("b.csv", rows(3)),
        ("broken.csv", rows(4) + "five\n"),
        ("a.csv", rows(1, 2, 6)),
        ("b.csv", None),
        ("c.csv", rows(3)),
        ("brief.csv", rows(7, 8)),
        ("brief.csv", None),
        ("twin.csv", rows(1, 2, 6)),
        ("a.csv", rows(9)),
    ]
    name, text = steps[step]
    if text is None:
        (folder / name).unlink()
    else:
        put(folder, name, text, at_s)


def retrained(project: Path) -> tuple[Any, ...]:
    """What a retrain makes of it."""
    there = source(project)
    newest = there.newest()
    return newest, there.count(None, newest), there.report()


def test_a_retrain_says_the_same_whether_or_not_somebody_looked_before(tmp_path: Path) -> None:
    looked_at, alone = tmp_path / "looked", tmp_path / "alone"
    with closing(source(looked_at).lookout()) as lookout:
        told = []
        for first, last in ((0, 4), (4, 10)):
            for step in range(first, last):
                land(looked_at, step)
                land(alone, step)
                newest, _ = arrived(lookout, None)
                told.append((newest, lookout.count(None, newest)))
            assert retrained(looked_at) == retrained(alone)
            newest = lookout.newest()
            assert (newest, lookout.count(None, newest)) == retrained(alone)[:2]
    assert [count for _, count in told[:4]] == [2, 3, 3, 4]
    assert len(retrained(alone)[2]["set_aside"]) == 1


def test_quarantined_files_are_new_to_the_retrain_that_takes_them_in(tmp_path: Path) -> None:
    put(tmp_path / "in", "good.csv", rows(1), NOW_S - 100)
    put(tmp_path / "in", "bad.csv", rows(1) + "x\n", NOW_S - 100)
    with closing(source(tmp_path).lookout()) as lookout:
        assert lookout.newest() == 1
        assert not (tmp_path / "mlruns" / "sources" / "f.db").exists()
    there = source(tmp_path)
    there.newest()
    assert [row["file"] for row in there.report()["newly_quarantined"]] == ["bad.csv"]


def test_nothing_is_taken_in_while_nothing_changed(tmp_path: Path, scans: list[Path]) -> None:
    put(tmp_path / "in", "a.csv", rows(1), NOW_S - 100)
    with closing(source(tmp_path).lookout()) as lookout:
        assert [arrived(lookout, None)[1] for _ in range(5)] == [1] * 5
        assert len(scans) == 1
        put(tmp_path / "in", "b.csv", rows(2, 3), NOW_S - 90)
        assert [arrived(lookout, None)[1] for _ in range(5)] == [3] * 5
    assert [file.suffix for file in scans] == [".lookout0"] * 2


def test_what_a_retrain_took_in_is_no_longer_new(tmp_path: Path) -> None:
    put(tmp_path / "in", "a.csv", rows(1, 2), NOW_S - 100)
    there = source(tmp_path)
    with closing(there.lookout()) as lookout:
        assert arrived(lookout, None) == (2, 2)
        seen = there.newest()
        put(tmp_path / "in", "b.csv", rows(3), NOW_S - 90)
        assert arrived(lookout, seen) == (3, 1)


def test_a_file_that_is_still_being_written_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_sleep(_seconds: float) -> None:
        raise AssertionError("a look at one source kept all others waiting")

    monkeypatch.setattr(scan.time, "sleep", no_sleep)
    clock = SteppedClock()
    put(tmp_path / "in", "a.csv", rows(1), clock.now_utc() - 1.0)
    with closing(source(tmp_path, clock, settle_s=2.0).lookout()) as lookout:
        assert lookout.newest() is None
        clock.step(2.0)
        assert arrived(lookout, None) == (1, 1)


def test_a_file_without_an_end_counts_once_its_patience_is_over_though_it_did_not_change(tmp_path: Path) -> None:
    clock = SteppedClock()
    put(tmp_path / "in", "a.csv", "n\n1\n2", clock.now_utc() - 10.0)
    with closing(source(tmp_path, clock, patience_s=60.0).lookout()) as lookout:
        assert lookout.newest() is None
        clock.step(60.0)
        assert arrived(lookout, None) == (2, 2)


def test_two_who_look_have_a_copy_each(tmp_path: Path) -> None:
    put(tmp_path / "in", "a.csv", rows(1), NOW_S - 100)
    with closing(source(tmp_path).lookout()) as one, closing(source(tmp_path).lookout()) as other:
        assert (one.newest(), other.newest()) == (1, 1)
        copies = {file.name for file in (tmp_path / "mlruns" / "sources").glob("f.lookout?")}
        assert copies == {"f.lookout0", "f.lookout1"}
    with closing(source(tmp_path).lookout()) as again:
        assert again.newest() == 1
    assert not (tmp_path / "mlruns" / "sources" / "f.lookout2").exists()


def test_a_ledger_that_was_removed_begins_anew_for_who_looks_too(tmp_path: Path) -> None:
    put(tmp_path / "in", "a.csv", rows(1, 2), NOW_S - 100)
    there = source(tmp_path)
    with closing(there.lookout()) as lookout:
        seen = there.newest()
        there.cut(None, seen)
        assert arrived(lookout, seen) == (2, 0)
        (tmp_path / "mlruns" / "sources" / "f.db").unlink()
        newest, new = arrived(lookout, seen)
        assert new == 2
        assert newest == there.newest()


def test_a_function_is_asked_by_each_look_and_no_row_is_lost_or_doubled(tmp_path: Path) -> None:
    asked: list[Any] = []

    def fetch(after: Any) -> tuple[Any, Any]:
        asked.append(after)
        first = after or 0
        return {"n": list(range(first, first + 3))}, first + 3

    there = CallableSource(fetch, name="feed", holdout=1, project=tmp_path)
    with closing(there.lookout()) as lookout:
        assert [arrived(lookout, None)[1] for _ in range(2)] == [3, 6]
        assert there.newest() == 9
        assert asked == [None, 3, 6]
        assert arrived(lookout, 9) == (12, 3)
    assert there.report()["scan"]["accepted"] == 3


def test_a_function_that_gives_nothing_leaves_the_ledger_alone(tmp_path: Path, scans: list[Path]) -> None:
    there = CallableSource(lambda after: (None, after), name="feed", holdout=1, project=tmp_path)
    with closing(there.lookout()) as lookout:
        assert [lookout.newest() for _ in range(4)] == [None] * 4
    assert len(scans) <= 2


def test_any_other_source_is_asked_itself(tmp_path: Path) -> None:
    there = ReplaySource(name="r", pieces=[10, 20], holdout=2, project=tmp_path)
    assert lookout_of(there) is there
    assert arrived(there, 4) == (10, 6)
    assert isinstance(lookout_of(source(tmp_path)), Lookout)

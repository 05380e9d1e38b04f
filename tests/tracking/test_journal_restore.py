"""A journal made anew: nothing of the old file stays behind, and what was restored is not restored twice."""

from pathlib import Path

from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_restore import LedgerLine, rebuilding, restore_promotions, set_aside
from tests.tracking.samples import finish


def line(uid: str, previous: str | None = None, pipeline: str = "digits") -> LedgerLine:
    at = "2026-11-28T02:00:00.000+00:00"
    return LedgerLine(pipeline=pipeline, uid=uid, previous=previous, at=at, by="kim", reason="better", kind="promote")


def test_a_journal_that_somebody_has_open_is_put_aside_whole(tmp_path: Path) -> None:
    """Its write-ahead log, left where it is, would be taken for the new file's."""
    with Journal.open(tmp_path) as journal:
        uid = finish(journal).uid
        copy = set_aside(tmp_path)
        assert copy is not None
        assert [file.name for file in tmp_path.glob("plaster.db*")] == [copy.name]
    (tmp_path / "old").mkdir()
    copy.rename(tmp_path / "old" / "plaster.db")
    with Journal.open(tmp_path / "old") as old:
        assert old.run(uid).index == 1


def test_where_there_is_no_journal_there_is_nothing_to_put_aside(tmp_path: Path) -> None:
    assert set_aside(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_that_is_there_is_not_added_to_by_a_second_attempt(journal: Journal) -> None:
    first, second, other = finish(journal).uid, finish(journal).uid, finish(journal, "other").uid
    lines = [line(first), line(second, first)]
    assert restore_promotions(journal, lines) == 2
    assert restore_promotions(journal, [*lines, line(other, pipeline="other")]) == 1
    assert [(row.uid, row.previous, row.kind, row.by) for row in journal.promotions("digits")] == [
        (first, None, "promote", "kim"),
        (second, first, "promote", "kim"),
    ]


def test_after_a_rebuild_every_commit_waits_for_the_disk_again(journal: Journal) -> None:
    with rebuilding(journal):
        assert tuple(journal.file.rows("PRAGMA synchronous")[0]) == (0,)
    assert tuple(journal.file.rows("PRAGMA synchronous")[0]) == (2,)

"""Champions: compare-and-swap, an append-only ledger, and the watermarks that hang on them."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from plaster_ops.errors import UsageError
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_rows import Promotion, RunRow, RunState
from tests.tracking.samples import finish, make_record, start


def promote(journal: Journal, row: RunRow, expected: RunRow | None, reason: str = "gates passed") -> bool:
    return journal.promote(
        "digits",
        row.uid,
        expected=None if expected is None else expected.uid,
        by="retrain",
        reason=reason,
        forced=False,
    )


def test_a_promotion_replaces_the_expected_champion(journal: Journal) -> None:
    first, second = finish(journal), finish(journal)
    assert journal.champion("digits") is None
    assert promote(journal, first, None)
    assert promote(journal, second, first)
    assert journal.champion("digits") == second
    assert journal.previous_champion("digits") == first
    assert [(row.uid, row.previous) for row in journal.promotions("digits")] == [
        (first.uid, None),
        (second.uid, first.uid),
    ]


def test_a_promotion_over_a_champion_that_changed_does_nothing(journal: Journal) -> None:
    first, second, third = (finish(journal) for _ in range(3))
    assert promote(journal, first, None)
    assert promote(journal, second, first)
    assert not promote(journal, third, first)
    assert not promote(journal, third, None)
    assert journal.champion("digits") == second
    assert len(journal.promotions("digits")) == 2


def test_of_many_promotions_at_once_exactly_one_wins(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        rows = [finish(journal) for _ in range(8)]

    def race(row: RunRow) -> bool:
        with Journal.open(tmp_path) as mine:
            return promote(mine, row, None)

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(race, rows)) == 1


def test_a_rollback_is_one_more_line(journal: Journal) -> None:
    first, second = finish(journal), finish(journal)
    promote(journal, first, None)
    promote(journal, second, first)
    assert promote(journal, first, second, "rollback: latency in production")
    assert journal.champion("digits") == first
    assert journal.previous_champion("digits") == second
    assert [row.reason for row in journal.promotions("digits")][-1] == "rollback: latency in production"


def test_a_promotion_repeated_by_a_resumed_run_adds_nothing(journal: Journal) -> None:
    row = finish(journal)
    assert promote(journal, row, None)
    assert promote(journal, row, None)
    assert len(journal.promotions("digits")) == 1


def test_the_ledger_can_neither_be_changed_nor_shortened(journal: Journal) -> None:
    promote(journal, finish(journal), None)
    for sql in ("UPDATE promotions SET reason = 'x'", "DELETE FROM promotions"):
        with pytest.raises(sqlite3.IntegrityError, match="append only"), journal.file.write() as db:
            db.execute(sql)
    assert len(journal.promotions("digits")) == 1


def test_a_run_of_another_pipeline_or_without_an_engine_is_refused(journal: Journal) -> None:
    other, failed = finish(journal, "sequence"), start(journal)
    journal.fail_run(failed.uid, "failed", ["no engine"], 11)
    with pytest.raises(UsageError, match="has no run with the uid"):
        promote(journal, other, None)
    with pytest.raises(UsageError, match="has failed"):
        promote(journal, failed, None)


def test_record_and_promotion_are_stored_together(journal: Journal) -> None:
    first = finish(journal)
    promote(journal, first, None)
    row = start(journal)
    stale = Promotion(expected=None, by="retrain", reason="gates passed")
    assert not journal.finish_run(row.uid, make_record(row.uid, 2), stale)
    assert journal.run(row.uid).state is RunState.RUNNING
    assert journal.champion("digits") == first
    assert journal.finish_run(
        row.uid, make_record(row.uid, 2), Promotion(expected=first.uid, by="retrain", reason="ok")
    )
    champion = journal.champion("digits")
    assert champion is not None
    assert champion.uid == row.uid


def test_a_run_promoted_before_its_end_is_champion_once_it_is_finished(journal: Journal) -> None:
    first, second = finish(journal), start(journal)
    promote(journal, first, None)
    assert promote(journal, second, first)
    assert journal.champion("digits") == first
    assert journal.watermarks("digits") == (1261, 901)
    journal.finish_run(second.uid, make_record(second.uid, 2))
    assert journal.champion("digits") == journal.run(second.uid)


def test_a_held_run_moves_what_was_seen_but_not_what_was_learned(journal: Journal) -> None:
    assert journal.watermarks("digits") == (None, None)
    first = finish(journal)
    promote(journal, first, None)
    finish(journal, verdict="held")
    assert journal.watermarks("digits") == (1262, 901)


@pytest.mark.parametrize("position", [7, 7.5, "2026-11-23T00:00:00Z", None])
def test_watermarks_come_back_as_they_were(journal: Journal, position: int | float | str | None) -> None:
    row = finish(journal, seen=position, learned=position)
    promote(journal, row, None)
    seen, learned = journal.watermarks("digits")
    assert (seen, learned) == (position, position)
    assert type(seen) is type(position)


def test_the_challenger_is_the_newest_run_that_was_held_after_the_champion(journal: Journal) -> None:
    assert journal.aliases("digits") == {}
    held = finish(journal, verdict="held")
    assert journal.aliases("digits") == {"challenger": held.uid}
    champion = finish(journal)
    promote(journal, champion, None)
    assert journal.aliases("digits") == {"champion": champion.uid}
    newer = finish(journal, verdict="held")
    assert journal.aliases("digits") == {"champion": champion.uid, "challenger": newer.uid}


def test_a_champion_that_a_rollback_left_is_no_challenger(journal: Journal) -> None:
    first, second = finish(journal), finish(journal)
    promote(journal, first, None)
    promote(journal, second, first)
    promote(journal, first, second, "rolled back")
    assert journal.challenger("digits") is None
    assert journal.aliases("digits") == {"champion": first.uid, "previous": second.uid}


def test_a_promotion_of_a_run_that_has_not_ended_is_not_told_and_does_not_stand(journal: Journal) -> None:
    first, second = finish(journal), start(journal)
    promote(journal, first, None)
    promote(journal, second, first)
    assert journal.standing("digits") == (first.uid,)
    assert [line["uid"] for line in journal.ledger_lines("digits")] == [first.uid]
    journal.finish_run(second.uid, make_record(second.uid, 2))
    assert journal.standing("digits") == (first.uid, second.uid)
    assert [line["uid"] for line in journal.ledger_lines("digits")] == [first.uid, second.uid]

"""Compact records stand in the journal with their run, in one transaction."""

import pytest

from plaster_ops.domain.compact import CompactKind, CompactRow, pack
from plaster_ops.tracking import journal_runs
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_rows import Promotion
from tests.tracking.samples import finish, make_record, start

ROWS = tuple(
    CompactRow(kind=CompactKind.TIMED, label="single", process=process, body=pack({"process": process}))
    for process in (0, 1, 10)
)


def test_what_was_kept_comes_back_restart_by_restart(journal: Journal) -> None:
    row = start(journal)
    assert journal.finish_run(row.uid, make_record(row.uid), evidence=reversed(ROWS))  # type: ignore[arg-type]
    assert journal.evidence(row.uid) == ROWS
    assert journal.evidence(finish(journal).uid) == ()


def test_a_run_whose_evidence_cannot_be_stored_is_neither_finished_nor_promoted(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = start(journal)

    def fail(*_: object) -> None:
        raise RuntimeError("no space")

    monkeypatch.setattr(journal_runs, "store_evidence", fail)
    with pytest.raises(RuntimeError, match="no space"):
        journal.finish_run(
            row.uid, make_record(row.uid), Promotion(expected=None, by="retrain", reason="ok"), evidence=ROWS
        )
    assert journal.run(row.uid).state == "running"
    assert journal.record(row.uid) is None
    assert journal.promotions("digits") == []


def test_a_run_that_finished_before_keeps_what_it_had(journal: Journal) -> None:
    row = start(journal)
    journal.finish_run(row.uid, make_record(row.uid), evidence=ROWS[:1])
    journal.finish_run(row.uid, make_record(row.uid), evidence=ROWS)
    assert journal.evidence(row.uid) == ROWS[:1]


def test_a_run_ended_when_its_record_says(journal: Journal) -> None:
    row = finish(journal)
    record = journal.record(row.uid)
    assert record is not None
    assert row.ended_at == record.ended_at

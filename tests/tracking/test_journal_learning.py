"""What the journal knows of a pipeline's pace, from runs that were really stored."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from plaster_ops.tracking import journal_learning as sql
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_rows import Promotion
from tests.tracking.samples import make_record, start


def finish(journal: Journal, *, expected: str | None = None, promote: bool = True, **changed: Any) -> str:
    row = start(journal)
    record = replace(make_record(row.uid, index=row.index or 0), **changed)
    promotion = Promotion(expected=expected, by="me", reason="better") if promote else None
    assert journal.finish_run(row.uid, record, promotion)
    return row.uid


def test_a_pipeline_without_runs_has_no_pace(journal: Journal) -> None:
    assert journal.cycles_s("digits", 20) == []
    assert journal.promoted("digits") == []
    assert journal.ended("digits") == (0, 0)
    assert journal.fit_readings("digits", "learning/train_to_engine_s") == []


def test_cycles_are_those_of_finished_runs_oldest_first(journal: Journal) -> None:
    for seconds in (10.0, 20.0, 30.0):
        finish(journal, promote=False, phases={"cycle_s": seconds})
    finish(journal, promote=False, phases={})
    journal.save_progress(start(journal).uid, {"cycle_s": 99.0})
    assert journal.cycles_s("digits", 20) == [10.0, 20.0, 30.0]
    assert journal.cycles_s("digits", 2) == [30.0]


def test_a_champion_that_comes_back_is_marked_and_brings_its_data_along(journal: Journal) -> None:
    first = finish(journal, data={"absorbed_samples": 7})
    second = finish(journal, expected=first, data={})
    finish(journal, promote=False)
    assert journal.promote("digits", first, expected=second, by="me", reason="back")
    found = journal.promoted("digits")
    assert [(each.uid, each.is_again) for each in found] == [(first, False), (second, False), (first, True)]
    assert [each.data.get("absorbed_samples") for each in found] == [7, None, 7]
    assert found[0].at_s == datetime.fromisoformat(journal.promotions("digits")[0].at).timestamp()
    assert journal.ended("digits") == (2, 3)


def test_readings_come_with_the_params_and_tags_of_their_run(journal: Journal) -> None:
    finish(journal, promote=False)
    uid = finish(journal, promote=False, params={"start": "warm"}, tags={"plaster.graph_digest": "g"})
    record = journal.record(uid)
    assert record is not None
    reading = next(row for row in record.card if row["value"] is not None)
    found = journal.fit_readings("digits", reading["key"])
    assert len(found) == 2
    assert (found[-1].value, found[-1].params) == (reading["value"], {"start": "warm"})
    assert found[-1].tags == {"plaster.graph_digest": "g"}
    assert journal.fit_readings("other", reading["key"]) == []


@pytest.mark.parametrize("query", [sql.CYCLES_SQL, sql.PROMOTED_SQL, sql.COUNTS_SQL, sql.FITS_SQL])
def test_every_question_is_answered_by_an_index(journal: Journal, query: str) -> None:
    values = ("digits", "key", 9)[: 1 if "?1" in query else query.count("?")]
    values = ("digits", 9) if len(values) == 2 else values
    plan = [str(row["detail"]) for row in journal.file.rows(f"EXPLAIN QUERY PLAN {query}", values)]
    assert plan
    assert not [line for line in plan if line.startswith("SCAN") and "INDEX" not in line]

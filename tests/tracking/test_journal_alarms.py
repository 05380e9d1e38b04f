"""Alarms in the journal: with their record, once, for ever; what people say of them is beside them."""

import sqlite3
from pathlib import Path

import pytest

from plaster_ops.domain.alarm import Alarm, AlarmState
from plaster_ops.errors import NotRecorded, UsageError
from plaster_ops.ports import Tracked
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_restore import restore_run
from plaster_ops.tracking.journal_rows import Promotion
from tests.domain.alarms import alarm
from tests.tracking.samples import finish, make_record, start


def finish_with(journal: Journal, *alarms: Alarm) -> str:
    return finish(journal, assessment={"alarms": [each.to_json() for each in alarms]}).uid


def test_an_alarm_is_stored_with_its_record_and_both_know_its_id(journal: Journal) -> None:
    uid = finish_with(journal, alarm())
    (stored,) = journal.alarms("digits")
    assert (stored.index, stored.id, stored.state) == (4, 1, AlarmState.OPEN)
    assert journal.alarms_of_run(uid) == [stored]
    record = journal.record(uid)
    assert record is not None
    assert record.assessment["alarms"] == [stored.to_json()]
    assert journal.alarms("other") == []


def test_no_record_no_alarm(journal: Journal) -> None:
    row = start(journal)
    record = make_record(row.uid, assessment={"alarms": [alarm().to_json()]})
    stale = Promotion(expected="another champion", by="me", reason="")
    assert not journal.finish_run(row.uid, record, stale)
    assert journal.alarms() == []


@pytest.mark.parametrize(
    ("again", "rows"),
    [
        (alarm(9), 1),
        (alarm(10), 2),
        (alarm(9, after=0.9), 2),
        (alarm(9, fingerprint="e" * 16), 1),
        (alarm(9, key="latency/e2e_p90_ms"), 2),
        (alarm(9, p_value=None), 2),
        (alarm(4, p_value=None), 1),
    ],
)
def test_one_row_a_change_point(journal: Journal, again: Alarm, rows: int) -> None:
    finish_with(journal, alarm(4))
    uid = finish_with(journal, again)
    assert len(journal.alarms("digits")) == rows
    record = journal.record(uid)
    assert record is not None
    assert len(record.assessment["alarms"]) == rows - 1


def test_what_people_say_is_added_and_the_newest_counts(journal: Journal) -> None:
    finish_with(journal, alarm())
    seen = journal.set_alarm_state(1, AlarmState.ACKNOWLEDGED, by="kim", note="int8 is on purpose")
    assert (seen.state, seen.by, seen.note) == (AlarmState.ACKNOWLEDGED, "kim", "int8 is on purpose")
    assert journal.set_alarm_state(1, AlarmState.RESOLVED, by="lee", note=None).state is AlarmState.RESOLVED
    assert [(said["state"], said["by"]) for said in journal.alarm_states(1)] == [
        ("acknowledged", "kim"),
        ("resolved", "lee"),
    ]
    assert journal.alarms("digits")[0].by == "lee"


def test_nobody_can_say_anything_of_an_alarm_that_is_not_there(journal: Journal) -> None:
    with pytest.raises(UsageError, match="no alarm has the id 7"):
        journal.set_alarm_state(7, AlarmState.RESOLVED, by="kim", note=None)


def test_a_journal_that_is_made_anew_has_the_alarms_of_its_records_again(journal: Journal, tmp_path: Path) -> None:
    uid = finish_with(journal, alarm())
    record = journal.record(uid)
    assert record is not None
    tracked = Tracked(tracking_uri="memory:", experiment="plaster/digits", run_id="a" * 32, model_version=1)
    with Journal.open(tmp_path / "again") as anew:
        restore_run(anew, record, tracked, "h")
        assert anew.alarms("digits") == journal.alarms("digits")


@pytest.mark.parametrize("statement", ["DELETE FROM alarms", "UPDATE alarms SET worse = 0", "DELETE FROM alarm_states"])
def test_an_alarm_cannot_be_withdrawn(journal: Journal, statement: str) -> None:
    finish_with(journal, alarm())
    journal.set_alarm_state(1, AlarmState.ACKNOWLEDGED, by="kim", note=None)
    with pytest.raises((NotRecorded, sqlite3.IntegrityError), match="append only"), journal.file.write() as db:
        db.execute(statement)
    assert len(journal.alarms()) == 1


def test_two_pipelines_that_slow_down_at_one_number_are_both_told(journal: Journal) -> None:
    finish_with(journal, alarm())
    theirs = finish(journal, "other", assessment={"alarms": [alarm(pipeline="other").to_json()]})
    assert [each.pipeline for each in journal.alarms_of_run(theirs.uid)] == ["other"]
    assert len(journal.alarms("digits")) == 1


def test_the_row_itself_says_since_which_retrain_and_whether_for_the_worse(journal: Journal) -> None:
    """For whoever asks the file in SQL: the retrain that changed, not the one that told it."""
    finish_with(journal, alarm(4, raised_index=6), alarm(5, raised_index=6, key="latency/e2e_p90_ms", worse=False))
    rows = journal.file.rows("SELECT number, key, worse FROM alarms ORDER BY id")
    assert [tuple(row) for row in rows] == [(4, "latency/e2e_p50_ms", 1), (5, "latency/e2e_p90_ms", 0)]

"""The slot ledger: what is written is read, a transaction is all or nothing, and of two writers one is first."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from plaster_ops.domain.slots import Cause, Slot, SlotState
from plaster_ops.tracking import journal_file
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_file import JournalFile
from plaster_ops.tracking.slots import Overtaken, Pause, SlotLedger

FULL = Slot(
    pipeline="digits",
    planned_s=1_800_000_000.25,
    due_s=1_800_000_003.5,
    cause=Cause.DRIFT,
    state=SlotState.FAILED,
    reason="attempt 2 ended with 10",
    was_missed=True,
    attempts=2,
    not_before_s=1_800_000_060.0,
    started_s=1_800_000_004.0,
    ended_s=1_800_000_050.0,
    exit_code=10,
    verdict="failed",
    run="uid-7",
    owner="host 12",
)


def slot(planned_s: float, **more: object) -> Slot:
    return Slot(pipeline="digits", planned_s=planned_s, due_s=planned_s, **more)  # type: ignore[arg-type]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SlotLedger]:
    file = JournalFile(tmp_path / "mlruns")
    yield SlotLedger(file)
    file.close()


def test_a_row_is_read_as_it_was_written(ledger: SlotLedger) -> None:
    with ledger.write() as write:
        write.add([FULL, slot(5.0)])
        write.put(replace(FULL, state=SlotState.TIMED_OUT, exit_code=124))
    assert ledger.find("digits", Cause.DRIFT, FULL.planned_s) == replace(FULL, state=SlotState.TIMED_OUT, exit_code=124)
    assert ledger.find("digits", Cause.CLOCK, FULL.planned_s) is None
    assert ledger.find("digits", Cause.CLOCK, 5.0) == slot(5.0)


def test_open_slots_are_those_that_wait_or_run_oldest_first(ledger: SlotLedger) -> None:
    with ledger.write() as write:
        write.add([slot(3.0), slot(1.0, state=SlotState.RUNNING), slot(2.0, state=SlotState.RAN), FULL])
    assert [each.planned_s for each in ledger.open_slots()] == [1.0, 3.0]
    assert [each.planned_s for each in ledger.between("digits", 1.0, 3.0)] == [2.0, 3.0]
    assert [each.planned_s for each in ledger.newest("digits", 2, ended=True)] == [FULL.planned_s, 2.0]


def test_a_block_that_breaks_off_wrote_nothing(ledger: SlotLedger) -> None:
    with suppress(ZeroDivisionError), ledger.write() as write:
        write.add([slot(1.0)])
        write.account("digits", "@daily", 1.0)
        write.pause("digits", Pause(at_s=1.0, by="ann", reason="why"))
        raise ZeroDivisionError
    assert (ledger.open_slots(), ledger.accounted(), ledger.pauses()) == ([], {}, {})


def test_a_slot_that_has_a_row_or_waits_no_more_is_somebody_elses(ledger: SlotLedger) -> None:
    with ledger.write() as write:
        write.add([slot(1.0)])
    with pytest.raises(Overtaken), ledger.write() as write:
        write.add([slot(2.0), slot(1.0)])
    assert ledger.find("digits", Cause.CLOCK, 2.0) is None
    with ledger.write() as write:
        write.take(slot(1.0, state=SlotState.RUNNING, owner="one"))
    with pytest.raises(Overtaken, match="does not wait any more"), ledger.write() as write:
        write.take(slot(1.0, state=SlotState.RUNNING, owner="two"))
    assert [each.owner for each in ledger.open_slots()] == ["one"]


def test_a_row_that_cannot_be_is_nobody_elses(ledger: SlotLedger) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="CHECK"), ledger.write() as write:
        write.add([slot(1.0, state="asleep")])


def test_up_to_where_a_cadence_is_accounted_for(ledger: SlotLedger) -> None:
    with ledger.write() as write:
        write.account("digits", "@daily", 1.0)
        write.account("other", "@hourly", 2.0)
        write.advance("digits", 7.0)
        write.account("other", "@weekly", 3.0)
    told = ledger.accounted()
    assert {name: (at.cadence, at.upto_s) for name, at in told.items()} == {
        "digits": ("@daily", 7.0),
        "other": ("@weekly", 3.0),
    }
    with ledger.write() as write:
        write.forget("digits")
    assert list(ledger.accounted()) == ["other"]


def test_what_a_wrong_clock_accounted_for_is_taken_back_but_for_what_started(ledger: SlotLedger) -> None:
    ended = {"state": SlotState.SKIPPED, "ended_s": 9.0}
    kept = [
        slot(1.0, **ended),
        slot(6.0, state=SlotState.RAN, started_s=7.0),
        slot(8.0),
        slot(9.0, cause=Cause.HAND, **ended),
        replace(slot(9.0, **ended), pipeline="other"),
    ]
    with ledger.write() as write:
        write.add([*kept, slot(5.0, **ended), slot(7.0, state=SlotState.MISSED)])
        write.forget_ahead("digits", 4.0)
    assert ledger.planned_after("digits", 4.0) == {6.0, 8.0}
    assert [*ledger.between("digits", 0.0, 99.0), *ledger.between("other", 0.0, 99.0)] == kept


def test_when_each_pipeline_started_last(ledger: SlotLedger) -> None:
    with ledger.write() as write:
        by_hand = slot(1.5, cause=Cause.HAND, started_s=6.0)
        clock = [slot(1.0, started_s=5.0), slot(2.0, started_s=5.5), slot(3.0)]
        write.add([*clock, by_hand, replace(slot(1.0), pipeline="other")])
    assert ledger.last_started() == {"digits": 6.0}


def test_pauses_and_conditions_are_there_until_they_are_taken_away(ledger: SlotLedger) -> None:
    pause = Pause(at_s=3.0, by="ann", reason="moving house")
    with ledger.write() as write:
        write.pause("digits", pause)
        assert write.pauses() == {"digits": pause}
        assert write.set_condition("digits", "late", 3.0, "since three")
        assert not write.set_condition("digits", "late", 4.0, "still")
        assert write.set_condition("other", "late", 5.0, "too")
    assert ledger.pauses() == {"digits": pause}
    assert ledger.conditions("digits") == {("digits", "late"): (3.0, "still")}
    assert len(ledger.conditions()) == 2
    with ledger.write() as write:
        assert (write.resume("digits"), write.resume("digits")) == (True, False)
        assert (write.clear_condition("digits", "late"), write.clear_condition("digits", "late")) == (True, False)
    assert (ledger.pauses(), list(ledger.conditions())) == ({}, [("other", "late")])


def test_a_journal_from_before_there_were_slots_gets_a_ledger_and_keeps_its_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(journal_file, "MIGRATIONS", journal_file.MIGRATIONS[:2])
        with Journal.open(tmp_path) as journal:
            assert journal.file.row("SELECT 1 FROM sqlite_master WHERE name = 'slots'") is None
            uid = _run_of_then(journal)
    with Journal.open(tmp_path) as journal:
        ledger = SlotLedger(journal.file)
        with ledger.write() as write:
            write.add([replace(FULL, run=uid)])
        assert journal.run(uid).pipeline
        assert [each.run for each in ledger.newest()] == [uid]
        versions = [row["version"] for row in journal.file.rows("SELECT version FROM schema_version")]
        assert versions == list(range(1, len(journal_file.MIGRATIONS) + 1))
        (point,) = journal.points("digits", "latency/e2e_p50_ms")
        assert (point.index, point.value, point.fingerprint, point.method) == (1, 1.5, "f1", "latency.v9")


def _run_of_then(journal: Journal) -> str:
    """A finished retrain as it was written before slots and fingerprints had columns."""
    record = {
        "fingerprint": {"digest": "f1"},
        "card": [{"key": "latency/e2e_p50_ms", "value": 1.5, "status": "measured", "method": "latency.v9"}],
    }
    with journal.file.write() as db:
        db.execute(
            "INSERT INTO runs (uid, pipeline, number, state, trigger, started_at, verdict)"
            " VALUES ('u1', 'digits', 1, 'finished', 'manual', '2026-11-01T00:00:00+00:00', 'baseline')"
        )
        db.execute("INSERT INTO records (uid, record) VALUES ('u1', ?)", (json.dumps(record),))
        db.execute(
            "INSERT INTO readings (pipeline, key, seq, value, status)"
            " SELECT 'digits', 'latency/e2e_p50_ms', seq, 1.5, 'measured' FROM runs"
        )
    return "u1"


_WRITER = """
import sys
from pathlib import Path
from plaster_ops.domain.slots import Slot, SlotState
from plaster_ops.tracking.journal_file import JournalFile
from plaster_ops.tracking.slots import Overtaken, SlotLedger
ledger, won = SlotLedger(JournalFile(Path(sys.argv[1]))), 0
for number in range(60):
    slot = Slot(pipeline="digits", planned_s=float(number), due_s=0.0, state=SlotState.DUE)
    try:
        with ledger.write() as write:
            write.add([slot])
    except Overtaken:
        pass
    try:
        with ledger.write() as write:
            write.take(Slot(pipeline="digits", planned_s=float(number), due_s=0.0, state=SlotState.RUNNING))
            won += 1
    except Overtaken:
        pass
print(won)
"""


def test_of_two_processes_exactly_one_starts_each_slot(ledger: SlotLedger) -> None:
    """Both add the same sixty slots and try to start each."""
    command = [sys.executable, "-c", _WRITER, str(ledger.file.folder)]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    won = [int(writer.communicate(timeout=120)[0]) for writer in writers]
    assert sum(won) == len(ledger.open_slots()) == 60

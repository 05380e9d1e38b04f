"""The journal: runs, stages, slots, questions about the past, and what happens when it cannot be written."""

import math
import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from plaster_ops.domain.metrics import E2E_P50_MS, INFERENCES_PER_J, SLO_SAMPLES_PER_S, Better
from plaster_ops.errors import ExitCode, NotRecorded, UsageError
from plaster_ops.ports import Tracked
from plaster_ops.tracking import liveness
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_file import JournalFile
from plaster_ops.tracking.journal_history import BEST_SQL, HISTORY_SQL, LAST_SQL, SERIES_SQL
from plaster_ops.tracking.journal_rows import RunState
from tests.tracking.samples import PID_OF_NOBODY, finish, make_card, make_record, start

HERE = liveness.this_host()


def test_indexes_count_from_one_for_each_pipeline(journal: Journal) -> None:
    assert [start(journal, name).index for name in ("digits", "digits", "sequence", "digits")] == [1, 2, 1, 3]


def test_many_writers_at_once_never_share_an_index(tmp_path: Path) -> None:
    def open_and_start(_: int) -> int | None:
        with Journal.open(tmp_path / "mlruns") as mine:
            return start(mine).index

    with ThreadPoolExecutor(8) as pool:
        assert sorted(i for i in pool.map(open_and_start, range(24)) if i) == list(range(1, 25))


def test_a_file_that_is_locked_while_another_closes_it_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, calls = JournalFile._connect, []

    def locked_twice(file: JournalFile) -> sqlite3.Connection:
        calls.append(file)
        if len(calls) < 3:
            raise NotRecorded("it cannot be written", "wait") from sqlite3.OperationalError("database is locked")
        return connect(file)

    monkeypatch.setattr(JournalFile, "_connect", locked_twice)
    with Journal.open(tmp_path / "mlruns") as journal:
        assert start(journal).index == 1
    assert len(calls) == 3
    calls.clear()
    with pytest.raises(NotRecorded), Journal.open(tmp_path / "mlruns", busy_timeout_s=0.0):
        pass
    assert len(calls) == 1


def test_a_skipped_slot_is_a_row_with_an_instant_and_no_index(journal: Journal) -> None:
    finish(journal)
    skip = journal.record_skip("digits", "no new data", 1261, "cron", "2026-11-24T02:00:00+00:00")
    assert skip.index is None
    assert (skip.state, skip.verdict, skip.exit_code, skip.reasons) == (
        RunState.SKIPPED,
        "skipped",
        0,
        ("no new data",),
    )
    assert skip.started_at
    assert skip.slot == "2026-11-24T02:00:00+00:00"
    assert [row.label for row in journal.history("digits")] == ["#1", f"skip at {skip.started_at}"]
    assert start(journal).index == 2


def test_a_run_that_finds_no_new_data_becomes_a_skip_and_gives_its_index_back(journal: Journal) -> None:
    finish(journal)
    skip = journal.skip_run(start(journal).uid, reason="no new data", seen=1261)
    assert (skip.index, skip.state, skip.reasons) == (None, RunState.SKIPPED, ("no new data",))
    assert journal.watermarks("digits")[0] == 1261
    assert start(journal).index == 2


def test_history_is_newest_last_and_can_span_pipelines(journal: Journal) -> None:
    for name in ("digits", "sequence", "digits"):
        finish(journal, name)
    assert [row.index for row in journal.history("digits", 1)] == [2]
    assert [(row.pipeline, row.index) for row in journal.history(limit=2)] == [("sequence", 1), ("digits", 2)]
    assert journal.pipelines() == ["digits", "sequence"]


def test_only_finished_stages_are_handed_to_a_resumed_run(journal: Journal) -> None:
    uid = start(journal).uid
    journal.stage_started(uid, "prepare")
    journal.stage_done(uid, "prepare", {"samples": 12, "loss": math.nan}, 0.5)
    journal.stage_started(uid, "fit")
    assert journal.stages(uid) == {"prepare": {"samples": 12, "loss": None}}
    journal.stage_started(uid, "prepare")
    assert journal.stages(uid) == {}


def test_seconds_so_far_are_kept_for_a_resumed_run(journal: Journal) -> None:
    uid = start(journal).uid
    journal.save_progress(uid, {"fit_s": 3.5})
    assert journal.run(uid).phases == {"fit_s": 3.5}


def test_what_was_written_survives_kill_9(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from plaster_ops.tracking.journal import Journal\n"
        "j = Journal.open(Path(sys.argv[1]))\n"
        "r = j.start_run('digits', trigger='manual', slot=None, reference='', settings_json='{}', pid=os.getpid(),"
        " host=sys.argv[2], pid_started=None)\n"
        "j.stage_done(r.uid, 'fit', {'ok': 1}, 2.0)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path), HERE], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    with Journal.open(tmp_path) as journal:
        row = journal.unfinished("digits")
        assert row is not None
        assert journal.stages(row.uid) == {"fit": {"ok": 1}}
        assert [stale.uid for stale in journal.close_stale()] == [row.uid]
        assert journal.run(row.uid).state is RunState.INTERRUPTED


def test_a_finished_run_keeps_its_record_and_waits_in_the_outbox(journal: Journal) -> None:
    row = finish(journal)
    record = make_record(row.uid)
    assert journal.record(row.uid) == record
    assert (row.state, row.verdict, row.seen, row.learned) == (RunState.FINISHED, "promoted", 1261, 901)
    assert row.headlines[E2E_P50_MS.key] == 1.01
    assert row.headlines[INFERENCES_PER_J.key] is None
    assert row.phases["cycle_s"] == 90.0
    assert [waiting.uid for waiting in journal.pending()] == [row.uid]


def test_a_run_is_finished_and_queued_together_or_not_at_all(journal: Journal) -> None:
    uid = start(journal).uid
    with journal.file.write() as db:
        db.execute("CREATE TRIGGER full BEFORE INSERT ON outbox BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    with pytest.raises(sqlite3.IntegrityError, match="disk full"):
        journal.finish_run(uid, make_record(uid))
    assert journal.run(uid).state is RunState.RUNNING
    assert journal.record(uid) is None


def test_a_finished_run_can_neither_fail_nor_finish_again(journal: Journal) -> None:
    row = finish(journal)
    journal.fail_run(row.uid, "failed", ["late"], 10)
    journal.interrupt_run(row.uid, "late")
    assert journal.finish_run(row.uid, make_record(row.uid, verdict="held"))
    assert journal.run(row.uid) == row


def test_a_failed_run_is_recorded_too_and_moves_no_watermark(journal: Journal) -> None:
    finish(journal)
    row = start(journal)
    journal.fail_run(
        row.uid, "failed", ["loss is NaN"], ExitCode.TRAINING_FAILED, make_record(row.uid, 2, verdict="failed")
    )
    failed = journal.run(row.uid)
    assert (failed.state, failed.exit_code, failed.reasons) == (RunState.FAILED, 10, ("loss is NaN",))
    assert len(journal.pending()) == 2
    assert journal.watermarks("digits")[0] == 1261
    last = journal.last_finished("digits")
    assert last is not None
    assert last.index == 1


def test_numbers_that_are_not_finite_are_stored_as_unknown(journal: Journal) -> None:
    curve = {"key": "loss", "step": 1, "value": math.nan, "timestamp_ms": 1}
    row = finish(journal, curves=(curve,))
    record = journal.record(row.uid)
    assert record is not None
    assert record.curves[0]["value"] is None


@pytest.mark.parametrize(
    ("pid", "host", "found"),
    [(PID_OF_NOBODY, HERE, True), (os.getpid(), HERE, False), (PID_OF_NOBODY, "another-host", False)],
    ids=["of-nobody", "our-own", "on-another-host"],
)
def test_a_run_is_unfinished_when_its_process_is_certainly_dead(
    journal: Journal, pid: int, host: str, found: bool
) -> None:
    row = start(journal, pid=pid, host=host)
    assert (journal.unfinished("digits") is not None) is found
    assert bool(journal.close_stale()) is found
    assert (journal.run(row.uid).state is RunState.INTERRUPTED) is found


def test_a_pid_that_was_given_to_another_process_counts_as_dead(journal: Journal) -> None:
    began_s = liveness.started_at_s(os.getpid())
    assert began_s is not None
    open_run = {
        "trigger": "cron",
        "slot": None,
        "reference": "",
        "settings_json": "{}",
        "pid": os.getpid(),
        "host": HERE,
    }
    mine = journal.start_run("digits", pid_started=began_s, **open_run)  # type: ignore[arg-type]
    other = journal.start_run("digits", pid_started=began_s - 3600, **open_run)  # type: ignore[arg-type]
    assert [row.uid for row in journal.close_stale()] == [other.uid]
    assert journal.run(mine.uid).state is RunState.RUNNING


def test_the_holder_of_the_lock_closes_runs_of_other_hosts_too(journal: Journal) -> None:
    digits, sequence = start(journal, host="pod-1"), start(journal, "sequence", host="pod-1")
    assert [row.uid for row in journal.close_stale(locked="digits")] == [digits.uid]
    assert journal.run(sequence.uid).state is RunState.RUNNING


def test_an_interrupted_run_is_resumed_under_its_own_index(journal: Journal) -> None:
    row = start(journal)
    journal.interrupt_run(row.uid, "stopped by SIGTERM")
    assert journal.unfinished("digits") == journal.run(row.uid)
    resumed = journal.resume_run(row.uid, pid=os.getpid(), host=HERE, pid_started=None)
    assert (resumed.index, resumed.state, resumed.reasons, resumed.ended_at) == (1, RunState.RUNNING, (), None)
    assert journal.unfinished("digits") is None


def test_a_finished_run_cannot_be_resumed(journal: Journal) -> None:
    row = finish(journal)
    with pytest.raises(UsageError, match="run #1 of digits has finished"):
        journal.resume_run(row.uid, pid=1, host=HERE, pid_started=None)


def test_settings_are_kept_with_the_run(journal: Journal) -> None:
    assert journal.settings_json(start(journal).uid) == "{}"


def test_a_run_is_found_by_number_uid_and_mlflow_id(journal: Journal) -> None:
    rows = [finish(journal) for _ in range(3)]
    tracked = Tracked(tracking_uri="memory:", experiment="plaster/digits", run_id="zz" + "0" * 30, model_version=1)
    journal.mark_sent(rows[2].uid, tracked)
    for text in ("2", "#2", rows[1].uid, rows[1].uid[:12]):
        assert journal.find_run("digits", text).uid == rows[1].uid
    for text in ("zz000", tracked.run_id):
        assert journal.find_run("digits", text).uid == rows[2].uid


@pytest.mark.parametrize("text", ["99", "#99", "nonsense", "", "%", "abcd' OR 1", "-1"])
def test_an_unknown_run_is_answered_with_the_newest_ones(journal: Journal, text: str) -> None:
    row = finish(journal)
    with pytest.raises(UsageError, match="has no run") as caught:
        journal.find_run("digits", text)
    assert f"#1 ({row.uid[:8]}, promoted)" in caught.value.next_step


def test_an_ambiguous_beginning_is_refused(journal: Journal) -> None:
    with journal.file.write() as db:
        for number, uid in enumerate(("abcd1", "abcd2"), start=1):
            db.execute(
                "INSERT INTO runs (uid, pipeline, number, state, trigger, started_at)"
                " VALUES (?, 'digits', ?, 'failed', '', '')",
                (uid, number),
            )
    with pytest.raises(UsageError, match="2 runs begin with 'abcd'"):
        journal.find_run("digits", "abcd")


def test_the_best_run_is_the_best_measured_one(journal: Journal) -> None:
    fast = make_card(0.5).to_json()
    for row in fast:
        row["status"] = "suspect"
    for card in (make_card(3.0).to_json(), make_card(1.0).to_json(), make_card(2.0).to_json(), fast):
        finish(journal, card=tuple(card))
    lowest = journal.best("digits", E2E_P50_MS.key, Better.LOWER)
    highest = journal.best("digits", SLO_SAMPLES_PER_S.key, "higher")
    assert lowest is not None
    assert highest is not None
    assert (lowest.index, highest.index) == (2, 1)
    assert journal.best("digits", INFERENCES_PER_J.key, Better.HIGHER) is None
    with pytest.raises(UsageError, match="neither better"):
        journal.best("digits", E2E_P50_MS.key, Better.NEITHER)


def test_a_series_has_the_measured_values_of_finished_runs_newest_last(journal: Journal) -> None:
    for value in (3.0, 1.0, 2.0):
        finish(journal, card=tuple(make_card(value).to_json()))
    assert journal.series("digits", E2E_P50_MS.key) == [(1, 3.0), (2, 1.0), (3, 2.0)]
    assert journal.series("digits", E2E_P50_MS.key, limit=2) == [(2, 1.0), (3, 2.0)]


def test_paths_follow_a_project_that_is_moved(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    with Journal.open(old / "mlruns") as journal:
        uid = finish(journal, folder=old / "mlruns" / "runs").uid
        journal.remember_engine(uid, "d" * 64, old / "mlruns" / "runs" / uid / "engine")
    old.rename(new)
    with Journal.open(new / "mlruns") as journal:
        record, engine = journal.record(uid), journal.engine_digest(uid)
        assert record is not None
        assert engine is not None
        assert record.engine_folder == engine.folder == str(new / "mlruns" / "runs" / uid / "engine")
        assert Path(record.weights_file or "").is_file()
        assert engine.manifest_digest == "d" * 64
        assert journal.engine_digest("nobody") is None


def test_a_thousand_retrains_are_read_through_indexes(journal: Journal) -> None:
    with journal.file.write() as db:
        db.executemany(
            "INSERT INTO runs (uid, pipeline, number, state, trigger, started_at)"
            " VALUES (?, ?, ?, 'finished', 'cron', '')",
            [(f"{name}{n}", name, n) for n in range(1, 1001) for name in ("digits", "sequence")],
        )
        db.execute(
            "INSERT INTO readings (pipeline, key, seq, value, status)"
            " SELECT pipeline, 'latency/e2e_p50_ms', seq, number, 'measured' FROM runs"
        )
        db.execute("ANALYZE")
    assert [row.index for row in journal.history("digits", 1000)] == list(range(1, 1001))
    plans = {
        HISTORY_SQL: ("digits", 20),
        LAST_SQL: ("digits",),
        SERIES_SQL: ("digits", E2E_P50_MS.key, 20),
        BEST_SQL.format(order="ASC"): ("digits", E2E_P50_MS.key),
    }
    for sql, values in plans.items():
        steps = [row["detail"] for row in journal.file.rows(f"EXPLAIN QUERY PLAN {sql}", values)]
        assert steps
        assert all(step.startswith("SEARCH") for step in steps), (sql, steps)

"""The outbox: an outage costs nothing, what waits is sent oldest first and once, aliases follow the ledger."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from plaster_ops.domain.run import RunRecord
from plaster_ops.errors import TrackingUnavailable
from plaster_ops.ports import Tracked
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.memory_store import MemoryTracker
from plaster_ops.tracking.names import RecordRefused
from plaster_ops.tracking.outbox import SyncReport, point, sync
from tests.tracking.samples import finish

DOWN = TrackingUnavailable("no tracking server answers at 10.0.0.1:5000", "run: plaster-ops sync")


@dataclass
class DyingTracker(MemoryTracker):
    """Its caller is killed right after the aliases are set."""

    dies: bool = False

    def point(self, pipeline: str, aliases: Mapping[str, str]) -> None:
        super().point(pipeline, aliases)
        if self.dies:
            raise KeyboardInterrupt


def test_what_waits_is_sent_oldest_first_and_then_known_by_its_ids(journal: Journal, tmp_path: Path) -> None:
    rows = [finish(journal, folder=tmp_path / "runs") for _ in range(3)]
    tracker = MemoryTracker()
    assert sync(journal, tracker) == SyncReport(sent=tuple(row.uid for row in rows), left=0)
    assert list(tracker.plans) == [row.uid for row in rows]
    sent = journal.run(rows[2].uid)
    assert (sent.mlflow_run_id, sent.model_version, sent.experiment) == (f"memory-{sent.uid}", 3, "plaster/digits")


def test_a_second_sync_sends_nothing(journal: Journal) -> None:
    finish(journal)
    tracker = MemoryTracker()
    sync(journal, tracker)
    calls = tracker.calls
    assert sync(journal, tracker) == SyncReport(sent=(), left=0)
    assert tracker.calls == calls


def test_an_outage_is_noticed_once_and_every_record_is_kept(journal: Journal) -> None:
    rows = [finish(journal) for _ in range(3)]
    tracker = MemoryTracker(fail_with=DOWN)
    report = sync(journal, tracker)
    assert report == SyncReport(sent=(), left=3, reason=DOWN.message, next_step=DOWN.next_step)
    assert tracker.calls == 1
    assert [(waiting.attempts, waiting.error) for waiting in journal.pending()] == [
        (1, DOWN.message),
        (0, None),
        (0, None),
    ]
    tracker.fail_with = None
    assert sync(journal, tracker).sent == tuple(row.uid for row in rows)
    assert journal.pending() == []


def test_a_record_that_is_refused_holds_no_other_up(journal: Journal) -> None:
    bad = finish(journal, card=({"letter": "L", "key": "latency//x", "value": 1.0, "status": "measured"},))
    good = finish(journal)
    report = sync(journal, MemoryTracker())
    assert report.sent == (good.uid,)
    assert report.left == 1
    assert "latency//x" in (report.reason or "")
    assert [waiting.uid for waiting in journal.pending()] == [bad.uid]


def test_the_aliases_follow_the_ledger_even_when_no_record_waits(journal: Journal, tmp_path: Path) -> None:
    first, second = (finish(journal, folder=tmp_path / "runs") for _ in range(2))
    tracker = MemoryTracker()
    journal.promote("digits", first.uid, expected=None, by="retrain", reason="baseline")
    sync(journal, tracker)
    assert tracker.aliases == {"digits": {"champion": 1, "challenger": 2}}
    journal.promote("digits", second.uid, expected=first.uid, by="hand", reason="better")
    sync(journal, tracker)
    assert tracker.aliases == {"digits": {"champion": 2, "previous": 1}}


def test_aliases_that_an_outage_swallowed_are_set_by_the_next_sync(journal: Journal, tmp_path: Path) -> None:
    row = finish(journal, folder=tmp_path / "runs")
    tracker = MemoryTracker()
    sync(journal, tracker)
    journal.promote("digits", row.uid, expected=None, by="hand", reason="ok")
    tracker.fail_with = DOWN
    assert sync(journal, tracker).reason == DOWN.message
    tracker.fail_with = None
    assert sync(journal, tracker).reason is None
    assert tracker.aliases == {"digits": {"champion": 1}}


def test_an_alias_for_a_record_that_still_waits_is_set_once_it_is_there(journal: Journal, tmp_path: Path) -> None:
    class Picky(MemoryTracker):
        def record(self, run: RunRecord) -> Tracked:
            if picky:
                raise RecordRefused("not in this mood")
            return MemoryTracker.record(self, run)

    row, tracker, picky = finish(journal, folder=tmp_path / "runs"), Picky(), True
    journal.promote("digits", row.uid, expected=None, by="retrain", reason="ok")
    assert sync(journal, tracker).left == 1
    assert tracker.aliases == {"digits": {}}
    picky = False
    assert sync(journal, tracker).left == 0
    assert tracker.aliases == {"digits": {"champion": 1}}


def test_two_processes_take_turns(journal: Journal) -> None:
    finish(journal)
    lock = journal.folder / "locks" / "sync.lock"
    lock.parent.mkdir()
    holder = os.open(lock, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        tracker = MemoryTracker()
        report = sync(journal, tracker, lock_wait_s=0.0)
    finally:
        os.close(holder)
    assert (report.sent, report.left, report.reason, tracker.calls) == ((), 1, "another process is syncing", 0)
    assert sync(journal, tracker, lock_wait_s=0.0).left == 0


def test_a_dead_server_is_noticed_without_importing_mlflow(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from plaster_ops.tracking.connection import resolve_uri\n"
        "from plaster_ops.tracking.journal import Journal\n"
        "from plaster_ops.tracking.mlflow_store import MlflowTracker\n"
        "from plaster_ops.tracking.outbox import sync\n"
        "from tests.tracking.samples import finish\n"
        "with Journal.open(Path(sys.argv[1])) as journal:\n"
        "    finish(journal)\n"
        "    report = sync(journal, MlflowTracker(resolve_uri('http://127.0.0.1:9', Path(sys.argv[1]))))\n"
        "print(report.left, 'mlflow' in sys.modules, report.reason)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith("1 False no tracking server answers at 127.0.0.1:9"), done.stdout


def test_refusal_is_a_kind_of_unavailability() -> None:
    assert issubclass(RecordRefused, TrackingUnavailable)


def test_a_kill_between_an_alias_and_its_note_leaves_no_alias_behind_when_the_ledger_goes_back(
    journal: Journal, tmp_path: Path
) -> None:
    """The aliases wanted after the rollback are those that were noted before the kill, and MLflow has others."""
    first, second = finish(journal, folder=tmp_path), finish(journal, folder=tmp_path)
    for row, expected in ((first, None), (second, first.uid), (first, second.uid)):
        journal.promote("digits", row.uid, expected=expected, by="me", reason="r")
    tracker = DyingTracker()
    assert sync(journal, tracker).left == 0
    assert tracker.aliases["digits"] == {"champion": 1, "previous": 2}
    journal.promote("digits", second.uid, expected=first.uid, by="me", reason="r")
    tracker.dies = True
    with pytest.raises(KeyboardInterrupt):
        sync(journal, tracker)
    tracker.dies = False
    journal.promote("digits", first.uid, expected=second.uid, by="me", reason="back")
    assert point(journal, tracker, "digits") is None
    assert tracker.aliases["digits"] == {"champion": 1, "previous": 2}


def test_aliases_wait_while_another_process_syncs(journal: Journal, tmp_path: Path) -> None:
    row = finish(journal, folder=tmp_path / "runs")
    tracker = MemoryTracker()
    sync(journal, tracker)
    journal.promote("digits", row.uid, expected=None, by="hand", reason="ok")
    with (journal.folder / "locks" / "sync.lock").open("r+") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        assert point(journal, tracker, "digits", lock_wait_s=0.0) == "another process is syncing"
    assert tracker.aliases == {"digits": {"challenger": 1}}
    assert point(journal, tracker, "digits", lock_wait_s=0.0) is None
    assert tracker.aliases == {"digits": {"champion": 1}}


def test_the_ledger_is_told_once_the_runs_that_it_speaks_of_are_there(journal: Journal, tmp_path: Path) -> None:
    first, second = (finish(journal, folder=tmp_path / "runs") for _ in range(2))
    journal.promote("digits", first.uid, expected=None, by="retrain", reason="baseline")
    tracker = MemoryTracker()
    assert point(journal, tracker, "digits") is None
    assert tracker.ledgers == {}
    sync(journal, tracker)
    assert [line["uid"] for line in tracker.ledgers["digits"]] == [first.uid]
    journal.promote("digits", second.uid, expected=first.uid, by="hand", reason="better")
    assert point(journal, tracker, "digits") is None
    assert [line["uid"] for line in tracker.ledgers["digits"]] == [first.uid, second.uid]


def test_a_ledger_that_was_told_is_not_told_again(journal: Journal, tmp_path: Path) -> None:
    row = finish(journal, folder=tmp_path / "runs")
    journal.promote("digits", row.uid, expected=None, by="retrain", reason="baseline")
    tracker = MemoryTracker()
    sync(journal, tracker)
    calls = tracker.calls
    assert point(journal, tracker, "digits") is None
    assert tracker.calls == calls

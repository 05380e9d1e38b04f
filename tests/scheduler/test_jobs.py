"""A retrain as a child process: what it says at its end, its time limit, and that it dies with its scheduler."""

import os
import select
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from plaster_ops.domain.slots import Cause, Slot
from plaster_ops.flow.lock import take_device
from plaster_ops.tracking.liveness import is_alive
from scheduler.jobs import Ended, Job, retrain_command
from tests.scheduler.conftest import MakeProject

SLOT = Slot(pipeline="a b/c", planned_s=1_795_860_000.0, due_s=1_795_860_000.0, attempts=1)


def job(tmp_path: Path, *command: str, device: int | None = None, visible: str | None = None) -> Job:
    return Job(SLOT, command, project=tmp_path, device=device, visible=visible)


def ended(started: Job, timeout_s: float | None = 60.0, stop_s: float = 5.0) -> Ended:
    return started.wait(timeout_s=timeout_s, stop_s=stop_s)


def test_the_command_names_slot_trigger_and_project(tmp_path: Path) -> None:
    command = retrain_command(tmp_path, "cron")(SLOT)
    assert command[:4] == ["retrain", "a b/c", "--project", str(tmp_path)]
    assert command[command.index("--trigger") + 1] == "cron"
    assert command[command.index("--slot") + 1] == "2026-11-28T10:00:00+00:00"
    by_drift = retrain_command(tmp_path, "cron")(
        Slot(pipeline="a", planned_s=1.0, due_s=1.0, cause=Cause.DRIFT, attempts=1)
    )
    assert by_drift[by_drift.index("--trigger") + 1] == "drift"
    assert "--slot" not in by_drift


def test_what_it_says_in_json_is_the_reason_and_its_errors_are_in_the_log(tmp_path: Path) -> None:
    (tmp_path / "plaster.toml").write_text('[pipelines.a]\nref = "nowhere:pipeline"\n', encoding="utf-8")
    told = ended(job(tmp_path, "retrain", "a", "--project", str(tmp_path), "--json", "--quiet"))
    assert (told.exit_code, told.verdict) == (2, "failed")
    assert "nowhere" in told.reason
    log = (tmp_path / "mlruns" / "scheduler" / "logs" / "a_b_c.log").read_text(encoding="utf-8")
    assert log.startswith("== slot 2026-11-28T10:00:00+00:00 (clock), attempt 1\n")
    assert "error: " in log


def test_without_json_the_last_error_on_stderr_is_the_reason(tmp_path: Path) -> None:
    told = ended(job(tmp_path, "history", "--project", str(tmp_path / "gone")))
    assert told.exit_code == 2
    assert "gone" in told.reason


@pytest.fixture
def waiting(make_project: MakeProject) -> Path:
    """A project in which `schedule start` has nothing to do, and does it until it is stopped."""
    return make_project(idle="").project


def test_after_its_time_limit_it_is_stopped_with_124(waiting: Path) -> None:
    told = ended(job(waiting, "schedule", "start"), timeout_s=0.05, stop_s=0.05)
    assert told.exit_code == 124
    assert told.reason.startswith("stopped after")
    assert not told.stopped


def test_one_that_was_stopped_says_so(tmp_path: Path) -> None:
    started = job(tmp_path, "--version")
    started.kill()
    told = ended(started)
    assert (told.exit_code, told.stopped) == (128 + signal.SIGKILL, True)
    assert "SIGKILL" in told.reason


def test_one_whose_log_is_gone_has_ended_all_the_same(waiting: Path) -> None:
    started, told = job(waiting, "schedule", "start"), list[Ended]()
    thread = started.watch(told.append, timeout_s=None, stop_s=5.0)
    shutil.rmtree(waiting / "mlruns" / "scheduler" / "logs")
    started._process.kill()
    thread.join(30.0)
    assert [(each.exit_code, "its end could not be read" in each.reason) for each in told] == [(1, True)]


@pytest.mark.parametrize(("code", "stopped"), [(0, False), (3, False), (4, False), (10, False), (143, True)])
def test_one_that_was_asked_to_stop_and_came_to_its_end_was_not_stopped(
    tmp_path: Path, code: int, stopped: bool
) -> None:
    started = job(tmp_path, "--version")
    started._process.wait()
    started._stopped = True
    assert started._ended(code).stopped is stopped
    ended(started)


def test_it_holds_its_device_until_it_ends(tmp_path: Path) -> None:
    device = take_device(tmp_path, 1)
    started = job(tmp_path, "--version", device=device)
    held = take_device(tmp_path, 1)
    ended(started)
    free = take_device(tmp_path, 1)
    assert (held, free is None) == (None, False)
    assert free is not None
    os.close(free)


def test_one_that_cannot_be_started_gives_its_device_back(tmp_path: Path) -> None:
    (tmp_path / "mlruns").write_text("in the way", encoding="utf-8")
    with pytest.raises(OSError, match="mlruns"):
        job(tmp_path, "--version", device=take_device(tmp_path, 1))
    free = take_device(tmp_path, 1)
    assert free is not None
    os.close(free)


def test_a_large_log_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler.jobs.LOG_MAX_BYTES", 10)
    for _ in range(2):
        ended(job(tmp_path, "--version"))
    folder = tmp_path / "mlruns" / "scheduler" / "logs"
    assert sorted(path.name for path in folder.iterdir()) == ["a_b_c.log", "a_b_c.log.1"]


def test_it_dies_with_its_scheduler(waiting: Path) -> None:
    """The scheduler is a process that is killed with SIGKILL; its job would run for ever."""
    code = textwrap.dedent("""
        import os, sys
        from pathlib import Path
        from plaster_ops.domain.slots import Slot
        from scheduler.jobs import Job
        slot = Slot(pipeline="a", planned_s=1.0, due_s=1.0, attempts=1)
        job = Job(slot, ["schedule", "start"], project=Path(sys.argv[1]), device=None, visible=None)
        print(job._process.pid, flush=True)
        os.read(0, 1)
    """)
    command = [sys.executable, "-c", code, str(waiting)]
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    until_s = time.monotonic() + 30.0
    while not (waiting / "mlruns" / "scheduler" / "heartbeat.json").exists():
        assert time.monotonic() < until_s
        select.select([], [], [], 0.02)
    parent.kill()
    parent.communicate()
    while is_alive(pid, None):
        assert time.monotonic() < until_s
        select.select([], [], [], 0.02)

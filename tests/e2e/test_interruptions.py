"""Stopped in the middle: nothing left running, nothing lost, one run in the record."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import command_line, environment, make_project, run_command

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
SLOW = {"PLASTER_TEST_STEP_S": "0.5"}


@contextmanager
def running(project: Path, *arguments: str, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command_line(*arguments),
        cwd=project,
        env=environment() | (env or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def processes_of(project: Path) -> list[int]:
    """Live processes whose working directory is the project."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and int(folder.name) != os.getpid():
            try:
                cwd = str((folder / "cwd").readlink())
                state = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
            except OSError:
                continue
            if cwd == str(project) and state != "Z":
                found.append(int(folder.name))
    return found


def wait_until(happened: object, limit_s: float = 90.0) -> None:
    until_s = time.monotonic() + limit_s
    while time.monotonic() < until_s:
        if happened():  # type: ignore[operator]
            return
        time.sleep(0.05)
    raise AssertionError(f"did not happen within {limit_s} s")


def has_checkpoint(project: Path) -> bool:
    return any((project / "mlruns" / "runs").glob("*/*/checkpoints/*"))


def gone_within(project: Path, limit_s: float) -> None:
    wait_until(lambda: not processes_of(project), limit_s)


def test_kill_9_of_the_parent_leaves_nothing_and_resume_continues(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p")
    with running(project, "retrain", "--devices", "2", "--no-measure", env=SLOW) as retrain:
        wait_until(lambda: has_checkpoint(project))
        retrain.send_signal(signal.SIGKILL)
        retrain.wait()
        gone_within(project, 2.0)
    resumed = run_command(project, "retrain", "--resume", "--no-measure", "--json")
    assert resumed.code == 0, resumed.err
    assert resumed.payload["run"]["index"] == 1
    assert "kept from before" in resumed.err
    runs = json.loads(run_command(project, "history", "--json").out)["runs"]
    assert [(run["index"], run["state"]) for run in runs] == [(1, "finished")]


def test_sigterm_ends_with_143_and_no_process_left(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p")
    with running(project, "retrain", "--devices", "2", env=SLOW) as retrain:
        wait_until(lambda: has_checkpoint(project))
        retrain.send_signal(signal.SIGTERM)
        assert retrain.wait(30) == 143
        assert "--resume" in retrain.communicate()[1]
        gone_within(project, 2.0)
    runs = json.loads(run_command(project, "history", "--json").out)["runs"]
    assert runs[0]["state"] == "interrupted"


def test_the_same_pipeline_twice_at_once_runs_once_and_the_other_exits_75_at_once(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p")
    with running(project, "retrain", "--quiet", env=SLOW) as first:
        wait_until(lambda: any((project / "mlruns").glob("runs/*/*")))
        began_s = time.monotonic()
        second = run_command(project, "retrain", "--json")
        assert time.monotonic() - began_s < 15
        assert second.code == 75
        assert second.payload["verdict"] == "busy"
        assert f"process {first.pid}" in second.err
        first.send_signal(signal.SIGTERM)
        first.wait(30)

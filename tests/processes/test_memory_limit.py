"""A child that takes more memory than it was allowed is ended with all it started, and says how much it took.

Run with `-m`, this module is its own children's entry: the stage `take`.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from plaster_ops.errors import BuildFailed, ExitCode, MemoryLimit
from plaster_ops.ports import EventSink
from plaster_ops.processes import member
from plaster_ops.processes.child import serve
from plaster_ops.processes.gang import Limits, run_gang, run_stage
from tests.processes.test_gang import DOUBLES, is_gone

MB = 1_000_000
ALLOWED = 300 * MB
TOO_MUCH = 400 * MB
_HOLDER = """
import os, sys, time
held = bytearray(b"1") * int(sys.argv[1])
print(os.getpid(), flush=True)
time.sleep(120)
"""


def take(spec: Mapping[str, Any], _folder: Path, emit: EventSink) -> dict[str, Any]:
    """Starts a grandchild that holds `theirs` bytes, takes `mine` bytes itself, shares them with `forks`, and waits."""
    if spec.get("deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    emit({"event": "started_both", "pids": [os.getpid(), _start_holder(spec)]})
    held = bytearray(b"1") * int(spec.get("mine", 1))
    for _ in range(int(spec.get("forks", 0))):
        if os.fork() == 0:
            signal.pause()
    if not spec.get("silent"):
        emit({"event": "holding"})
    if spec.get("wait"):
        signal.pause()
    if spec.get("look_s"):
        signal.sigtimedwait([signal.SIGUSR1], float(spec["look_s"]))
    return {"held": len(held)}


def _start_holder(spec: Mapping[str, Any]) -> int:
    """The number of a process that holds memory already; `orphaned`: whoever started it is gone."""
    starter = "import os, sys; os.fork() and os._exit(0); exec(sys.argv[2])" if spec.get("orphaned") else _HOLDER
    holder = subprocess.Popen(
        [sys.executable, "-c", starter, str(spec.get("theirs", 1)), _HOLDER], stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    pid = int(holder.stdout.readline())
    if spec.get("orphaned"):
        holder.wait()
    return pid


class Heard:
    """The events of a stage."""

    def __init__(self) -> None:
        self.events: list[Mapping[str, Any]] = []

    def __call__(self, event: Mapping[str, Any]) -> None:
        self.events.append(event)

    @property
    def pids(self) -> list[int]:
        return [pid for event in self.events if event["event"] == "started_both" for pid in event["pids"]]


@pytest.fixture(autouse=True)
def _children_run_this_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member, "ENTRY", "test_memory_limit")


@pytest.fixture
def heard() -> Heard:
    return Heard()


def start(folder: Path, heard: Heard, memory_bytes: int | None, grace_s: float = 1.0, **spec: Any) -> dict[str, Any]:
    limits = Limits(timeout_s=60, idle_s=60, grace_s=grace_s, memory_bytes=memory_bytes)
    return run_stage("take", spec, folder=folder, limits=limits, on_event=heard, project=folder, env=DOUBLES)


def refused(folder: Path, heard: Heard, **spec: Any) -> MemoryLimit:
    with pytest.raises(MemoryLimit) as caught:
        start(folder, heard, ALLOWED, wait=True, **spec)
    return caught.value


def test_a_child_that_takes_more_than_it_may_is_ended_with_what_it_started(tmp_path: Path, heard: Heard) -> None:
    error = refused(tmp_path, heard, mine=TOO_MUCH)
    assert len(heard.pids) == 2
    assert all(is_gone(pid) for pid in heard.pids)
    told = re.fullmatch(r"take: took (\d\.\d\d) GB of memory, 0\.30 GB are allowed; stopped", error.message)
    assert told is not None, error.message
    assert 0.30 <= float(told[1]) <= 0.60
    assert "engine.memory_bytes" in error.next_step
    assert isinstance(error, BuildFailed)
    assert error.exit_code == ExitCode.BUILD_FAILED


def test_what_a_child_has_started_counts_as_its_own(tmp_path: Path, heard: Heard) -> None:
    refused(tmp_path, heard, theirs=TOO_MUCH)
    assert all(is_gone(pid) for pid in heard.pids)


def test_parent_and_grandchild_count_together_though_each_is_below(tmp_path: Path, heard: Heard) -> None:
    refused(tmp_path, heard, mine=180 * MB, theirs=180 * MB)
    assert all(is_gone(pid) for pid in heard.pids)


def test_what_was_started_in_the_background_counts_too(tmp_path: Path, heard: Heard) -> None:
    with pytest.raises(MemoryLimit):
        start(tmp_path, heard, ALLOWED, theirs=TOO_MUCH, orphaned=True, look_s=1.0)


def test_memory_that_forked_workers_share_is_counted_once(tmp_path: Path, heard: Heard) -> None:
    assert start(tmp_path, heard, ALLOWED, mine=150 * MB, forks=2, look_s=0.4) == {"held": 150 * MB}


def test_one_that_is_deaf_to_sigterm_is_killed_after_the_grace(tmp_path: Path, heard: Heard) -> None:
    with pytest.raises(MemoryLimit):
        start(tmp_path, heard, ALLOWED, grace_s=0.1, mine=TOO_MUCH, deaf=True, wait=True)
    assert all(is_gone(pid) for pid in heard.pids)


def test_one_that_stays_below_is_looked_at_and_left_alone(tmp_path: Path, heard: Heard) -> None:
    assert start(tmp_path, heard, ALLOWED, mine=20 * MB, theirs=20 * MB, look_s=0.4) == {"held": 20 * MB}
    assert [event["event"] for event in heard.events] == ["started", "started_both", "holding", "finished"]


def test_a_child_that_says_nothing_is_looked_at_all_the_same(tmp_path: Path, heard: Heard) -> None:
    limits = Limits(timeout_s=10, idle_s=None, grace_s=1.0, memory_bytes=ALLOWED)
    spec = {"mine": TOO_MUCH, "silent": True, "wait": True}
    with pytest.raises(MemoryLimit):
        run_stage("take", spec, folder=tmp_path, limits=limits, on_event=heard, project=tmp_path, env=DOUBLES)


def test_without_a_limit_nobody_looks(tmp_path: Path, heard: Heard) -> None:
    assert start(tmp_path, heard, None, mine=TOO_MUCH, look_s=0.4) == {"held": TOO_MUCH}


def test_ranks_that_are_each_below_share_one_limit(tmp_path: Path, heard: Heard) -> None:
    specs = [{"mine": 160 * MB, "wait": True}] * 2
    limits = Limits(timeout_s=60, idle_s=60, grace_s=1.0, memory_bytes=ALLOWED)
    with pytest.raises(MemoryLimit):
        run_gang(
            "take", specs, folder=tmp_path, limits=limits, on_event=heard, project=tmp_path, envs=[DOUBLES, DOUBLES]
        )
    assert all(is_gone(pid) for pid in heard.pids)


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]), take)

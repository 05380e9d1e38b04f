"""Whatever ends the parent ends its children, and theirs."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import plaster_ops
from tests.processes.test_gang import is_gone

HERE = Path(__file__).parent
ROOT = Path(plaster_ops.__file__).resolve().parent.parent


@contextmanager
def waiting_parent(folder: Path, **spec: Any) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A parent whose child and grandchild are up, and the numbers of those two."""
    parent = subprocess.Popen(
        [sys.executable, str(HERE / "parent_double.py"), str(folder), json.dumps(spec)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"},
    )
    assert parent.stdout is not None
    pids: list[int] = []
    try:
        with parent.stdout as lines:
            events = map(json.loads, lines)
            pids += next(event["pids"] for event in events if event["event"] == "waiting")
            yield parent, pids
    finally:
        parent.kill()
        parent.wait()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("spec", [{}, {"holds_the_lock": True}, {"stage": "wait_by_thread"}], ids=str)
def test_killing_the_parent_hard_leaves_nothing(tmp_path: Path, spec: dict[str, Any]) -> None:
    with waiting_parent(tmp_path, **spec) as (parent, pids):
        parent.kill()
        assert all(is_gone(pid, within_s=2.0) for pid in pids)


@pytest.mark.parametrize(
    ("number", "code", "ignored"),
    [(signal.SIGTERM, 143, False), (signal.SIGINT, 130, False), (signal.SIGINT, 130, True)],
)
def test_a_signal_stops_everything_and_says_so_in_the_exit_code(
    tmp_path: Path, number: signal.Signals, code: int, ignored: bool
) -> None:
    with waiting_parent(tmp_path, sigint_ignored=ignored) as (parent, pids):
        parent.send_signal(number)
        assert parent.wait(20) == code
        assert all(is_gone(pid, within_s=2.0) for pid in pids)


def test_a_second_signal_does_not_wait_for_the_grace(tmp_path: Path) -> None:
    with waiting_parent(tmp_path, deaf=True, grace_s=600) as (parent, pids):
        parent.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            parent.wait(0.5)
        parent.send_signal(signal.SIGTERM)
        assert parent.wait(20) == 143
        assert all(is_gone(pid) for pid in pids)

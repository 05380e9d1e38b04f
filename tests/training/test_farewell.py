"""SIGTERM to a rank: a mark once it listens, the end before that."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from plaster_ops.training.farewell import StopRequest


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_sigterm_leaves_a_mark_and_so_does_another_that_comes_with_it() -> None:
    stop = StopRequest()
    stop.listen()
    assert not stop.is_asked
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.is_asked


@pytest.mark.parametrize(("later_s", "code"), [(0.2, 0), (1.5, -15)])
def test_a_second_one_ends_the_process_only_if_it_comes_later(later_s: float, code: int) -> None:
    program = (
        "import os, signal, time\nfrom plaster_ops.training import farewell\n"
        "now = [10.0]\nfarewell.time.monotonic = lambda: now[0]\n"
        "farewell.StopRequest().listen()\nos.kill(os.getpid(), signal.SIGTERM)\n"
        f"now[0] += {later_s}\nos.kill(os.getpid(), signal.SIGTERM)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == code


def test_a_process_that_was_forked_is_ended_as_ever() -> None:
    StopRequest().listen()
    child = os.fork()
    if child == 0:
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM

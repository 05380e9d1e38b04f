"""The first signal raises; it is not lost when somebody swallows it.

Each test is a process of its own: a library loaded by another test may have left a signal stack behind that is gone.
"""

import subprocess
import sys
from pathlib import Path

HEAD = """
import os, signal
from plaster_ops.errors import Interrupted
from plaster_ops.processes.signals import raise_if_stopped, stop_on_signals
"""


def run_script(body: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", HEAD + body],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_signal_raises_interrupted_with_its_exit_code() -> None:
    assert (
        run_script("""
try:
    with stop_on_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        print("went on")
except Interrupted as error:
    print(int(error.exit_code))
""")
        == "143\n"
    )


def test_a_swallowed_signal_is_raised_again_at_the_next_wait() -> None:
    assert (
        run_script("""
with stop_on_signals():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except Interrupted:
        print("swallowed")
    try:
        raise_if_stopped()
    except Interrupted as error:
        print(int(error.exit_code))
""")
        == "swallowed\n130\n"
    )


def test_the_handlers_that_were_there_are_put_back() -> None:
    assert (
        run_script("""
before = signal.getsignal(signal.SIGTERM)
with stop_on_signals():
    print(signal.getsignal(signal.SIGTERM) is before)
print(signal.getsignal(signal.SIGTERM) is before)
raise_if_stopped()
""")
        == "False\nTrue\n"
    )

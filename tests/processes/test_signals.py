"""The first signal raises; it is not lost when somebody swallows it."""

import os
import signal

import pytest

from plaster_ops.errors import Interrupted
from plaster_ops.processes.signals import raise_if_stopped, stop_on_signals


def test_a_signal_raises_interrupted_with_its_exit_code() -> None:
    with pytest.raises(Interrupted) as caught, stop_on_signals():
        os.kill(os.getpid(), signal.SIGTERM)
    assert caught.value.exit_code == 143


def test_a_swallowed_signal_is_raised_again_at_the_next_wait() -> None:
    with stop_on_signals():
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted) as caught:
            raise_if_stopped()
    assert caught.value.exit_code == 130


def test_the_handlers_that_were_there_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_signals():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
    raise_if_stopped()

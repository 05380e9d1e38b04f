"""SIGINT and SIGTERM in the parent: one stops everything in order, a second one at once."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from plaster_ops.errors import Interrupted

_STOPPING = (signal.SIGINT, signal.SIGTERM)
_received: list[int] = []


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Inside, the first SIGINT or SIGTERM raises `Interrupted` in the main thread, wherever that is.

    A second one ends the process at once with 128 + its number; children die with their parent (liveness). Should
    something on the way swallow the exception, the next wait for a child raises it again. Also takes SIGINT where it
    was ignored, as in a script's background job. Only in the main thread; raises `ValueError` elsewhere.
    """
    _received.clear()
    before = {number: signal.signal(number, _stop) for number in _STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _received.clear()


def raise_if_stopped() -> None:
    """Raises `Interrupted` where a signal came in since `stop_on_signals` was entered."""
    if _received:
        raise Interrupted(_received[0])


def _stop(number: int, _frame: FrameType | None) -> None:
    if _received:
        os._exit(128 + number)
    _received.append(number)
    raise Interrupted(number)

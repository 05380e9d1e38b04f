"""In a rank: SIGTERM asks for a checkpoint and an orderly end, once there is something to lose."""

import os
import signal
import time
from types import FrameType

_AGAIN_S = 1.0
"""A supervisor of a whole group and the parent both send SIGTERM: what comes so close together is one request."""


class StopRequest:
    """Whether SIGTERM came in. Until `listen` it ends the process at once."""

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._asked_s: float | None = None

    @property
    def is_asked(self) -> bool:
        """Whether this rank was asked to stop."""
        return self._asked_s is not None

    def listen(self) -> None:
        """From here on SIGTERM only leaves a mark; one that comes a second later ends the process. Takes the place of
        Lightning's handler, which speaks to the other ranks, who may be gone, and hangs."""
        signal.signal(signal.SIGTERM, self._take)

    def _take(self, number: int, _frame: FrameType | None) -> None:
        now_s = time.monotonic()
        if self._asked_s is None and os.getpid() == self._owner:
            self._asked_s = now_s
        elif os.getpid() != self._owner or now_s - (self._asked_s or now_s) > _AGAIN_S:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

"""The child's end of the event pipe: one JSON object a line, to the parent and to nobody else."""

import json
import os
import threading
from collections.abc import Mapping
from typing import Any


class EventChannel:
    """Sends events; does nothing without a pipe, after the parent is gone, and in forked data loader workers."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd
        self._owner = os.getpid()
        self._lock = threading.Lock()

    def emit(self, event: Mapping[str, Any]) -> None:
        """Sends one event; blocks while the pipe is full. A value that JSON lacks is sent as its text."""
        if self._fd is None or os.getpid() != self._owner:
            return
        line = memoryview((json.dumps(event, default=str) + "\n").encode())
        with self._lock:
            try:
                while line:
                    line = line[os.write(self._fd, line) :]
            except OSError:
                self._fd = None


class EventLines:
    """The parent's end: whole lines out of the bytes that have arrived."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[dict[str, Any]]:
        """The events completed by `chunk`. A line that is no JSON object is dropped."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return [event for event in map(_parse, lines) if event is not None]


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None

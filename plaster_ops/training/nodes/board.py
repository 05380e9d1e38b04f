"""The board: small files in the shared project folder by which the nodes of a pipeline know of each other.

`leader.json` is written by node 0 and holds the attempt that is under way; `node-{n}.json` by node n. Each is written
anew once a second with a number that grows, so that a reader, by its own clock, knows whether the writer lives: clocks
of two machines are never compared. Standard library only.
"""

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from plaster_ops.errors import NotRecorded
from plaster_ops.processes import handover

BEAT_S = 1.0
LOOK_S = 0.2
LOST_S = 15.0
"""Silence after which a node counts as lost. Shared file systems show a change after some seconds."""
LEADER = 0


class Board:
    """The files of one pipeline."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, node: int) -> Path:
        """The file of a node."""
        return self.folder / ("leader.json" if node == LEADER else f"node-{node}.json")

    def read(self, node: int) -> dict[str, Any] | None:
        """What that node says; None before it ever said anything."""
        with contextlib.suppress(OSError):
            return handover.read_json(self.path(node))
        return None

    def written_ns(self, node: int) -> int:
        """When that node last wrote, by the file system's clock; 0 before it ever did."""
        try:
            return self.path(node).stat().st_mtime_ns
        except OSError:
            return 0


class Voice:
    """This node's own file, kept alive by a thread while inside `with`. `session` tells one start from the next."""

    def __init__(self, board: Board, node: int, said: Mapping[str, Any]) -> None:
        self.session = uuid.uuid4().hex
        self._path = board.path(node)
        self._said = {"host": os.uname().nodename, "pid": os.getpid(), "session": self.session, **said}
        self._beat = 0
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_alive, name="plaster-board", daemon=True)

    def __enter__(self) -> Self:
        """Speaks for the first time. Raises `NotRecorded` where the folder cannot be written."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._write()
        except OSError as error:
            raise NotRecorded(f"{self._path} cannot be written: {error.strerror}", "make mlruns/ writable") from None
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        """Falls silent; what was said last stays."""
        self._over.set()
        self._thread.join()

    def say(self, **changes: Any) -> None:
        """What is different from now on."""
        with self._lock:
            self._said = {**self._said, **changes}
        self._write()

    def _keep_alive(self) -> None:
        while not self._over.wait(BEAT_S):
            with contextlib.suppress(OSError):  # a file system that is away for a moment
                self._write()

    def _write(self) -> None:
        with self._lock:
            self._beat += 1
            handover.write_json(self._path, {**self._said, "beat": self._beat})


class Pulse:
    """Whether the writer of a file lives, seen from here."""

    def __init__(self, board: Board, node: int) -> None:
        self._board = board
        self._node = node
        self._beat: tuple[Any, Any] | None = None
        self._changed_s: float | None = None
        self._began_s = time.monotonic()
        self.said: dict[str, Any] = {}

    def look(self) -> dict[str, Any]:
        """What the node says now; {} before it ever said anything."""
        said = self._board.read(self._node)
        if said is None:
            return self.said
        beat = (said.get("session"), said.get("beat"))
        if beat != self._beat:
            self._changed_s = time.monotonic() if self._beat is not None else self._changed_s
            self._beat = beat
        self.said = said
        return said

    @property
    def is_alive(self) -> bool:
        """Whether it was heard within `LOST_S`; what had been written before the first look proves nothing."""
        return self._changed_s is not None and time.monotonic() - self._changed_s < LOST_S

    @property
    def silent_s(self) -> float:
        """Seconds since it was heard, or since this watch began."""
        return time.monotonic() - (self._began_s if self._changed_s is None else self._changed_s)

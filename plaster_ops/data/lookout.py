"""A look at what has arrived that leaves no trace: what a retrain later takes in and tells is as if nobody had looked.

Taking files in is an event of the ledger: which ones are new, set aside or gone is told by the retrain that took them
in. So a lookout takes them in to a copy of the ledger (`mlruns/sources/<name>.lookout<n>`, one for each process that
looks), which follows the real one. A file is read once, and nothing is while nothing changed.
"""

import fcntl
import itertools
import os
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from plaster_ops.data.arrivals import Arrivals
from plaster_ops.domain.window import Watermark
from plaster_ops.errors import DataError

_WAIT_S = 600.0
_MOST_KEPT = 8
Stamp = tuple[int, int, int] | None


class Lookout:
    """`newest` and `count` of `arrivals`, from a copy. `before` is called before each look at the files."""

    def __init__(self, arrivals: Arrivals, before: Callable[[], None] | None = None) -> None:
        self._before = before
        self._ledger = arrivals.file
        self._lock, own = _own_copy(arrivals.file)
        self._arrivals = replace(arrivals, file=own)
        self._is_copied, self._copied = False, _stamp(arrivals.file)
        self._listed: Mapping[str, str] | None = None
        self._newest: Watermark | None = None
        self._counts: dict[tuple[Watermark | None, Watermark | None], int] = {}

    def newest(self) -> Watermark | None:
        """As the source's; a file that moved within `settle_s` counts from the next look on."""
        if self._before is not None:
            self._before()
        stamp = _stamp(self._ledger)
        if not self._is_copied or stamp != self._copied:
            _copy(self._ledger, self._arrivals.file)
            self._is_copied, self._copied, self._listed = True, stamp, None
        listed = {path: file.stamp for path, file in self._arrivals.folder.list().items()}
        if listed != self._listed:
            self._listed, self._counts = None, {}
            self._arrivals.scan(waits=False)
            self._newest = self._arrivals.newest()
            self._listed = None if self._arrivals.waiting() else listed
        return self._newest

    def count(self, after: Watermark | None, upto: Watermark | None) -> int:
        """As the source's."""
        if (after, upto) not in self._counts:
            if len(self._counts) >= _MOST_KEPT:
                self._counts = {}
            self._counts[after, upto] = self._arrivals.count(after, upto)
        return self._counts[after, upto]

    def close(self) -> None:
        """Lets another process have the copy."""
        os.close(self._lock)


def _own_copy(ledger: Path) -> tuple[int, Path]:
    """A place for a copy that no living process uses, held by its open lock file."""
    ledger.parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count():
        copy = ledger.with_suffix(f".lookout{number}")
        lock = os.open(f"{copy}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return lock, copy
    raise AssertionError("unreachable")


def _stamp(file: Path) -> Stamp:
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _copy(ledger: Path, copy: Path) -> None:
    """The ledger as it was committed last; without one nothing, so that it begins as a new one would."""
    if not ledger.is_file():
        copy.unlink(missing_ok=True)
        return
    try:
        with closing(sqlite3.connect(ledger, timeout=_WAIT_S)) as real, closing(sqlite3.connect(copy)) as own:
            real.backup(own)
    except sqlite3.Error as error:
        raise DataError(f"the ledger {ledger} cannot be read: {error}", "see that its folder can be written") from error

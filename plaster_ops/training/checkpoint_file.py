"""Writing one checkpoint to a disk that may be full. Runs in workers only."""

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from plaster_ops.training.resume import complete, remove_older, unfinished_path

_log = logging.getLogger(__name__)


class _Sink:
    """A file that never raises: torch's writer aborts the process where a write fails under it. Hashes as it goes."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        """Takes all of `data`, or keeps the first error and swallows the rest."""
        if self.error is None:
            try:
                self._file.write(data)
                self._hash.update(data)
            except OSError as error:
                self.error = error
        return len(data)

    def flush(self) -> None:
        """Nothing: the file is flushed once, at its end."""

    def sha256(self) -> str:
        """Digest of what was written. Raises the error that writing met."""
        if self.error is not None:
            raise self.error
        return self._hash.hexdigest()


def write_state(state: Mapping[str, Any], path: Path) -> str:
    """Writes `state` to `path` and to the disk; returns its SHA-256. Raises `OSError`; then nothing is left there."""
    try:
        with path.open("wb", buffering=0) as raw:
            with os.fdopen(os.dup(raw.fileno()), "wb", buffering=1 << 20) as file:
                sink = _Sink(file)
                torch.save(dict(state), sink)
                digest = sink.sha256()
            os.fsync(raw.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        raise
    return digest


def keep(state: Mapping[str, Any], folder: Path, facts: Mapping[str, Any], tell: Callable[[str], None]) -> Path | None:
    """A complete checkpoint of `state`, or None where the disk has no room: the one before it then stays in force.

    `facts` go to `resume.complete`. On a full disk all older ones but the newest are removed and it is tried once more.
    `tell` gets a sentence for whoever watches.
    """
    try:
        return _write(state, folder, facts)
    except OSError as first:
        error: OSError = first
        if remove_older(folder):
            try:
                path = _write(state, folder, facts)
            except OSError as second:
                error = second
            else:
                tell(f"the disk was full ({first}): older checkpoints made room for that of step {facts['step']}")
                return path
    text = f"no checkpoint at step {facts['step']}: {error}; the fit goes on, the one before it stays in force"
    tell(text)
    _log.warning("%s", text)
    return None


def _write(state: Mapping[str, Any], folder: Path, facts: Mapping[str, Any]) -> Path:
    unfinished = unfinished_path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        digest = write_state(state, unfinished)
        return complete(folder, sha256=digest, **facts)
    except OSError:
        with contextlib.suppress(OSError):
            for rest in (unfinished, *folder.glob("*.tmp")):
                rest.unlink(missing_ok=True)
        raise

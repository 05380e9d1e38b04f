"""One retrain of a pipeline at a time, whoever starts it: hand, cron or service."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plaster_ops.errors import Busy, NotRecorded


@contextmanager
def pipeline_lock(folder: Path, pipeline: str, slug: str) -> Iterator[None]:
    """Holds `<folder>/<slug>.lock` (flock, released by the kernel when the holder dies) for the block.

    Raises `Busy` at once where another process holds it, naming that process; `NotRecorded` where the folder cannot
    be written.
    """
    file = folder / f"{slug}.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise NotRecorded(f"lock file {file} cannot be written: {error.strerror}", "make mlruns/ writable") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(
                f"another run of {pipeline!r} is going on ({_holder(file)})", "wait for it, or stop it, then try again"
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps({"pid": os.getpid(), "host": os.uname().nodename}).encode(), 0)
        yield
    finally:
        os.close(handle)


def _holder(file: Path) -> str:
    try:
        holder = json.loads(file.read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']}"
    except (OSError, ValueError, KeyError):
        return "its process is not known"

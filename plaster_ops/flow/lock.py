"""One retrain of a pipeline at a time, and no more retrains at once than the project has devices; whoever starts them:
hand, cron or service."""

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from plaster_ops.errors import Busy, NotRecorded


def slug(name: str) -> str:
    """A pipeline name as a file name: other characters become "_"."""
    return re.sub(r"[^\w.-]", "_", name).lstrip(".") or "_"


@contextmanager
def pipeline_lock(folder: Path, pipeline: str, slug: str) -> Iterator[None]:
    """Holds `<folder>/<slug>.lock` (flock, released by the kernel when the holder dies) for the block.

    Raises `Busy` at once where another process holds it, naming that process; `NotRecorded` where the folder cannot
    be written.
    """
    file = folder / f"{slug}.lock"
    handle = take_lock(file)
    if handle is None:
        raise Busy(
            f"another run of {pipeline!r} is going on ({holder_of(file)})", "wait for it, or stop it, then try again"
        )
    try:
        yield
    finally:
        os.close(handle)


PROMOTION_WAIT_S = 30.0
_POLL_S = 0.02


@contextmanager
def promotion_lock(folder: Path, pipeline: str, *, wait_s: float = PROMOTION_WAIT_S) -> Iterator[None]:
    """Holds the lock under which who is champion is looked at and changed by hand; a retrain may run meanwhile.

    It is held for milliseconds, so it is waited for; raises `Busy` after `wait_s`, naming its holder.
    """
    file = folder / f"{slug(pipeline)}.promotion.lock"
    until_s = time.monotonic() + wait_s
    while (handle := take_lock(file)) is None:
        if time.monotonic() >= until_s:
            raise Busy(f"the champion of {pipeline!r} is being changed ({holder_of(file)})", "try again")
        time.sleep(_POLL_S)
    try:
        yield
    finally:
        os.close(handle)


INHERITED = "PLASTER_DEVICE_LOCK"
"""The number of an open file that a scheduler has locked for this process."""


@contextmanager
def device_lock(folder: Path, devices: int) -> Iterator[None]:
    """Holds one of `<folder>/device-0.lock` and so on for the block, or what a scheduler handed on.

    Raises `Busy` at once where all of them are taken.
    """
    inherited = os.environ.pop(INHERITED, "")
    handle = int(inherited) if inherited.isdecimal() else take_device(folder, devices)
    if handle is None:
        holders = ", ".join(holder_of(_device(folder, number)) for number in range(devices))
        raise Busy(
            f"as many retrains are going on as this project has devices, {devices} ({holders})",
            "wait for one, or raise scheduler.devices where the machine can run more at once",
        )
    os.set_inheritable(handle, False)
    try:
        yield
    finally:
        os.close(handle)


def take_device(folder: Path, devices: int, *, only: int | None = None) -> int | None:
    """The open, locked file of a device that is free, of that `only` one if given; None where there is none."""
    for number in range(devices) if only is None else (only,):
        handle = take_lock(_device(folder, number))
        if handle is not None:
            return handle
    return None


def _device(folder: Path, number: int) -> Path:
    return folder / f"device-{number}.lock"


def take_lock(file: Path, **more: object) -> int | None:
    """The open, locked file, with this process and `more` written into it; None where another process holds it.

    The kernel releases it when the last process that has it open ends. Raises `NotRecorded`.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise NotRecorded(f"lock file {file} cannot be written: {error.strerror}", "make mlruns/ writable") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    written = json.dumps({"pid": os.getpid(), "host": os.uname().nodename, **more}).encode()
    with suppress(OSError):  # a full disk: the lock holds, only its holder is not named
        if os.fstat(handle).st_size > len(written):
            os.ftruncate(handle, 0)  # some milliseconds on a disk
        os.pwrite(handle, written, 0)
    return handle


def is_held(file: Path) -> bool:
    """Whether another process holds that lock; several may ask at once, and none of them is taken for a holder."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def holder_of(file: Path) -> str:
    """Who wrote into that lock file last, in words."""
    try:
        holder = json.loads(file.read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "its process is not known"

"""The child's frame around a stage: liveness first, then the spec, the work, and the result or the error.

Nothing of the stage is imported before the liveness watch stands, because that import takes seconds.
"""

import atexit
import contextlib
import faulthandler
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from plaster_ops.errors import ExitCode, PlasterError
from plaster_ops.ports import EventSink
from plaster_ops.processes import handover
from plaster_ops.processes.events import EventChannel
from plaster_ops.processes.liveness import die_with_parent

EVENT_FD = "PLASTER_EVENT_FD"
ALIVE_FD = "PLASTER_ALIVE_FD"

Run = Callable[[Mapping[str, Any], Path, EventSink], Mapping[str, Any]]


def serve(stage: str, folder: Path, run: Run) -> NoReturn:
    """Runs `run(spec, folder, emit)` and leaves the process; never returns.

    Writes `result.json` and exits 0, or writes `error.json` and exits with the error's code (1 for an error that is
    none of ours; its traceback goes to standard error, which is `log.txt`). SIGTERM ends the process at once.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    alive_fd = _take_fd(ALIVE_FD)
    if alive_fd is not None:
        die_with_parent(alive_fd)
    faulthandler.enable()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    channel = EventChannel(_take_fd(EVENT_FD))
    try:
        _work(stage, folder, run, channel.emit)
    except BaseException as error:
        _leave(_record(error, folder))
    _leave(ExitCode.DONE)


def _work(stage: str, folder: Path, run: Run, emit: EventSink) -> None:
    spec = handover.read_json(folder / handover.SPEC)
    if spec is None:
        raise PlasterError(f"stage {stage!r}: {folder / handover.SPEC} is missing or is no JSON object")
    emit({"event": "started", "stage": stage, "pid": os.getpid()})
    result = run(spec, folder, emit)
    handover.write_json(folder / handover.RESULT, result)
    emit({"event": "finished", "stage": stage})


def _record(error: BaseException, folder: Path) -> int:
    traceback.print_exception(error)
    described = handover.describe_error(error)
    with contextlib.suppress(OSError):
        handover.write_json(folder / handover.ERROR, described)
    return int(described["exit_code"]) or int(ExitCode.UNEXPECTED)


def _take_fd(name: str) -> int | None:
    text = os.environ.pop(name, "")
    if not text.isdecimal():
        return None
    os.set_inheritable(int(text), False)
    return int(text)


def _leave(code: int) -> NoReturn:
    """Ends without tearing the interpreter down: that takes over a second once torch is loaded.

    Functions registered with atexit run after success only; after a failure one of them may wait for ever for a
    process that is gone. Threads that are still running are not waited for.
    """
    if code == ExitCode.DONE:
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(int(code))

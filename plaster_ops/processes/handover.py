"""The files by which a parent and a child talk: `spec.json` in, `result.json` or `error.json` out, `log.txt` beside.

Written under a temporary name and moved into place, so a file that is there is whole. docs/workers.md has the fields.
"""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plaster_ops import errors
from plaster_ops.errors import ChildFailed, ExitCode, Interrupted, PlasterError

SPEC = "spec.json"
RESULT = "result.json"
ERROR = "error.json"
LOG = "log.txt"

_TAIL_BYTES = 32_768


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes `value` whole or not at all. Raises `ValueError` on NaN and infinity, `TypeError` on what JSON lacks."""
    text = json.dumps(value, allow_nan=False)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def read_json(path: Path) -> dict[str, Any] | None:
    """The mapping in `path`; None where there is no such file or no mapping in it."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def clear(folder: Path) -> None:
    """Removes what an earlier attempt left in `folder`, so that nothing old can be taken for new."""
    for name in (SPEC, RESULT, ERROR, LOG):
        with contextlib.suppress(FileNotFoundError):
            (folder / name).unlink()


def log_tail(folder: Path, lines: int = 80) -> str:
    """The last lines of `log.txt`, at most 32 kB; empty where there is no log."""
    try:
        with (folder / LOG).open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - _TAIL_BYTES))
            text = log.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def describe_error(error: BaseException) -> dict[str, Any]:
    """What `error.json` holds. Anything that is no `PlasterError` is described as `ChildFailed`, "Type: text"."""
    if isinstance(error, PlasterError):
        return {
            "type": type(error).__name__,
            "message": error.message,
            "next_step": error.next_step,
            "exit_code": int(error.exit_code),
        }
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    return {"type": "ChildFailed", "message": text, "next_step": "", "exit_code": int(ExitCode.UNEXPECTED)}


def rebuild_error(described: Mapping[str, Any], *, stage: str, log_tail: str) -> PlasterError:
    """The error that `described` tells of, of the class of that name; `ChildFailed` where the name is not known."""
    message, next_step = str(described.get("message", "")), str(described.get("next_step", ""))
    kind = getattr(errors, str(described.get("type", "")), None)
    exit_code = _exit_code(described.get("exit_code"))
    if not isinstance(kind, type) or not issubclass(kind, PlasterError) or issubclass(kind, ChildFailed | Interrupted):
        failed = ChildFailed(stage, message, log_tail, kind="exception", exit_code=exit_code)
        failed.next_step = next_step
        return failed
    error: PlasterError = kind(message, next_step)
    error.exit_code = exit_code
    return error


def _exit_code(value: object) -> ExitCode:
    known = {int(code) for code in ExitCode} - {int(ExitCode.DONE)}
    return ExitCode(value) if isinstance(value, int) and value in known else ExitCode.UNEXPECTED

"""Checks as they are made: a row each, told at once, and an end at the first that is bad."""

from typing import Any, NoReturn

from plaster_ops.ports import EventSink


class Stopped(Exception):
    """A check is bad: what comes after it cannot be tried."""


class Findings:
    """Rows `{"name", "state": ok | warn | bad, "detail", "next_step"}` in the order of the checks."""

    def __init__(self, emit: EventSink) -> None:
        self.rows: list[dict[str, Any]] = []
        self._emit = emit

    def ok(self, name: str, detail: str) -> None:
        """It is as it should be."""
        self._add(name, "ok", detail, "")

    def warn(self, name: str, detail: str, next_step: str) -> None:
        """It works, and somebody should look."""
        self._add(name, "warn", detail, next_step)

    def bad(self, name: str, detail: str, next_step: str) -> NoReturn:
        """It does not work; raises `Stopped`."""
        self._add(name, "bad", detail, next_step)
        raise Stopped(name)

    def _add(self, name: str, state: str, detail: str, next_step: str) -> None:
        row = {"name": name, "state": state, "detail": " ".join(detail.split()), "next_step": next_step}
        self.rows.append(row)
        self._emit({"event": "check", **row})

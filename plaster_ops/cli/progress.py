"""Progress of a run on stderr: bars on a terminal, one line a stage where stderr is piped."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from plaster_ops.ports import EventSink

_SAY = {
    "prepare": "reading the data that arrived",
    "fit": "training",
    "export": "exporting the graph",
    "build": "building the engine",
    "trial": "trying the engines on real data",
    "trial-eager": "trying eager",
    "race": "racing the engines that keep the score",
    "start-race": "scoring warm and scratch",
    "curve": "learning curve",
    "evaluate": "checking parity and scoring",
    "ageing": "asking old models about newer data",
    "examine": "reading the data, scoring both",
    "measure": "measuring, interleaved",
    "log": "writing to MLflow",
    "inspection": "looking at module and data",
    "rehearsal": "trying the pipeline",
}
_SILENT = frozenset({"accepted", "decide", "ladder", "start", "unfit", "lost"})
"""Stages that only keep a number for `--resume`."""
_LONG = frozenset({"fit", "build", "trial", "race", "measure", "ageing"})
"""Stages that a log announces, because nothing else is written while they last."""


@contextmanager
def progress_to_stderr(*, quiet: bool) -> Iterator[EventSink]:
    """Gives a sink for events that shows them while the block runs."""
    if quiet:
        yield lambda _event: None
    elif sys.stderr.isatty():
        with _bars() as sink:
            yield sink
    else:
        yield _Lines().show


def _kind(event: Mapping[str, Any]) -> str:
    return str(event.get("stage", "")).partition(" ")[0]


def _title(stage: str) -> str:
    kind, _, detail = stage.partition(" ")
    words = _SAY.get(kind, kind)
    return f"{words} ({detail})" if detail else words


class _Lines:
    """For a pipe or a log file: a line when a stage starts and ends."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()

    def show(self, event: Mapping[str, Any]) -> None:
        kind = event.get("event")
        if _kind(event) in _SILENT:
            return
        if kind == "stage" and event["state"] == "start" and _kind(event) in _LONG:
            self._say(f"{_title(event['stage'])} ...")
        elif kind == "stage" and event["state"] == "done":
            self._say(f"{_title(event['stage'])}: {event['seconds']:.1f} s")
        elif kind == "stage" and event["state"] == "kept":
            self._say(f"{_title(event['stage'])}: kept from before")
        elif kind == "note":
            self._say(str(event["text"]))
        elif kind == "restart":
            self._say(f"restarting the gang: {event.get('reason', '')}")

    def _say(self, text: str) -> None:
        print(f"[{time.monotonic() - self._began_s:6.1f} s] {text}", file=sys.stderr, flush=True)


@contextmanager
def _bars() -> Iterator[EventSink]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<34}"),
        BarColumn(bar_width=28),
        TextColumn("{task.fields[detail]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=False) as progress:
        yield _Bars(progress).show


class _Bars:
    """For a terminal: one bar a stage; training shows epoch, loss and score, measuring shows blocks."""

    def __init__(self, progress: Any) -> None:
        self._progress = progress
        self._task: Any = None
        self._is_stopped = False

    def show(self, event: Mapping[str, Any]) -> None:
        kind = event.get("event")
        if _kind(event) in _SILENT:
            return
        if kind == "stage":
            self._stage(event)
        elif kind == "asking":
            self._make_room()
        elif kind == "note":
            self._progress.console.print(f"  {event['text']}", style="dim", markup=False, highlight=False)
        elif kind == "restart":
            self._progress.console.print(f"  restarting: {event.get('reason', '')}", style="yellow", markup=False)
        elif self._task is not None and event.get("total"):
            self._advance(event)

    def _stage(self, event: Mapping[str, Any]) -> None:
        if event["state"] == "start":
            if self._is_stopped:
                self._progress.start()
                self._is_stopped = False
            self._task = self._progress.add_task(_title(event["stage"]), total=None, detail="")
        elif self._task is not None:
            self._progress.update(self._task, total=1, completed=1)
            self._progress.stop_task(self._task)
            self._task = None

    def _make_room(self) -> None:
        """Bars that are drawn again and again would overwrite a question; the next stage draws anew."""
        self._progress.stop()
        for task in list(self._progress.task_ids):
            self._progress.remove_task(task)
        self._is_stopped = True

    def _advance(self, event: Mapping[str, Any]) -> None:
        detail = "  ".join(
            f"{name} {event[name]:.4g}" if isinstance(event[name], float) else f"{name} {event[name]}"
            for name in ("epoch", "loss", "score", "label")
            if event.get(name) is not None
        )
        done = event.get("done", event.get("step", 0))
        self._progress.update(self._task, total=event["total"], completed=done, detail=detail)

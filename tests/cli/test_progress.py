"""Progress goes to stderr: lines where it is piped, bars where a person looks, nothing where it is not wanted."""

import io
from dataclasses import dataclass, field
from typing import Any

import pytest

from plaster_ops.cli import progress
from plaster_ops.cli.progress import progress_to_stderr

EVENTS: tuple[dict[str, Any], ...] = (
    {"event": "stage", "stage": "fit", "state": "start"},
    {"event": "step", "done": 3, "total": 10, "epoch": 1, "loss": 0.123456, "score": None},
    {"event": "restart", "reason": "rank 1 was killed"},
    {"event": "stage", "stage": "fit", "state": "done", "seconds": 12.34},
    {"event": "stage", "stage": "build openvino-fp32", "state": "kept"},
    {"event": "note", "text": "kept [as] written"},
    {"event": "unheard-of"},
)


def test_a_pipe_gets_a_line_for_what_ended_and_what_was_noted(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_to_stderr(quiet=False) as tell:
        for event in EVENTS:
            tell(event)
    captured = capsys.readouterr()
    lines = [line.partition("] ")[2] for line in captured.err.splitlines()]
    assert lines == [
        "training ...",
        "restarting the gang: rank 1 was killed",
        "training: 12.3 s",
        "building the engine (openvino-fp32): kept from before",
        "kept [as] written",
    ]
    assert captured.out == ""


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_to_stderr(quiet=True) as tell:
        for event in EVENTS:
            tell(event)
    assert capsys.readouterr() == ("", "")


@dataclass
class Bars:
    """What rich's Progress is asked to do."""

    printed: list[str] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)
    updates: list[dict[str, Any]] = field(default_factory=list)
    stopped: list[int] = field(default_factory=list)

    @property
    def console(self) -> "Bars":
        return self

    def print(self, text: str, **_: Any) -> None:
        self.printed.append(text)

    def add_task(self, title: str, **_: Any) -> int:
        self.tasks.append(title)
        return len(self.tasks)

    def update(self, task: int, **changed: Any) -> None:
        self.updates.append({"task": task, **changed})

    def stop_task(self, task: int) -> None:
        self.stopped.append(task)


def test_a_terminal_gets_a_bar_a_stage_with_what_training_says() -> None:
    bars = Bars()
    show = progress._Bars(bars).show
    for event in EVENTS:
        show(event)
    assert bars.tasks == ["training"]
    assert bars.updates[0] == {"task": 1, "total": 10, "completed": 3, "detail": "epoch 1  loss 0.1235"}
    assert bars.stopped == [1]
    assert bars.printed == ["  restarting: rank 1 was killed", "  kept [as] written"]


def test_progress_outside_a_stage_moves_no_bar() -> None:
    bars = Bars()
    progress._Bars(bars).show({"event": "step", "done": 3, "total": 10})
    assert bars.updates == []


def test_a_stage_that_nobody_named_is_shown_by_its_own_name() -> None:
    assert progress._title("distil") == "distil"
    assert progress._title("measure") == "measuring, interleaved"


def test_a_question_is_not_drawn_over() -> None:
    from rich.console import Console
    from rich.progress import Progress

    drawn = Progress(console=Console(file=io.StringIO(), force_terminal=True))
    show = progress._Bars(drawn).show
    drawn.start()
    show({"event": "stage", "stage": "inspection", "state": "start"})
    show({"event": "stage", "stage": "inspection", "state": "done", "seconds": 1.0})
    show({"event": "asking"})
    assert not drawn.live.is_started
    show({"event": "stage", "stage": "inspection", "state": "start"})
    assert drawn.live.is_started
    assert len(drawn.tasks) == 1, "what was drawn before the question is not drawn again"
    drawn.stop()


def test_what_only_keeps_a_decision_is_no_line_and_every_other_stage_is_told_in_words(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress_to_stderr(quiet=False) as tell:
        for stage in ("start", "unfit", "lost fit scratch", "accepted", "start-race", "curve"):
            tell({"event": "stage", "stage": stage, "state": "start"})
            tell({"event": "stage", "stage": stage, "state": "done", "seconds": 0.0})
    lines = [line.partition("] ")[2] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["scoring warm and scratch: 0.0 s", "learning curve: 0.0 s"]

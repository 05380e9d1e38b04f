"""Commands in, exit codes out; an error of ours is a message and a next step, never a traceback."""

import sys
from functools import cache
from types import SimpleNamespace

import pytest
import typer

from plaster_ops import __version__, errors
from plaster_ops.cli import app
from plaster_ops.errors import ChildFailed, ExitCode, Interrupted, PlasterError
from plaster_ops.flow import history
from tests.cli.conftest import Command, plain

COMMANDS = ("retrain", "compare", "history", "sync", "ui", "doctor")
RAISED = (
    *(getattr(errors, name)("what is wrong", "what to do") for name in ("PlasterError", "UsageError", "DataError")),
    *(getattr(errors, name)("what is wrong", "what to do") for name in ("NotComparable", "TrainingFailed", "Busy")),
    *(getattr(errors, name)("what is wrong", "what to do") for name in ("BuildFailed", "NotRecorded", "TimedOut")),
    Interrupted(2),
    Interrupted(15),
)


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def rows(*_: object) -> None:
        raise error

    monkeypatch.setattr(history, "history_rows", rows)


@pytest.mark.parametrize("error", RAISED, ids=lambda error: f"{type(error).__name__}-{int(error.exit_code)}")
def test_an_error_ends_with_its_code_its_message_and_the_next_step(
    command: Command, monkeypatch: pytest.MonkeyPatch, error: PlasterError
) -> None:
    fail_with(monkeypatch, error)
    ended = command("history")
    assert ended.code == int(error.exit_code) != 0
    assert ended.err == f"error: {error.message}\nnext:  {error.next_step}\n"
    assert ended.out == ""


def test_the_codes_of_those_errors_are_all_that_an_error_can_have() -> None:
    """3, 5 and 6 are no errors: they are verdicts of a retrain that ran to its end."""
    codes = {int(error.exit_code) for error in RAISED} | {ExitCode.DONE}
    assert set(ExitCode) - codes == {ExitCode.HELD, ExitCode.INCONCLUSIVE, ExitCode.NOT_MEASURED}


def test_a_failed_child_shows_the_last_lines_of_its_log(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    log = "\n".join(f"line {n}" for n in range(20))
    fail_with(monkeypatch, ChildFailed("fit", "killed by SIGKILL", log))
    ended = command("history")
    assert ended.code == ExitCode.UNEXPECTED
    assert "error: fit: killed by SIGKILL\n" in ended.err
    assert "  | line 19\n" in ended.err
    assert "  | line 8\n" in ended.err
    assert "line 7" not in ended.err


def test_an_error_that_nobody_foresaw_is_not_swallowed(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        command("history")


def test_ctrl_c_where_nothing_is_running_ends_with_130(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, KeyboardInterrupt())
    assert command("history").code == ExitCode.INTERRUPTED


@pytest.mark.parametrize("arguments", [["retrian"], ["history", "--colour"], ["history", "-n", "0"], ["compare", "1"]])
def test_a_command_line_that_makes_no_sense_ends_with_2(command: Command, arguments: list[str]) -> None:
    ended = command(*arguments)
    assert ended.code == ExitCode.USAGE
    assert ended.out == ""
    assert "Usage" in plain(ended.err)


def test_the_version_is_told(command: Command) -> None:
    assert command("--version").out == f"plaster-ops {__version__}\n"


def test_help_names_every_command(command: Command) -> None:
    ended = command("--help")
    assert ended.code == 0
    words = plain(ended.out).split()
    for name in COMMANDS:
        assert name in words


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_shows_how_it_is_used(command: Command, name: str) -> None:
    ended = command(name, "--help")
    assert ended.code == 0
    assert f"plaster-ops {name}" in plain(ended.out)


def test_another_system_is_refused_at_the_door(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(app, "sys", SimpleNamespace(platform="darwin", stderr=sys.stderr))
    assert app.run(["--help"]) == ExitCode.USAGE
    assert "Linux only" in capsys.readouterr().err


def test_another_distribution_can_bring_a_group_of_commands(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    group = typer.Typer(help="A group from elsewhere.")
    group.command("next")(lambda: typer.echo("at two"))
    group.command("list")(lambda: None)
    found = [SimpleNamespace(name="plan", load=lambda: group)]
    monkeypatch.setattr(app, "entry_points", lambda *, group: found if group == "plaster_ops.commands" else [])
    monkeypatch.setattr(app.app, "registered_groups", [])
    monkeypatch.setattr(app, "_whole", cache(app._whole.__wrapped__))
    assert command("plan", "next").out == "at two\n"


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (["retrain", "--resume"], ["retrain", "--resume=last"]),
        (["retrain", "--resume", "--json"], ["retrain", "--resume=last", "--json"]),
        (["retrain", "--resume", "digits"], ["retrain", "--resume=last", "digits"]),
        (["retrain", "--resume", "m:pipeline"], ["retrain", "--resume=last", "m:pipeline"]),
        (["retrain", "--resume", "3"], ["retrain", "--resume", "3"]),
        (["retrain", "--resume", "#3", "digits"], ["retrain", "--resume", "#3", "digits"]),
        (["retrain", "--resume", "56bcab84"], ["retrain", "--resume", "56bcab84"]),
        (["retrain", "--resume", "last"], ["retrain", "--resume", "last"]),
        (["retrain", "--resume=3"], ["retrain", "--resume=3"]),
        (["retrain", "digits"], ["retrain", "digits"]),
    ],
)
def test_resume_may_stand_alone_or_name_a_run(given: list[str], read: list[str]) -> None:
    assert app.with_optional_resume(given) == read

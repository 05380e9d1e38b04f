"""The command line as a whole: its commands, and how an error becomes a message and an exit code."""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import entry_points
from typing import Annotated, Any

import typer
from typer.main import get_command

from plaster_ops import __version__
from plaster_ops.cli import (
    bench,
    cadence,
    calibrate,
    compare,
    doctor,
    drift,
    engines,
    explain,
    history,
    init,
    promote,
    prune,
    rebuild,
    recompute,
    report,
    retrain,
    sync,
    ui,
)
from plaster_ops.errors import ExitCode, Interrupted, PlasterError

app = typer.Typer(
    name="plaster-ops",
    help="Keeps PyTorch Lightning models fresh and honest: retrain, re-optimise, re-measure, compare, remember.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="Start with [bold]plaster-ops retrain --compare last[/bold]; see [bold]plaster-ops doctor[/bold].",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"plaster-ops {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens to stderr.")] = False,
) -> None:
    del version
    level = logging.DEBUG if verbose else logging.WARNING
    logging.basicConfig(stream=sys.stderr, level=level, format="%(levelname)s %(name)s: %(message)s")


app.command("retrain")(retrain.command)
app.command("init")(init.command)
app.command("compare")(compare.command)
app.command("bench")(bench.command)
app.command("calibrate")(calibrate.command)
app.command("engines")(engines.command)
app.command("explain")(explain.command)
app.command("recompute")(recompute.command)
app.command("rebuild")(rebuild.command)
app.command("history")(history.command)
app.command("promote")(promote.promote)
app.command("rollback")(promote.rollback)
app.command("promotions")(promote.promotions)
app.command("prune")(prune.command)
app.command("report")(report.command)
app.command("drift")(drift.command)
app.command("cadence")(cadence.command)
app.command("sync")(sync.command)
app.command("ui")(ui.command)
app.command("doctor")(doctor.command)


@cache
def _whole() -> Callable[..., Any]:
    """The command with the groups of other distributions, for example the scheduler's; made once a process."""
    for entry in entry_points(group="plaster_ops.commands"):
        app.add_typer(entry.load(), name=entry.name)
    return get_command(app)


def run(arguments: Sequence[str]) -> int:
    """Runs one command line; returns its exit code. Prints errors to stderr, never a traceback for a `PlasterError`."""
    if sys.platform != "linux":
        print("plaster-ops runs on Linux only", file=sys.stderr)
        return ExitCode.USAGE
    whole = _whole()
    try:
        whole(args=with_optional_resume(arguments), standalone_mode=True)
    except PlasterError as error:
        show_error(error)
        return int(error.exit_code)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    except KeyboardInterrupt:
        return int(Interrupted(2).exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.UNEXPECTED
    return ExitCode.DONE


def show_error(error: PlasterError) -> None:
    """The message and the next step, on stderr."""
    print(f"error: {error.message}", file=sys.stderr)
    log_tail = getattr(error, "log_tail", "")
    if log_tail:
        print(
            "last lines of its log:\n" + "\n".join(f"  | {line}" for line in log_tail.splitlines()[-12:]),
            file=sys.stderr,
        )
    if error.next_step:
        print(f"next:  {error.next_step}", file=sys.stderr)


def with_optional_resume(arguments: Sequence[str]) -> list[str]:
    """`--resume` may stand alone (the newest unfinished run) or name a run: a number, `#number`, or a hex id.

    So may `--fail-on` of `drift`, where it means the one thing that can fail.
    """
    given = list(arguments)
    if given[:1] == ["drift"]:
        return _with_worse(given)
    for i, word in enumerate(given):
        if word != "--resume":
            continue
        following = given[i + 1] if i + 1 < len(given) else ""
        is_run = following.lstrip("#").isdecimal() or (
            len(following) >= 6 and all(c in "0123456789abcdef" for c in following)
        )
        if not is_run and following != "last":
            given[i] = "--resume=last"
    return given


def _with_worse(given: Sequence[str]) -> list[str]:
    following = [*given[1:], ""]
    return [
        "--fail-on=worse" if word == "--fail-on" and after != "worse" else word
        for word, after in zip(given, following, strict=True)
    ]

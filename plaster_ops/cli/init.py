"""`plaster-ops init`: a pipeline around your module and your data, tried step by step before it is written."""

import json
import sys
from typing import Annotated

import typer

from plaster_ops.cli.options import Json, Project, Quiet, is_terminal
from plaster_ops.errors import ExitCode, UsageError

_Module = Annotated[
    str | None, typer.Option("--module", help="Your LightningModule, MODULE:CLASS.", show_default=False)
]
_Data = Annotated[
    str | None, typer.Option("--data", help="Your LightningDataModule, MODULE:CLASS.", show_default=False)
]
_Name = Annotated[
    str | None, typer.Option("--name", help="What the pipeline is called. Default: after the module's class.")
]
_Arguments = Annotated[
    list[str] | None,
    typer.Option(
        "--arg",
        metavar="NAME=VALUE",
        help="An argument of either class (module.NAME, data.NAME for one of them). VALUE is a number, a text, or an "
        "expression such as torch.nn.ReLU().",
        show_default=False,
    ),
]
_Score = Annotated[
    str | None,
    typer.Option("--score", help="A metric, where the one that is found is not the one you want.", show_default=False),
]
_Yes = Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing; what is missing is an error.")]
_Draft = Annotated[
    bool, typer.Option("--draft", help="Where a check fails, write a file with TODO lines all the same.")
]


def command(
    module: _Module = None,
    data: _Data = None,
    name: _Name = None,
    arguments: _Arguments = None,
    score: _Score = None,
    yes: _Yes = False,
    draft: _Draft = False,
    project: Project = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a pipeline around a LightningModule and a LightningDataModule, and check that it would retrain.

    Exit 0: NAME_pipeline.py and a section of plaster.toml are written. Exit 2: a check is bad, nothing is written.

    Examples:

    plaster-ops init --module mypkg.models:Net --data mypkg.data:MyData

    plaster-ops init --module mypkg.models:Net --data mypkg.data:MyData --arg lr=1e-3 --arg 'act=torch.nn.ReLU()'
    """
    from pathlib import Path

    from plaster_ops.cli.progress import progress_to_stderr
    from plaster_ops.flow.init import InitRequest, run_init
    from plaster_ops.processes.signals import stop_on_signals
    from plaster_ops.settings import load_settings

    settings = load_settings(project or Path.cwd())
    asks = not yes and not as_json and sys.stdin.isatty() and sys.stderr.isatty()
    request = InitRequest(
        module=_given(module, "--module", asks=asks),
        data=_given(data, "--data", asks=asks),
        name=name,
        arguments=tuple(arguments or ()),
        score=score,
        draft=draft,
    )
    with stop_on_signals(), progress_to_stderr(quiet=quiet) as tell:
        outcome = run_init(settings, request, tell=tell, ask=_ask if asks else None)
    code = ExitCode.DONE if outcome.ok else ExitCode.USAGE
    payload = {"schema": 1, "exit_code": int(code), **outcome.to_json()}
    if as_json:
        sys.stdout.write(json.dumps(payload, ensure_ascii=False) + "\n")
    elif not quiet:
        from plaster_ops.report.checklist import checklist_view
        from plaster_ops.report.table import print_view

        terminal = is_terminal()
        print_view(checklist_view(payload, plain=not terminal), plain=not terminal, width=None if terminal else 200)
    raise typer.Exit(int(code))


def _given(reference: str | None, option: str, *, asks: bool) -> str:
    if reference is None and asks:
        what = "LightningModule" if option == "--module" else "LightningDataModule"
        reference = str(typer.prompt(f"your {what}, as package.module:Class", err=True))
    if reference is None:
        raise UsageError(
            f"{option} is missing",
            "for example: plaster-ops init --module mypkg.models:Net --data mypkg.data:MyData",
        )
    return reference


def _ask(name: str, known: str) -> str:
    return str(typer.prompt(f"{name} ({known})", err=True))

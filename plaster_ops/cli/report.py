"""`plaster-ops report`: one retrain as one HTML file."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from plaster_ops.cli.options import OfPipeline, Project


def command(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]",
            help="A run: its number, #number, id, last, champion or best. Default: the newest that ended.",
            show_default=False,
        ),
    ] = None,
    pipeline: OfPipeline = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write, - for stdout. Default: mlruns/reports/NAME-N.html.",
            show_default=False,
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    project: Project = None,
) -> None:
    """Write a retrain as one HTML page that needs nothing else: no network, no server, no scripts.

    Examples:

    plaster-ops report

    plaster-ops report 12 --pipeline digits --output digits-12.html

    plaster-ops report champion --open
    """
    from plaster_ops.flow.pages import default_file, report_text
    from plaster_ops.settings import load_settings

    settings = load_settings(project)
    text, name, index = report_text(settings, pipeline, run)
    if output is not None and str(output) == "-":
        sys.stdout.write(text)
        return
    file = output or default_file(settings, name, index)
    _write(file, text)
    typer.echo(file)
    if show:
        import webbrowser

        webbrowser.open(file.resolve().as_uri())


def _write(file: Path, text: str) -> None:
    from plaster_ops.errors import UsageError

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}", "name another file with --output") from error

"""`plaster-ops engines`: which backends can build engines here, at which precisions, and why not."""

from typing import TYPE_CHECKING, Annotated

import typer

from plaster_ops.cli.options import Json, Project, is_terminal, print_json

if TYPE_CHECKING:
    from plaster_ops.flow.engines import Listing


def command(
    options: Annotated[bool, typer.Option("--options", help="Also list the options that each backend takes.")] = False,
    project: Project = None,
    as_json: Json = False,
) -> None:
    """Show the engine backends of this machine: available or why not, precisions, refit, versions.

    Examples:

    plaster-ops engines

    plaster-ops engines --options

    plaster-ops engines --json
    """
    from plaster_ops.flow.engines import list_engines
    from plaster_ops.settings import load_settings

    listing = list_engines(load_settings(project))
    if as_json:
        _print_json(listing)
        return
    from plaster_ops.report.engine_table import engines_view
    from plaster_ops.report.table import print_view

    terminal = is_terminal()
    view = engines_view(listing, with_options=options, plain=not terminal)
    print_view(view, plain=not terminal, width=None if terminal else 160)


def _print_json(listing: "Listing") -> None:
    from dataclasses import asdict

    print_json({"schema": 1, **asdict(listing)})

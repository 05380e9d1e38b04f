"""`plaster-ops ui`: MLflow's own pages on this project's store."""

from typing import Annotated

import typer

from plaster_ops.cli.options import Project


def command(
    port: Annotated[int, typer.Option("--port", "-p", min=1, max=65535, help="Port to listen on.")] = 5000,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; loopback unless told otherwise.")
    ] = "127.0.0.1",
    project: Project = None,
) -> None:
    """Open the MLflow UI on the store of this project, and say where what is: views over the retrains, the champion.

    One worker, no background jobs. Where the store is a server already, only its addresses are told.

    Example:

    plaster-ops ui --port 5001
    """
    from plaster_ops.flow.ui import is_served, page_lines, serve_ui
    from plaster_ops.settings import load_settings

    settings = load_settings(project)
    for line in page_lines(settings, host=host, port=port):
        typer.echo(line)
    if not is_served(settings):
        serve_ui(settings, host=host, port=port)

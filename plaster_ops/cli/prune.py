"""`plaster-ops prune`: files of old runs that nothing will ask for again."""

from typing import Annotated

import typer

from plaster_ops.cli.options import Json, Name, Project, Quiet, print_json


def command(
    name: Name = None,
    keep: Annotated[
        int | None,
        typer.Option("--keep", min=1, help="Newest engines to keep. Default: as in the settings.", show_default=False),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")] = False,
    mlflow: Annotated[
        bool, typer.Option("--mlflow", help="Also the registered copies of those engines, in the embedded store.")
    ] = False,
    slots_older_than: Annotated[
        float | None,
        typer.Option("--slots-older-than", metavar="DAYS", min=1, help="Also rows of old slots.", show_default=False),
    ] = None,
    project: Project = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Remove engines, raw samples and leftovers of old runs. Records, histograms, weights and the ledger stay.

    Kept are the engines of every run that was ever champion, of baselines, of the challenger and of the newest; and the
    raw samples of the newest runs. Exit code 75 while a retrain of the pipeline is going on.

    Examples:

    plaster-ops prune --dry-run

    plaster-ops prune digits --keep 5 --mlflow --slots-older-than 400
    """
    from plaster_ops.flow.prune import Request, prune
    from plaster_ops.settings import load_settings

    request = Request(keep=keep, dry_run=dry_run, mlflow=mlflow, slots_older_than_days=slots_older_than)
    found = prune(load_settings(project), name, request)
    if as_json:
        print_json(found.to_json())
    elif not quiet:
        typer.echo("\n".join(found.lines()))

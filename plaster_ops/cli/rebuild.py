"""`plaster-ops rebuild`: the local journal once more, from what MLflow knows."""

import time
from typing import Annotated

import typer

from plaster_ops.cli.options import Json, Project, Quiet, print_json


def command(
    force: Annotated[
        bool, typer.Option("--force", help="Even where the journal has runs; the old file is kept beside the new one.")
    ] = False,
    project: Project = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make `mlruns/plaster.db` anew from the tracking store, where it was lost: runs, records, values, champions.

    What MLflow was never told cannot come back: slots, skips, calibrations, unfinished runs. Cut off, it goes on where
    it was.

    Examples:

    plaster-ops rebuild

    plaster-ops rebuild --force --json
    """
    from plaster_ops.cli.progress import progress_to_stderr
    from plaster_ops.flow.rebuild import rebuild
    from plaster_ops.settings import load_settings

    began_s = time.monotonic()
    with progress_to_stderr(quiet=quiet) as tell:
        found = rebuild(load_settings(project), force=force, tell=tell)
    told = found.to_json() | {"seconds": round(time.monotonic() - began_s, 3)}
    if as_json:
        print_json(told)
    elif not quiet:
        typer.echo(
            f"{found.runs} runs restored ({found.from_metrics} from tags and metrics alone), {found.known_before} were"
            f" there, {found.with_evidence} with compact records, {found.promotions} promotions, {found.alarms} alarms"
        )
        for line in found.unreadable:
            typer.echo(f"unreadable: {line}")
        if found.backup is not None:
            typer.echo(f"the old journal is {found.backup}")
        typer.echo("not rebuilt: " + "; ".join(told["not_rebuilt"]))

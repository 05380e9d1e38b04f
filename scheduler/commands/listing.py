"""`plaster-ops schedule list`: every pipeline at a glance."""

import time

from plaster_ops.cli.options import Json, Project, Quiet, print_json
from scheduler.commands.output import print_table


def command(project: Project = None, as_json: Json = False, quiet: Quiet = False) -> None:
    """Show what is going on: next and last slot of every pipeline, what runs, waits, is late or paused, and why.

    Examples:

    plaster-ops schedule list

    plaster-ops schedule list --json
    """
    from plaster_ops.settings import load_settings
    from scheduler.plain import plain_snapshot
    from scheduler.reading import opened
    from scheduler.snapshot import collect
    from scheduler.tables import list_view

    settings = load_settings(project)
    with opened(settings) as (ledger, journal):
        told = collect(ledger, journal, settings, time.time())
    if as_json:
        print_json(plain_snapshot(told))
    elif not told.pipelines:
        print_table("no pipeline is declared yet; write one with: plaster-ops init", quiet=quiet)
    else:
        print_table(lambda plain: list_view(told, plain=plain), quiet=quiet)

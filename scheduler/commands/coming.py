"""`plaster-ops schedule next`: slots to come."""

import time
from itertools import islice
from typing import Annotated

import typer

from plaster_ops.cli.options import Json, Project, Quiet, print_json
from scheduler.commands.output import print_table

Names = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]...", help="Pipelines. Default: all.", show_default=False)
]


def command(
    names: Names = None,
    count: Annotated[int, typer.Option("--limit", "-n", min=1, help="Slots to show.")] = 10,
    project: Project = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show the slots to come, in the time zone of each cadence and in UTC, with their jitter.

    Examples:

    plaster-ops schedule next

    plaster-ops schedule next digits -n 30 --json
    """
    from plaster_ops.settings import load_settings
    from scheduler.coming import coming_of_all
    from scheduler.plain import plain_coming
    from scheduler.reading import declared_all, opened
    from scheduler.tables import next_view

    settings, now_s = load_settings(project), time.time()
    wanted = {name: settings.pipelines[name].cadence for name in declared_all(settings, names)}
    slots = list(islice(coming_of_all({name: each.cadence() for name, each in wanted.items()}, now_s), count))
    zones = {name: each.timezone for name, each in wanted.items()}
    with opened(settings) as (ledger, _):
        paused = set(ledger.pauses())
    if as_json:
        rows = [plain_coming(slot, zones[slot.pipeline]) | {"paused": slot.pipeline in paused} for slot in slots]
        print_json({"schema": 1, "slots": rows})
    elif not slots:
        print_table("no slot is to come: none of these pipelines has a cadence", quiet=quiet)
    else:
        print_table(lambda plain: next_view(slots, zones, paused, now_s=now_s, plain=plain), quiet=quiet)

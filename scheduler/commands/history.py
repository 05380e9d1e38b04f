"""`plaster-ops schedule history`: the slot ledger."""

import time
from typing import Annotated

import typer

from plaster_ops.cli.options import Json, Project, Quiet, print_json
from scheduler.commands.output import print_table

_Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="Pipeline. Default: all.", show_default=False)]


def command(
    name: _Name = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000_000, help="Newest slots to show.")] = 20,
    project: Project = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show what became of every slot, newest first: ran, skipped, missed, failed, timed out, running, waiting; and why.

    Examples:

    plaster-ops schedule history

    plaster-ops schedule history digits -n 100 --json
    """
    from plaster_ops.settings import load_settings
    from scheduler.plain import plain_slot
    from scheduler.reading import declared, opened
    from scheduler.tables import history_view

    settings, now_s = load_settings(project), time.time()
    with opened(settings) as (ledger, _):
        wanted = name if name is None or name in ledger.pipelines() else declared(settings, name)
        slots = ledger.newest(wanted, limit)
    if as_json:
        print_json({"schema": 1, "slots": [plain_slot(slot) for slot in slots]})
    elif not slots:
        print_table("no slot is recorded yet; see what is to come: plaster-ops schedule next", quiet=quiet)
    else:
        print_table(lambda plain: history_view(slots, now_s=now_s, plain=plain), quiet=quiet)

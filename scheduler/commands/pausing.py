"""`plaster-ops schedule pause` and `resume`: slots of a paused pipeline are skipped, and recorded as such."""

import getpass
import os
import socket
import time
from typing import Annotated

import typer

from plaster_ops.cli.options import Json, Project, Quiet, print_json
from plaster_ops.errors import UsageError
from scheduler.commands.output import print_table

_Names = Annotated[list[str] | None, typer.Argument(metavar="NAME...", help="Pipelines.", show_default=False)]
_All = Annotated[bool, typer.Option("--all", help="Every pipeline of the settings.")]


def pause(
    names: _Names = None,
    every: _All = False,
    reason: Annotated[str, typer.Option("--reason", help="Why, for whoever asks.", show_default=False)] = "",
    project: Project = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Pause pipelines: their slots are skipped, with your name and reason in the ledger. What runs goes on.

    Examples:

    plaster-ops schedule pause digits --reason "labels are being mended"

    plaster-ops schedule pause --all
    """
    from plaster_ops.settings import load_settings
    from plaster_ops.tracking.journal import Journal
    from plaster_ops.tracking.slots import Pause, SlotLedger
    from scheduler.plain import plain_pause
    from scheduler.reading import declared_all

    settings = load_settings(project)
    wanted = declared_all(settings, _named(names, every=every))
    new = Pause(at_s=time.time(), by=_who(), reason=reason.strip())
    with Journal.open(settings.memory) as journal, SlotLedger(journal.file).write() as write:
        before = write.pauses()
        for name in wanted:
            write.pause(name, new)
    if as_json:
        rows = [{"pipeline": name, **plain_pause(new), "was_paused": name in before} for name in wanted]
        print_json({"schema": 1, "paused": rows})
        return
    for name in wanted:
        again = f" (it was, by {before[name].by}; this replaces it)" if name in before else ""
        print_table(
            f"{name} is paused{again}: its slots are skipped until: plaster-ops schedule resume {name}", quiet=quiet
        )


def resume(
    names: _Names = None,
    every: Annotated[bool, typer.Option("--all", help="Every pipeline that is paused.")] = False,
    project: Project = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Resume paused pipelines, from their next slot on. Slots that were skipped meanwhile are not made up for.

    Examples:

    plaster-ops schedule resume digits

    plaster-ops schedule resume --all
    """
    from plaster_ops.settings import load_settings
    from plaster_ops.tracking.journal import Journal
    from plaster_ops.tracking.slots import SlotLedger
    from scheduler.reading import declared

    settings, named = load_settings(project), _named(names, every=every)
    with Journal.open(settings.memory) as journal, SlotLedger(journal.file).write() as write:
        paused = write.pauses()
        wanted = [name if name in paused else declared(settings, name) for name in named or paused]
        resumed = [name for name in dict.fromkeys(wanted) if write.resume(name)]
    others = [name for name in dict.fromkeys(wanted) if name not in resumed]
    if as_json:
        print_json({"schema": 1, "resumed": resumed, "not_paused": others})
        return
    for name in resumed:
        print_table(f"{name} goes on with its next slot; see: plaster-ops schedule next {name}", quiet=quiet)
    for name in others:
        print_table(f"{name} was not paused", quiet=quiet)
    if not wanted:
        print_table("nothing was paused", quiet=quiet)


def _named(names: list[str] | None, *, every: bool) -> list[str]:
    """The names given; none with `--all`. Raises `UsageError` where it is neither or both."""
    if bool(names) == every:
        raise UsageError("name pipelines, or say --all" if not every else "--all and names do not go together")
    return names or []


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"

"""`plaster-ops schedule apply`: the installed schedule becomes what a settings file says."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from plaster_ops.cli.options import Project
from plaster_ops.errors import UsageError
from scheduler.commands.timers import (
    Diff,
    Service,
    Set,
    Slug,
    User,
    Zone,
    call_of,
    changes_in,
    finish,
    manifest_plan,
    unit_plan,
)

_File = Annotated[
    str | None,
    typer.Argument(
        metavar="[FILE|-]",
        help="A plaster.toml, or - for standard input. Default: the project's own.",
        show_default=False,
    ),
]


def command(
    file: _File = None,
    crontab: Annotated[bool, typer.Option("--crontab", help="Your crontab.")] = False,
    systemd: Annotated[
        Path | None, typer.Option("--systemd", metavar="FOLDER", help="Units in that folder.", show_default=False)
    ] = None,
    kubernetes: Annotated[
        Path | None, typer.Option("--kubernetes", metavar="FOLDER", help="Manifests there.", show_default=False)
    ] = None,
    service: Service = False,
    user: User = False,
    zone: Zone = None,
    cluster: Set = None,
    slug: Slug = None,
    diff: Diff = False,
    project: Project = None,
) -> None:
    """Make the settings of the project and the timers of the places named be what FILE says. Twice is as once.

    Where FILE is not the project's plaster.toml it takes its place first, for `schedule once` decides by that one.
    Timers of pipelines that are gone are taken out, also where none is left.

    Examples:

    plaster-ops schedule apply --crontab --diff

    plaster-ops schedule apply churn.toml --project /srv/churn --systemd /etc/systemd/system
    """
    from plaster_ops.settings import load_settings
    from scheduler.install.places import UsersCrontab
    from scheduler.install.wanted import Changes, crontab_changes, settings_changes

    settings = load_settings(project)
    found = Changes()
    if file is not None:
        settings, found = settings_changes(settings, file, _text_of(file))
    elif not (crontab or systemd or kubernetes):
        raise UsageError("say what to apply, or where to", "FILE, or one of --crontab, --systemd, --kubernetes")
    if crontab:
        found += crontab_changes(settings, call_of(settings), UsersCrontab(), time.time(), zone=zone)
    if systemd is not None:
        found += changes_in(settings, unit_plan(settings, slug, user=user, service=service), systemd)
    if kubernetes is not None:
        found += changes_in(settings, manifest_plan(settings, slug, cluster), kubernetes)
    finish(settings, found, diff=diff)


def _text_of(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {error}", "give the path of a plaster.toml, or -") from None

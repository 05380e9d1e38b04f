"""What `install` and `apply` share: their options, and how changes are shown and made."""

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from plaster_ops.settings import Settings
    from scheduler.install.call import Call
    from scheduler.install.manifests import ManifestPlan
    from scheduler.install.units import UnitPlan
    from scheduler.install.wanted import Changes

Slug = Annotated[
    str | None,
    typer.Option("--slug", help="What the project is called in names. Default: its folder.", show_default=False),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Of the cluster: image (needed), pvc, project, namespace, gpu, cpu, memory, shm, secret.",
        show_default=False,
    ),
]
User = Annotated[bool, typer.Option("--user", help="Units for your own systemd, not for the machine's.")]
Service = Annotated[bool, typer.Option("--service", help="One unit that keeps the service up, instead of timers.")]
Zone = Annotated[
    str | None,
    typer.Option("--zone", help="The zone that cron goes by. Default: that of this machine.", show_default=False),
]
Diff = Annotated[bool, typer.Option("--diff", "--dry-run", help="Show what would change, and change nothing.")]


def call_of(settings: "Settings") -> "Call":
    """What timers of this machine call."""
    from scheduler.install.call import Call

    return Call(project=str(settings.project))


def unit_plan(settings: "Settings", slug: str | None, *, user: bool, service: bool) -> "UnitPlan":
    """Which units are wanted."""
    from scheduler.install.units import UnitPlan, user_name

    return UnitPlan(
        call=call_of(settings),
        slug=slug or settings.project.name,
        user=None if user else user_name(os.getuid()),
        service=service,
    )


def manifest_plan(settings: "Settings", slug: str | None, cluster: list[str] | None) -> "ManifestPlan":
    """Which manifests are wanted."""
    from scheduler.install.manifests import ManifestPlan, cluster_of

    return ManifestPlan(cluster=cluster_of(cluster or []), slug=slug or settings.project.name)


def changes_in(
    settings: "Settings", plan: "UnitPlan | ManifestPlan", folder: Path, *, remove: bool = False
) -> "Changes":
    """What makes that folder hold what is wanted."""
    from scheduler.install.units import UnitPlan
    from scheduler.install.wanted import manifest_changes, unit_changes

    if isinstance(plan, UnitPlan):
        return unit_changes(settings, plan, folder.resolve(), time.time(), remove=remove)
    return manifest_changes(settings, plan, folder.resolve(), time.time(), remove=remove)


def finish(settings: "Settings", found: "Changes", *, diff: bool) -> None:
    """Shows what would change, or makes it so and says what was done; warnings go to stderr."""
    from scheduler.install.call import alert_variables, needs_service

    for warning in found.warnings:
        typer.echo(f"note: {warning}", err=True)
    for name in needs_service(settings):
        typer.echo(f"note: data and drift make {name!r} due only where the service runs", err=True)
    if found.edits and (variables := alert_variables(settings)):
        words = (
            f"alerts need {', '.join(variables)} in the environment of whatever wakes the schedule, not only in yours"
        )
        typer.echo(f"note: {words} (in a crontab: a line {variables[0]}=ADDRESS above the block)", err=True)
    if not found.edits:
        typer.echo("nothing to change")
    elif diff:
        sys.stdout.write(found.diff())
    else:
        for line in found.make():
            typer.echo(line)

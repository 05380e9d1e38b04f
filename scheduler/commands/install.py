"""`plaster-ops schedule install`: timers of cron, systemd or Kubernetes that call `schedule once`."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from plaster_ops.settings import Settings
    from scheduler.install.manifests import ManifestPlan
    from scheduler.install.units import UnitPlan


def command(
    crontab: Annotated[bool, typer.Option("--crontab", help="A block of lines in your crontab.")] = False,
    systemd: Annotated[bool, typer.Option("--systemd", help="A timer and a service a pipeline.")] = False,
    kubernetes: Annotated[bool, typer.Option("--kubernetes", help="A CronJob a pipeline.")] = False,
    service: Service = False,
    user: User = False,
    write: Annotated[bool, typer.Option("--write", help="Write the units to where systemd looks for them.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="A crontab to change, or a folder for the files.", show_default=False),
    ] = None,
    zone: Zone = None,
    cluster: Set = None,
    slug: Slug = None,
    diff: Diff = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take out what an earlier install put there.")] = False,
    project: Project = None,
) -> None:
    """Have cron, systemd or Kubernetes wake the schedule, so that no service has to run.

    --crontab changes your crontab (or --output FILE). --systemd and --kubernetes print files, or write them below
    --output FOLDER. A second call changes nothing; pipelines that are gone are taken out; what is not ours stays.

    Examples:

    plaster-ops schedule install --crontab --diff

    plaster-ops schedule install --systemd --user --write

    plaster-ops schedule install --kubernetes --set image=registry.example/churn:7 --set gpu=1
    """
    from plaster_ops.settings import load_settings
    from scheduler.install.places import TextFile, UsersCrontab
    from scheduler.install.wanted import crontab_changes, require_cadence

    if crontab + systemd + kubernetes != 1:
        raise UsageError("say where to", "one of --crontab, --systemd, --kubernetes")
    settings = load_settings(project)
    if not remove and not service:
        require_cadence(settings)
    if crontab:
        place = UsersCrontab() if output is None else TextFile(output.resolve())
        found = crontab_changes(settings, call_of(settings), place, time.time(), zone=zone, remove=remove)
    else:
        folder = output or (_systemd_folder(user=user) if systemd and write else None)
        plan = (
            unit_plan(settings, slug, user=user, service=service) if systemd else manifest_plan(settings, slug, cluster)
        )
        if folder is None:
            _print_files(settings, plan)
            return
        found = changes_in(settings, plan, folder, remove=remove)
    finish(settings, found, diff=diff)


def _systemd_folder(*, user: bool) -> Path:
    if not user:
        return Path("/etc/systemd/system")
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"


def _print_files(settings: "Settings", plan: "UnitPlan | ManifestPlan") -> None:
    from scheduler.install.manifests import manifests
    from scheduler.install.units import UnitPlan, units

    if isinstance(plan, UnitPlan):
        for name, text in units(settings, plan, time.time()).items():
            typer.echo(f"# ---- {name}\n{text}")
    else:
        typer.echo("---\n".join(manifests(settings, plan, time.time()).values()), nl=False)

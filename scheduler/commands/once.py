"""`plaster-ops schedule once`: what cron, systemd and Kubernetes call."""

from typing import Annotated

import typer

from plaster_ops.cli.options import Project, Quiet

_Now = Annotated[bool, typer.Option("--now", help="Also where no slot is due.")]
_Trigger = Annotated[
    str, typer.Option("--trigger", help="Who asks, for the record: manual, cron, service, data, drift.")
]


def command(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Pipeline. Default: the project's default.")
    ] = None,
    now: _Now = False,
    trigger: _Trigger = "manual",
    project: Project = None,
    quiet: Quiet = False,
) -> None:
    """Account for what is due of one pipeline since the last time, run it, and end.

    Slots that nobody was there for are caught up, coalesced or dropped as the settings say. Where a service keeps the
    schedule, nothing is done, but for --now, which asks it.

    Examples:

    plaster-ops schedule once digits

    plaster-ops schedule once digits --now

    plaster-ops schedule once digits --trigger data    (only where trigger.min_new_samples are there)

    Exit codes: those of the retrain; 0 where nothing was due; 75 where another one is at work on it.
    """
    from plaster_ops.domain.run import Trigger
    from plaster_ops.domain.slots import Cause
    from plaster_ops.errors import UsageError
    from plaster_ops.settings import load_settings
    from scheduler.once import visit
    from scheduler.watcher import data_due

    if trigger not in set(Trigger):
        raise UsageError(f"unknown trigger {trigger!r}", f"one of {', '.join(Trigger)}")
    settings = load_settings(project)
    found, _ = settings.pipeline(name)
    if found not in settings.pipelines:
        raise UsageError(f"{name!r} is not declared in plaster.toml", "only declared pipelines have a schedule")

    def say(text: str) -> None:
        if not quiet:
            typer.echo(text, err=True)

    ask = (Cause.HAND, "asked for") if now else None
    if trigger == Trigger.DATA:
        reason = data_due(settings, found)
        if reason is None:
            say(f"{found}: not enough new data")
            return
        ask = (Cause.DATA, reason)
    raise typer.Exit(visit(settings, found, trigger=trigger, ask=ask, say=say))

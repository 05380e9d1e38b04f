"""`plaster-ops schedule start`: the service in the foreground, for systemd, a container, or a terminal."""

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from plaster_ops.cli.options import Project, Quiet

if TYPE_CHECKING:
    from plaster_ops.settings_sections import PipelineSettings

_Listen = Annotated[
    str | None,
    typer.Option(
        "--listen", help='HOST:PORT of the status page, /healthz and /metrics; "" for none.', show_default=False
    ),
]


def command(listen: _Listen = None, project: Project = None, quiet: Quiet = False) -> None:
    """Keep the schedule of this project until SIGTERM or Ctrl-C; SIGHUP reads the settings again.

    Runs one child process a retrain, as many at once as scheduler.devices says. At SIGTERM what runs may end for
    scheduler.grace_s; what is still at work then is stopped, and goes on at the next start. A second signal ends the
    wait.

    Examples:

    plaster-ops schedule start

    plaster-ops schedule start --project /srv/churn --listen 0.0.0.0:8075

    Exit codes: 0 ended as asked; 2 wrong settings; 75 another service keeps this schedule.
    """
    from plaster_ops.errors import SettingsError
    from plaster_ops.settings import load_settings
    from scheduler.service import opened_service

    settings = load_settings(project)
    if listen is not None:
        settings = settings.model_copy(update={"scheduler": settings.scheduler.model_copy(update={"listen": listen})})
    if not settings.pipelines:
        raise SettingsError("no pipeline is declared", "declare one in plaster.toml: plaster-ops init")

    def say(text: str) -> None:
        if not quiet:
            print(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S%z}  {text}", file=sys.stderr, flush=True)

    with opened_service(settings, say=say) as service:
        count = len(settings.pipelines)
        say(f"keeping the schedule of {count} pipeline{'s' if count != 1 else ''} in {settings.project}")
        if not any(map(_becomes_due, settings.pipelines.values())):
            say("nothing will be due by itself: no pipeline has a cadence, trigger.on_data or trigger.on_drift")
        if service.server.address:
            say(f"what is going on: http://{service.server.address}")
        service.run()
    say("ended")


def _becomes_due(pipeline: "PipelineSettings") -> bool:
    trigger = pipeline.trigger
    return pipeline.cadence.cadence() is not None or trigger.on_data or bool(trigger.on_drift)

"""`plaster-ops sync`: what was spooled while the tracking server was down."""

import typer

from plaster_ops.cli.options import Project, Quiet
from plaster_ops.errors import TrackingUnavailable


def command(project: Project = None, quiet: Quiet = False) -> None:
    """Replay the records that MLflow does not have yet, oldest first, each exactly once.

    Example:

    plaster-ops sync
    """
    from plaster_ops.flow.publish import replay
    from plaster_ops.flow.wiring import open_ports
    from plaster_ops.settings import load_settings

    settings = load_settings(project)
    with open_ports(settings) as ports:
        report = replay(ports)
    if not quiet:
        typer.echo(f"{len(report.sent)} record{'s' if len(report.sent) != 1 else ''} sent, {report.left} left")
    if report.reason:
        raise TrackingUnavailable(
            f"{settings.tracking_uri}: {report.reason}", report.next_step or "try again: plaster-ops sync"
        )

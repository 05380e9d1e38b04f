"""`plaster-ops cadence`: how often to retrain, answered by the pipeline's own past."""

import time
from typing import Annotated

import typer

from plaster_ops.cli.options import Json, Markdown, Name, Project, Quiet, print_found


def command(
    name: Name = None,
    newest: Annotated[
        int, typer.Option("--limit", "-n", min=2, max=1_000_000, help="Newest retrains to look at.")
    ] = 60,
    margin: Annotated[
        float | None,
        typer.Option(
            "--margin",
            min=0,
            help="Loss of score that does not matter. Default: 0.005, or the accuracy gate's if less.",
            show_default=False,
        ),
    ] = None,
    max_s: Annotated[float, typer.Option("--max-s", min=1, help="Seconds to ask old models for, at most.")] = 600.0,
    project: Project = None,
    as_json: Json = False,
    as_markdown: Markdown = False,
    quiet: Quiet = False,
) -> None:
    """Ask how often to retrain: what older models would have scored on the data that came after them.

    Nothing is trained. Every model of the newest retrains is scored on each later piece of new data, which it has never
    seen; a slower cadence is what older models score. The suggestion is the slowest one whose loss stays within the
    margin with 95 % confidence. Scores are kept: the next time only new retrains are asked.

    Examples:

    plaster-ops cadence

    plaster-ops cadence electricity -n 90 --margin 0.01

    plaster-ops cadence electricity --json
    """
    from plaster_ops.cli.progress import progress_to_stderr
    from plaster_ops.flow.cadence import cadence
    from plaster_ops.processes.signals import stop_on_signals
    from plaster_ops.report.cadence_table import cadence_markdown, cadence_view
    from plaster_ops.settings import load_settings

    start_s = time.monotonic()
    settings = load_settings(project)
    with stop_on_signals(), progress_to_stderr(quiet=quiet) as tell:
        found = cadence(settings, name, newest=newest, margin=margin, max_s=max_s, tell=tell, start_s=start_s)
    print_found(
        found, view=cadence_view, markdown=cadence_markdown, as_json=as_json, as_markdown=as_markdown, quiet=quiet
    )

"""`plaster-ops calibrate`: how noisy this machine is, from an engine that is compared with itself."""

import time
from typing import Annotated

import typer

from plaster_ops.cli.options import Json, Markdown, Name, ProfileOption, Project, Quiet, print_found


def command(
    name: Name = None,
    run: Annotated[str, typer.Option("--run", help="Whose engine: champion, last, or a run.")] = "champion",
    profile: ProfileOption = None,
    comparisons: Annotated[
        int, typer.Option("--times", "-n", min=1, max=100, help="How often the engine is compared with itself.")
    ] = 3,
    project: Project = None,
    as_json: Json = False,
    as_markdown: Markdown = False,
    quiet: Quiet = False,
) -> None:
    """Measure an engine against itself: the difference is this machine's noise, and later verdicts know it.

    A metric whose noise exceeds its margin is judged neither better nor worse: inconclusive (too_noisy). Calibrate
    under the profile that retrains are measured with, and again when the machine or its load changes.

    Examples:

    plaster-ops calibrate

    plaster-ops calibrate digits --profile smoke -n 5

    plaster-ops calibrate --run last --json
    """
    from plaster_ops.cli.progress import progress_to_stderr
    from plaster_ops.cli.retrain import known_profile
    from plaster_ops.flow.calibrate import calibrate
    from plaster_ops.processes.signals import stop_on_signals
    from plaster_ops.report.noise_table import noise_markdown, noise_view
    from plaster_ops.settings import load_settings

    start_s = time.monotonic()
    settings = load_settings(project)
    wanted = known_profile(profile) or settings.pipeline(name)[1].measure.profile
    with stop_on_signals(), progress_to_stderr(quiet=quiet) as tell:
        found = calibrate(settings, name, run=run, profile=wanted, comparisons=comparisons, tell=tell, start_s=start_s)
    print_found(found, view=noise_view, markdown=noise_markdown, as_json=as_json, as_markdown=as_markdown, quiet=quiet)

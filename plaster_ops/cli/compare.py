"""`plaster-ops compare`: two earlier runs, measured again side by side."""

import time
from typing import Annotated

import typer

from plaster_ops.cli.options import Json, Markdown, Project, Quiet, Server, print_payload
from plaster_ops.cli.retrain import FailOn, known_fail_on, known_profile


def command(
    now: Annotated[
        str, typer.Argument(metavar="A", help="A run: its number, #number, id, last, champion, previous or best.")
    ],
    then: Annotated[str, typer.Argument(metavar="B", help="The run it is compared with.")],
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", help="Whose runs. Default: the project's default.")
    ] = None,
    profile: Annotated[str, typer.Option("--profile", help="How long to measure: smoke, standard, full.")] = "smoke",
    server: Server = False,
    stored: Annotated[
        bool,
        typer.Option("--stored", help="Compare the recorded numbers; at once, but with the machine's drift in them."),
    ] = False,
    fail_on: FailOn = None,
    project: Project = None,
    as_json: Json = False,
    as_markdown: Markdown = False,
    quiet: Quiet = False,
) -> None:
    """Compare run A with run B: both engines are loaded and measured now, interleaved, on the same inputs.

    Examples:

    plaster-ops compare 2 1

    plaster-ops compare last champion --json

    plaster-ops compare champion previous --fail-on worse,inconclusive

    plaster-ops compare 12 9 --stored --md
    """
    from plaster_ops.cli.progress import progress_to_stderr
    from plaster_ops.flow.comparison import compare_runs
    from plaster_ops.processes.signals import stop_on_signals
    from plaster_ops.settings import load_settings

    start_s = time.monotonic()
    settings = load_settings(project)
    with stop_on_signals(), progress_to_stderr(quiet=quiet or stored) as tell:
        payload = compare_runs(
            settings,
            pipeline,
            (now, then),
            profile=known_profile(profile) or "smoke",
            server=server,
            stored=stored,
            tell=tell,
            start_s=start_s,
            fail_on=known_fail_on(fail_on),
        )
    print_payload(payload, as_json=as_json, as_markdown=as_markdown, quiet=quiet)
    raise typer.Exit(int(payload["exit_code"]))

"""`plaster-ops recompute`: every number of a run once more, from the records that were kept of it."""

from typing import Annotated

import typer

from plaster_ops.cli.options import Json, OfPipeline, Project, Quiet, print_json
from plaster_ops.errors import ExitCode


def command(
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="A run: last, its number, #number, or id.")] = "last",
    pipeline: OfPipeline = None,
    project: Project = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compute every logged number of a run again from its raw samples and evidence, and compare to the last digit.

    Where raw samples were pruned, what is kept of them for ever gives the timed numbers within 0.7 %.

    Exit code 1 where one differs, 4 where records are gone or damaged. Nothing is measured, and nothing is written.

    Examples:

    plaster-ops recompute

    plaster-ops recompute 12 --pipeline digits --json
    """
    from plaster_ops.domain.histogram import LARGEST_ERROR_RATIO
    from plaster_ops.flow.recompute import recompute
    from plaster_ops.settings import load_settings

    found = recompute(load_settings(project), pipeline, run)
    if as_json:
        print_json(found.to_json())
    elif not quiet:
        for number in found.differing:
            print(f"{number.key} {number.what}: logged {number.logged}, recomputed {number.again}")
        metrics = len({number.key for number in found.numbers})
        equal = len(found.numbers) - len(found.differing)
        print(
            f"run #{found.run} of {found.pipeline}: {equal} of {len(found.numbers)} numbers of {metrics} metrics equal"
        )
        if found.source == "compact":
            print(
                "its raw samples are gone: these are from the compact record, percentiles within"
                f" {LARGEST_ERROR_RATIO:.1%}; nothing is kept of {len(found.not_kept)} other metrics"
            )
    if found.differing:
        raise typer.Exit(ExitCode.UNEXPECTED)

"""`plaster-ops explain`: one number of a run, down to what it was measured from."""

import sys
from typing import Annotated

import typer

from plaster_ops.cli.options import Json, Markdown, OfPipeline, Project, print_json


def command(
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="A run: last, champion, its number, #number, or id.")] = (
        "last"
    ),
    metric: Annotated[
        str, typer.Option("--metric", help="A metric key, or the only end that fits: latency/e2e_p50_ms, p50.")
    ] = "",
    pipeline: OfPipeline = None,
    project: Project = None,
    as_json: Json = False,
    as_markdown: Markdown = False,
) -> None:
    """Explain one number: what it means, which restarts gave it, why its verdict, where it stands in the history.

    Examples:

    plaster-ops explain 12 --metric p50

    plaster-ops explain last --metric energy/inferences_per_j --pipeline digits --json
    """
    from plaster_ops.errors import UsageError
    from plaster_ops.flow.explain import explain
    from plaster_ops.report.explain_text import explain_markdown, explain_text
    from plaster_ops.report.sparkline import can_show
    from plaster_ops.settings import load_settings

    if not metric:
        raise UsageError("no metric was named", "for example: plaster-ops explain last --metric p50; docs/metrics.md")
    found = explain(load_settings(project), pipeline, run, metric).to_json()
    if as_json:
        print_json(found)
    elif as_markdown:
        sys.stdout.write(explain_markdown(found))
    else:
        sys.stdout.write(explain_text(found, unicode=can_show(sys.stdout.encoding)))

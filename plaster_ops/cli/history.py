"""`plaster-ops history`: every retrain and every skip, from the local journal."""

import sys
from typing import Annotated, Any

import typer

from plaster_ops.cli.options import Json, Markdown, Name, Project, is_terminal, print_json


def command(
    name: Name = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000_000, help="Newest rows to show.")] = 20,
    every: Annotated[bool, typer.Option("--all", help="Every pipeline.")] = False,
    project: Project = None,
    as_json: Json = False,
    as_markdown: Markdown = False,
) -> None:
    """Show what became of each retrain: verdict, seven headline values, why.

    Examples:

    plaster-ops history

    plaster-ops history digits -n 100 --json
    """
    from plaster_ops.flow.history import history_rows
    from plaster_ops.settings import load_settings

    settings = load_settings(project)
    rows = history_rows(settings, None if every else settings.pipeline(name)[0], limit)
    if as_json:
        print_json({"schema": 1, "runs": rows})
        return
    if not rows:
        typer.echo("no retrain is recorded yet; start with: plaster-ops retrain")
        return
    _show(rows, as_markdown=as_markdown)


def _show(rows: list[dict[str, Any]], *, as_markdown: bool) -> None:
    from plaster_ops.report.history_table import history_markdown, history_plain, history_trend, history_view
    from plaster_ops.report.sparkline import can_show

    if as_markdown:
        sys.stdout.write(history_markdown(rows))
        return
    if is_terminal():
        from plaster_ops.report.table import print_view

        print_view(history_view(rows), plain=False)
    else:
        sys.stdout.write(history_plain(rows))
    trend = history_trend(rows, unicode=can_show(sys.stdout.encoding))
    if trend:
        sys.stdout.write("\n" + "\n".join(trend) + "\n")

"""`plaster-ops promote`, `rollback` and `promotions`: who is champion, by hand."""

import sys
from typing import Annotated, Any

import typer

from plaster_ops.cli.options import Json, Markdown, Name, OfPipeline, Project, Quiet, is_terminal, print_json
from plaster_ops.errors import ExitCode

Reason = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; the ledger keeps it for ever.", show_default=False)
]


def promote(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A finished run: its number, #number, id, or last.")],
    pipeline: OfPipeline = None,
    force: Annotated[bool, typer.Option("--force", help="Past its gates; needs --reason.")] = False,
    reason: Reason = "",
    no_canary: Annotated[
        bool, typer.Option("--no-canary", help="Do not load the registered engine first: another machine runs it.")
    ] = False,
    project: Project = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make an earlier run champion: where its gates passed against today's champion, or by force with a reason.

    A fresh process first loads the engine as it is registered and asks it recorded inputs. Exit code 3: held, the
    champion is as it was. 11: the engine is not what was recorded.

    Examples:

    plaster-ops promote 12

    plaster-ops promote 12 --pipeline digits --force --reason "the new terms must go live today"
    """
    from plaster_ops.cli.progress import progress_to_stderr
    from plaster_ops.flow.promotion import Wish, promote
    from plaster_ops.processes.signals import stop_on_signals
    from plaster_ops.settings import load_settings

    wish = Wish(run=run, force=force, reason=reason, canary=not no_canary)
    with stop_on_signals(), progress_to_stderr(quiet=quiet) as tell:
        changed = promote(load_settings(project), pipeline, wish, tell=tell)
    _show(changed, as_json=as_json, quiet=quiet)


def rollback(
    name: Name = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="RUN", help="An earlier champion. Default: the one before.", show_default=False),
    ] = None,
    reason: Reason = "",
    canary: Annotated[
        bool, typer.Option("--canary", help="Load the engine and ask it first; without it only digests are checked.")
    ] = False,
    project: Project = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Go back to the champion before this one, at once. Again: one further back, never to and fro.

    The engine's files are held against their digests. It is not loaded, because a rollback must be quick;
    --canary asks for that.
    The next retrain learns again what the champion that was left had learned.

    Examples:

    plaster-ops rollback --reason "p99 doubled in production"

    plaster-ops rollback digits --to 7 --canary
    """
    from plaster_ops.cli.progress import progress_to_stderr
    from plaster_ops.flow.rollback import rollback
    from plaster_ops.processes.signals import stop_on_signals
    from plaster_ops.settings import load_settings

    with stop_on_signals(), progress_to_stderr(quiet=quiet) as tell:
        changed = rollback(load_settings(project), name, to=to, reason=reason, canary=canary, tell=tell)
    _show(changed, as_json=as_json, quiet=quiet)


def promotions(
    name: Name = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000_000, help="Newest lines to show.")] = 50,
    project: Project = None,
    as_json: Json = False,
    as_markdown: Markdown = False,
) -> None:
    """Show who was champion when, in place of whom, by whom and why, and where a rollback would go.

    Examples:

    plaster-ops promotions

    plaster-ops promotions digits --md
    """
    from plaster_ops.flow.promotions import promotions
    from plaster_ops.settings import load_settings

    answer = promotions(load_settings(project), name, limit)
    if as_json:
        print_json(answer)
    elif not answer["promotions"]:
        typer.echo("no champion yet; start with: plaster-ops retrain")
    else:
        _show_ledger(answer, as_markdown=as_markdown)


def _show_ledger(answer: dict[str, Any], *, as_markdown: bool) -> None:
    from plaster_ops.report.promotions_table import promotions_markdown, promotions_plain, promotions_view

    if as_markdown:
        sys.stdout.write(promotions_markdown(answer))
    elif is_terminal():
        from plaster_ops.report.table import print_view

        print_view(promotions_view(answer), plain=False)
    else:
        sys.stdout.write(promotions_plain(answer))


def _show(changed: Any, *, as_json: bool, quiet: bool) -> None:
    from plaster_ops.report.safe_text import one_line

    if as_json:
        print_json(changed.to_json())
    elif not quiet:
        typer.echo("\n".join(map(one_line, changed.lines())))
    if changed.exit_code is not ExitCode.DONE:
        raise typer.Exit(changed.exit_code)

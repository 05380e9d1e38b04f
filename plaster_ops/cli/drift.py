"""`plaster-ops drift`: which metrics left their level over the retrains, and what people said of it."""

import sys
from typing import Annotated, Any

import typer

from plaster_ops.cli.options import Json, Markdown, Name, Project, Quiet, is_terminal, print_json
from plaster_ops.errors import ExitCode, UsageError


def command(
    name: Name = None,
    metric: Annotated[str | None, typer.Option("--metric", help="This metric alone.", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="Resolved alarms too.")] = False,
    acknowledge: Annotated[
        int | None, typer.Option("--acknowledge", help="Say that this alarm (its id) was seen.", show_default=False)
    ] = None,
    resolve: Annotated[
        int | None, typer.Option("--resolve", help="Say that this alarm is dealt with.", show_default=False)
    ] = None,
    note: Annotated[
        str | None, typer.Option("--note", help="In which words; kept with your name.", show_default=False)
    ] = None,
    fail_on: Annotated[
        str | None,
        typer.Option("--fail-on", help="worse: exit 3 while an alarm for the worse is open.", show_default=False),
    ] = None,
    project: Project = None,
    as_json: Json = False,
    as_markdown: Markdown = False,
    quiet: Quiet = False,
) -> None:
    """Show alarms, metrics that left their level over the retrains, and where every watched metric stands.

    Alarms are found when a retrain ends, and are kept: nothing withdraws one, people acknowledge or resolve it.
    Nothing is measured here, and nothing is scanned.

    Examples:

    plaster-ops drift

    plaster-ops drift digits --metric latency/e2e_p50_ms --json

    plaster-ops drift --acknowledge 3 --note "int8 since #41, on purpose"

    plaster-ops drift digits --fail-on worse --quiet
    """
    from plaster_ops.domain.alarm import AlarmState
    from plaster_ops.flow.drift import answer_alarm, drift
    from plaster_ops.settings import load_settings

    if fail_on not in (None, "worse"):
        raise UsageError(f"--fail-on {fail_on}: only worse can fail", "give --fail-on worse")
    if acknowledge is not None and resolve is not None:
        raise UsageError("an alarm is acknowledged or resolved, not both", "give one of --acknowledge and --resolve")
    settings, id = load_settings(project), resolve if acknowledge is None else acknowledge
    if id is None:
        if note is not None:
            raise UsageError("--note says nothing of no alarm", "give --acknowledge ID or --resolve ID with it")
        found = drift(settings, name, key=_known(metric), resolved=every)
        _show(found, as_json=as_json, as_markdown=as_markdown, quiet=quiet)
        if fail_on is not None and found.is_worse:
            raise typer.Exit(ExitCode.HELD)
        return
    state = AlarmState.RESOLVED if acknowledge is None else AlarmState.ACKNOWLEDGED
    _tell(answer_alarm(settings, id, state, note), as_json=as_json, quiet=quiet)


def _known(metric: str | None) -> str | None:
    """The key that is meant, if it is one that is watched; `UsageError` names those that are."""
    from plaster_ops.domain.watch import WATCHED
    from plaster_ops.flow.metric_names import meant_metric

    if metric is None:
        return None
    keys = [each.key for each in WATCHED]
    meant = meant_metric(metric, keys).key
    if meant in keys:
        return meant
    raise UsageError(f"{meant} is not watched for drift", f"these are: {', '.join(keys)}")


def _tell(alarm: Any, *, as_json: bool, quiet: bool) -> None:
    from plaster_ops.report.drift_table import alarm_line

    if as_json:
        print_json({"schema": 1, "alarm": alarm.to_json()})
    elif not quiet:
        typer.echo(alarm_line(alarm))


def _show(found: Any, *, as_json: bool, as_markdown: bool, quiet: bool) -> None:
    from plaster_ops.report.drift_table import drift_markdown, drift_plain, drift_view

    if as_json:
        print_json(found.to_json())
    elif as_markdown:
        sys.stdout.write(drift_markdown(found))
    elif quiet:
        return
    elif is_terminal():
        from plaster_ops.report.table import print_view

        print_view(drift_view(found, plain=False), plain=False)
    else:
        sys.stdout.write(drift_plain(found))

"""`plaster-ops doctor`: what works here, what cannot be measured, and what to do about it."""

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from plaster_ops.cli.options import Json, Project
from plaster_ops.errors import ExitCode

if TYPE_CHECKING:
    from plaster_ops.flow.doctor import Finding

_MARKS = {True: "ok  ", False: "BAD ", None: "-   "}


def command(
    fix: Annotated[
        bool,
        typer.Option("--fix", help="Upgrade an MLflow store that is behind (backup first); repair a moved project."),
    ] = False,
    project: Project = None,
    as_json: Json = False,
) -> None:
    """Look at this machine, its packages, engines, settings and store; exit 1 where something is wrong.

    Examples:

    plaster-ops doctor

    plaster-ops doctor --fix
    """
    from dataclasses import asdict

    from plaster_ops.flow.doctor import examine
    from plaster_ops.settings import load_settings

    findings = examine(load_settings(project), fix=fix)
    if as_json:
        sys.stdout.write(json.dumps({"schema": 1, "findings": [asdict(f) for f in findings]}) + "\n")
    else:
        _show(findings)
    if any(finding.ok is False for finding in findings):
        raise typer.Exit(int(ExitCode.UNEXPECTED))


def _show(findings: "Sequence[Finding]") -> None:
    topic = ""
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        if finding.topic != topic:
            topic = finding.topic
            typer.echo(topic)
        typer.echo(f"  {_MARKS[finding.ok]}{finding.what.ljust(width)}  {finding.detail}")
        if finding.next_step:
            typer.echo(f"      {' ' * width}  next: {finding.next_step}")

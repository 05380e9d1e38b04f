"""`plaster-ops schedule check`: for cron and monitoring, which see an exit code and a line."""

import sys
import time
from typing import Annotated, Any

import typer

from plaster_ops.cli.options import Json, Project, Quiet, print_json
from scheduler.commands.coming import Names
from scheduler.commands.output import print_table


def command(
    names: Names = None,
    service: Annotated[
        bool, typer.Option("--service", help="A service must be running: its heartbeat is looked at too.")
    ] = False,
    project: Project = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Exit 0 when all is well, 1 when a pipeline is late, failing, missed or kept by nobody; one line each.

    Late: a slot has not started scheduler.check_s after it was due. Failing, missed: so its last slot ended. Paused
    pipelines are left out. With --quiet what is wrong goes to stderr, and nothing is written when all is well.

    Examples:

    plaster-ops schedule check

    plaster-ops schedule check digits --service --json

    */15 * * * * cd /srv/churn && .venv/bin/plaster-ops schedule check --quiet
    """
    from plaster_ops.settings import load_settings
    from scheduler.findings import service_finding
    from scheduler.plain import plain_finding
    from scheduler.reading import declared_all, opened
    from scheduler.snapshot import collect

    settings, now_s = load_settings(project), time.time()
    wanted = set(declared_all(settings, names))
    with opened(settings) as (ledger, journal):
        told = collect(ledger, journal, settings, now_s)
    lacking = service_finding(told.service, now_s) if service else None
    found = [*([lacking] if lacking else []), *(each for each in told.findings if not names or each.pipeline in wanted)]
    if as_json:
        rows = [plain_finding(finding) for finding in found]
        print_json({"schema": 1, "ok": not found, "exit_code": int(bool(found)), "findings": rows})
    elif found:
        _tell(found, quiet=quiet)
    else:
        paused = [each.name for each in told.pipelines if each.pause is not None and each.name in wanted]
        but = f"; paused: {', '.join(paused)}" if paused else ""
        print_table(f"all is well: {len(wanted)} looked at{but}", quiet=quiet)
    raise typer.Exit(int(bool(found)))


def _tell(found: list[Any], *, quiet: bool) -> None:
    from scheduler.tables import one_line

    for finding in found:
        whose = f"{finding.pipeline}: " if finding.pipeline else ""
        line = f"{finding.kind.value}: {whose}{finding.message}. Next: {finding.next_step}"
        print(one_line(line), file=sys.stderr if quiet else sys.stdout)

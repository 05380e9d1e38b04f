"""`plaster-ops schedule alert-test`: a marked message to every target of a pipeline, and what came back."""

import json
import sys
import time

import typer

from plaster_ops.cli.options import Json, Name, Project
from plaster_ops.errors import PlasterError


def command(name: Name = None, project: Project = None, as_json: Json = False) -> None:
    """Send a marked test message to every target in `alerts` of a pipeline, now; exit 1 where one did not take it.

    Examples:

    plaster-ops schedule alert-test digits
    """
    from plaster_ops.flow.alerting import send_test
    from plaster_ops.settings import load_settings

    answers = send_test(load_settings(project), name, time.time())
    failed = [target.name for target, answer in answers if not answer.ok]
    if as_json:
        rows = [{"target": target.name, "ok": answer.ok, "detail": answer.detail} for target, answer in answers]
        sys.stdout.write(json.dumps({"schema": 1, "exit_code": int(bool(failed)), "targets": rows}) + "\n")
    else:
        width = max(len(target.name) for target, _ in answers)
        for target, answer in answers:
            typer.echo(f"{'sent' if answer.ok else 'BAD '}  {target.name.ljust(width)}  {answer.detail}")
    if failed:
        raise PlasterError(
            f"{len(failed)} of {len(answers)} targets did not take the test message: {', '.join(failed)}",
            "mend the variable, or the receiver, and send it again",
        )

"""`plaster-ops schedule`: attached to the command by the entry point `plaster_ops.commands`. Imports nothing heavy."""

import typer

from scheduler.commands import (
    alert_test,
    apply,
    check,
    coming,
    history,
    install,
    listing,
    once,
    pausing,
    start,
)

app = typer.Typer(
    help="Retrains by the clock, by new data and by drift, with every slot accounted for.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def schedule() -> None:
    """Retrains by the clock, by new data and by drift, with every slot accounted for."""


app.command("start")(start.command)
app.command("once")(once.command)
app.command("list")(listing.command)
app.command("next")(coming.command)
app.command("history")(history.command)
app.command("pause")(pausing.pause)
app.command("resume")(pausing.resume)
app.command("check")(check.command)
app.command("install")(install.command)
app.command("apply")(apply.command)
app.command("alert-test")(alert_test.command)

"""What stdout looks like for the commands of the group."""

from collections.abc import Callable
from typing import Any

import typer

from plaster_ops.cli.options import is_terminal

_WIDTH = 4000
"""Of a line that no terminal shows: nothing in it is cut."""


def print_table(view: Callable[[bool], Any] | str, *, quiet: bool) -> None:
    """A sentence, or the view that the call makes: plain where stdout is no terminal."""
    if quiet:
        return
    if isinstance(view, str):
        typer.echo(view)
        return
    from plaster_ops.report.table import print_view

    plain = not is_terminal()
    print_view(view(plain), plain=plain, width=_WIDTH if plain else None)

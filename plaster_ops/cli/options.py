"""Options that several commands share, and what stdout looks like for each."""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

Name = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]",
        help="Pipeline name of plaster.toml, or module:attribute. Default: the project's default.",
        show_default=False,
    ),
]
Project = Annotated[
    Path | None,
    typer.Option(
        "--project", help="Project folder. Default: nearest folder upwards with plaster.toml.", show_default=False
    ),
]
OfPipeline = Annotated[
    str | None, typer.Option("--pipeline", help="Whose run. Default: the project's default.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]
Markdown = Annotated[bool, typer.Option("--md", help="Markdown on stdout, for a pull request.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stdout, no progress; errors on stderr only.")]
ProfileOption = Annotated[
    str | None,
    typer.Option("--profile", help="How long to measure: smoke (20 s), standard (150 s), full.", show_default=False),
]

Server = Annotated[
    bool, typer.Option("--server", help="Also find the largest rate of random arrivals whose p99 is within the limit.")
]


def is_terminal() -> bool:
    """Whether stdout is a terminal that a person reads."""
    return sys.stdout.isatty()


def print_json(answer: Mapping[str, Any]) -> None:
    """One object in one line; NaN and infinity are refused."""
    sys.stdout.write(json.dumps(answer, ensure_ascii=False, allow_nan=False) + "\n")


def print_found(
    found: Any,
    *,
    view: Callable[..., Any],
    markdown: Callable[[Any], str],
    as_json: bool,
    as_markdown: bool,
    quiet: bool,
) -> None:
    """What a question found, on stdout: its `to_json()` as one object, as Markdown, or as `view(found, plain=...)`."""
    if as_json:
        print_json(found.to_json())
    elif as_markdown:
        sys.stdout.write(markdown(found))
    elif not quiet:
        from plaster_ops.report.table import print_view

        terminal = is_terminal()
        print_view(view(found, plain=not terminal), plain=not terminal, width=None if terminal else 160)


def print_payload(payload: Mapping[str, Any], *, as_json: bool, as_markdown: bool, quiet: bool) -> None:
    """The answer of a command on stdout, in the form that was asked for."""
    from plaster_ops.report.json_text import to_text

    if as_json:
        sys.stdout.write(to_text(payload) + "\n")
    elif as_markdown:
        from plaster_ops.report.markdown_text import markdown

        sys.stdout.write(markdown(payload))
    elif not quiet:
        import shutil

        from plaster_ops.report.table import comparison_view, print_view

        terminal = is_terminal()
        width = shutil.get_terminal_size((140, 24)).columns if terminal else 160
        print_view(comparison_view(payload, width=width, plain=not terminal), plain=not terminal, width=width)
    sys.stdout.flush()

"""The checklist of `init`: a line a check, what to do under those that are not ok, and what comes next."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

_MARKS = {"ok": "ok  ", "warn": "look", "bad": "BAD "}
_COLOURS = {"ok": "green", "warn": "yellow", "bad": "bold red"}


def checklist_view(outcome: Mapping[str, Any], *, plain: bool) -> RenderableType:
    """`outcome` is the `--json` object of `init`."""
    lines: list[RenderableType] = []
    width = max((len(row["name"]) for row in outcome["checks"]), default=0)
    for row in outcome["checks"]:
        line = Text("  ")
        line.append(_MARKS[row["state"]], style="" if plain else _COLOURS[row["state"]])
        line.append(f"  {row['name'].ljust(width)}  {row['detail']}")
        lines.append(line)
        if row["next_step"]:
            lines.append(Text(f"{' ' * (width + 10)}-> {row['next_step']}"))
    lines.append(Text())
    for file in outcome["files"]:
        lines.append(Text(f"  {file['path']}: {file['how']}"))
    if not outcome["files"]:
        lines.append(Text("  nothing was written"))
    if outcome["next"]:
        lines += [Text(), Text(f"next:  {outcome['next']}")]
    return Group(*lines)

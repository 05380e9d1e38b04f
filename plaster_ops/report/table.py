"""The comparison as a terminal shows it: seven letters, marks that do not depend on colour, what to do next."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from plaster_ops.report.engine_table import ladder_view
from plaster_ops.report.lines import Line, alarm_sentence, base_name, change_sentence, history_sentence, lines_of
from plaster_ops.report.run_lines import head_lines, labelled, next_lines
from plaster_ops.report.safe_text import one_line

_COLOURS = {
    "better": "green",
    "worse": "bold red",
    "same": "dim",
    "inconclusive": "yellow",
    "not_comparable": "dim",
    "missing": "bold red",
    "new": "green",
}
_STYLES = {"promoted": "bold green", "baseline": "bold green", "held": "bold yellow", "failed": "bold red"}
_NARROW = 100
_MOST_CHANGES = 8
_UNTOLD = ("data",)
"""Kinds of change that a line of a terminal leaves out: the data is new each time, and has a line of its own."""


def comparison_view(payload: Mapping[str, Any], *, width: int, plain: bool) -> RenderableType:
    """The whole answer of a retrain: what happened, the table, what changed, phases, verdict, where to look."""
    parts: list[RenderableType] = [Text(line) for line in head_lines(payload)]
    tried = (payload.get("engine") or {}).get("tried") or ()
    if len(tried) > 1:
        parts += [Text(), ladder_view(tried, plain=plain), Text()]
    lines = lines_of(payload)
    if lines:
        parts.append(_table(lines, payload, narrow=width < _NARROW, plain=plain))
        parts.extend(Text(f"  {line.name}: {line.note}", style="dim") for line in lines if line.note)
    parts += [Text(line) for line in _assessed(payload)]
    parts.extend(_tail(payload, plain=plain))
    return Group(*parts)


def _table(lines: Sequence[Line], payload: Mapping[str, Any], *, narrow: bool, plain: bool) -> Table:
    """Narrow, it fits 80 columns: the interval folds under the change, and the limit goes."""
    run, base = payload.get("run"), payload.get("baseline")
    frame = None if plain or narrow else box.SIMPLE_HEAD
    table = Table(box=frame, pad_edge=False, padding=(0, 1 if narrow else 2, 0, 0))
    table.add_column("")
    table.add_column("PLASTER", no_wrap=True)
    table.add_column(f"now #{run['index']}" if run else "now", justify="right", no_wrap=True)
    if base:
        table.add_column(base_name(base), justify="right", no_wrap=True)
        table.add_column("change", justify="right", no_wrap=True)
        if not narrow:
            table.add_column("95 % CI", no_wrap=True)
            table.add_column("limit", justify="right", no_wrap=True)
        table.add_column("verdict", no_wrap=True)
    previous = ""
    for line in lines:
        letter = line.letter if line.letter != previous else ""
        previous = line.letter
        cells = _narrow_cells(line, letter) if narrow else _cells(line, letter)
        table.add_row(*cells if base else cells[:3])
    return table


def _cells(line: Line, letter: str) -> list[Text]:
    cells = [letter, line.name, line.now, line.then, line.change, line.interval, line.limit]
    return [*map(Text, cells), Text(line.verdict, style=_COLOURS.get(line.word, ""))]


def _narrow_cells(line: Line, letter: str) -> list[Text]:
    now = "n/a" if line.now == "not measured" else line.now
    folded = line.interval.strip("[]").replace(" %", "").replace(", ", " to ")
    change = f"{line.change}\n{folded}" if line.interval.startswith("[") else line.change
    verdict = line.verdict.replace("comparable", "comp.")
    return [
        *map(Text, (letter, line.name, now, line.then, change)),
        Text(verdict, style=_COLOURS.get(line.word, "")),
    ]


def _assessed(payload: Mapping[str, Any]) -> Iterable[str]:
    """What is concluded beside the rows: trade-off, what changed, whose the change is, alarms."""
    told = payload.get("assessment") or {}
    if told.get("tradeoff"):
        yield labelled("trade-off", one_line(told["tradeoff"]))
    changed = [row for row in told.get("changed") or () if row.get("kind") not in _UNTOLD]
    if changed:
        more = len(changed) - _MOST_CHANGES
        shown = " | ".join(change_sentence(row) for row in changed[:_MOST_CHANGES])
        yield labelled("changed", f"{shown}{f' | and {more} more' if more > 0 else ''}")
    environment = told.get("environment") or {}
    if environment.get("sentence") and environment.get("cause") != "none":
        yield labelled("machine", one_line(environment["sentence"]))
    history = history_sentence(payload)
    if history:
        yield labelled("history", history)
    for place, alarm in enumerate(told.get("alarms") or ()):
        yield labelled("" if place else "alarms", alarm_sentence(alarm))


def _tail(payload: Mapping[str, Any], *, plain: bool) -> list[RenderableType]:
    out: list[RenderableType] = []
    phases = payload["phases"]
    if phases:
        spent = "  ".join(
            f"{name.removesuffix('_s')} {seconds:.1f}" for name, seconds in phases.items() if name != "cycle_s"
        )
        out.append(Text(f"  phases (s)  {spent}   total {phases['cycle_s']:.1f}"))
    verdict = payload["verdict"]
    out.append(Text(f"\n  {verdict.upper()}", style="" if plain else _STYLES.get(verdict, "bold")))
    out.extend(Text(f"    {one_line(reason)}") for reason in payload["reasons"])
    mlflow = payload["mlflow"]
    if mlflow.get("run_id"):
        version = f", model version {mlflow['model_version']}" if mlflow.get("model_version") else ""
        out.append(Text(labelled("MLflow", f"{one_line(mlflow['experiment'])} run {mlflow['run_id']}{version}")))
    elif mlflow.get("spooled"):
        why = one_line(mlflow["spooled"])
        out.append(Text(labelled("MLflow", f"not reached ({why}); kept in the journal: plaster-ops sync")))
    out.extend(Text(labelled("" if place else "next", line)) for place, line in enumerate(next_lines(payload)))
    return out


def print_view(view: RenderableType, *, plain: bool, width: int | None = None) -> None:
    """Writes to stdout; plain: no colour and no box characters, whatever the terminal."""
    console = Console(
        width=width, no_color=plain or None, highlight=False, force_terminal=False if plain else None, soft_wrap=plain
    )
    console.print(view)

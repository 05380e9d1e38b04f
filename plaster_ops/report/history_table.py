"""The history of a pipeline: one line a retrain, one line a skip. The plain form imports nothing heavy."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from plaster_ops.domain.metrics import HEADLINES
from plaster_ops.report.numbers import show_value
from plaster_ops.report.safe_text import markdown_table, markdown_text, one_line
from plaster_ops.report.sparkline import MOST, sparkline

if TYPE_CHECKING:
    from rich.table import Table

_HEAD = ("#", "when (UTC)", "verdict", *(f"{m.letter} {m.key.partition('/')[2]}" for m in HEADLINES), "why")


def _table(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The rows' cells; of several pipelines each begins with its name."""
    several = len({row["pipeline"] for row in rows}) > 1
    return [_cells(row, f"{one_line(row['pipeline'])} " if several else "") for row in rows]


def _cells(row: Mapping[str, Any], whose: str) -> list[str]:
    values = row["headlines"]
    shown = [
        show_value(values.get(m.key), m.unit) if row["state"] in ("finished", "failed") and values else ""
        for m in HEADLINES
    ]
    index = whose + ("" if row["index"] is None else f"{row['index']}{'*' if row['champion'] else ''}")
    why = "; ".join(one_line(text) for text in (*row["reasons"][:1], row.get("next_step")) if text)
    return [index, row["started_at"][:16].replace("T", " "), str(row["verdict"] or row["state"]), *shown, why]


def history_plain(rows: Sequence[Mapping[str, Any]]) -> str:
    """Aligned text, the champion marked with a star."""
    table = [list(_HEAD), *_table(rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(_HEAD) - 1)]
    lines = [
        "  ".join([*(c.ljust(w) for c, w in zip(line, widths, strict=False)), line[-1]]).rstrip() for line in table
    ]
    return "\n".join(lines) + "\n* champion\n"


def history_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """A GitHub Markdown table."""
    return markdown_table(list(_HEAD), [_escaped(line) for line in _table(rows)])


def _escaped(cells: Sequence[str]) -> list[str]:
    """What a person or a machine wrote, the pipeline's name and the reason, as Markdown; the rest is ours."""
    return [cells[0].replace("|", "\\|").replace("<", "&lt;"), *cells[1:-1], markdown_text(cells[-1])]


def history_trend(rows: Sequence[Mapping[str, Any]], *, unicode: bool) -> list[str]:
    """A line a headline: its course over the newest 20 finished retrains, first and last value.

    Empty for several pipelines, and for fewer than two retrains with values.
    """
    if len({row["pipeline"] for row in rows}) != 1:
        return []
    finished = [row for row in rows if row["state"] == "finished" and row["headlines"]][-MOST:]
    found = []
    for metric in HEADLINES:
        values = [row["headlines"].get(metric.key) for row in finished]
        known = [value for value in values if value is not None]
        if len(known) >= 2:
            course = sparkline(values, unicode=unicode)
            ends = (
                f"{show_value(known[0], metric.unit)} {'→' if unicode else '->'} {show_value(known[-1], metric.unit)}"
            )
            found.append((f"{metric.letter} {metric.key.partition('/')[2]}", course, ends))
    wide = max((len(name) for name, _, _ in found), default=0)
    long = max((len(course) for _, course, _ in found), default=0)
    return [f"{name.ljust(wide)}  {course.ljust(long)}  {ends}" for name, course, ends in found]


def history_view(rows: Sequence[Mapping[str, Any]]) -> "Table":
    """A table for a terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption="* champion", caption_justify="left")
    for i, name in enumerate(_HEAD):
        table.add_column(name, justify="right" if 3 <= i < len(_HEAD) - 1 else "left", overflow="fold")
    styles = {"promoted": "green", "baseline": "green", "held": "yellow", "failed": "red", "skipped": "dim"}
    for row, plain in zip(rows, _table(rows), strict=True):
        cells = [Text(cell) for cell in plain]
        cells[2].stylize(styles.get(str(row["verdict"]), ""))
        table.add_row(*cells)
    return table

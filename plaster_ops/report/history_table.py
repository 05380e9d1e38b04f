"""The history of a pipeline: one line a retrain, one line a skip. The plain form imports nothing heavy."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from plaster_ops.domain.metrics import HEADLINES
from plaster_ops.report.numbers import show_value

if TYPE_CHECKING:
    from rich.table import Table

_HEAD = ("#", "when (UTC)", "verdict", *(f"{m.letter} {m.key.partition('/')[2]}" for m in HEADLINES), "why")


def _table(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The rows' cells; of several pipelines each begins with its name."""
    several = len({row["pipeline"] for row in rows}) > 1
    return [_cells(row, f"{row['pipeline']} " if several else "") for row in rows]


def _cells(row: Mapping[str, Any], whose: str) -> list[str]:
    values = row["headlines"]
    shown = [
        show_value(values.get(m.key), m.unit) if row["state"] in ("finished", "failed") and values else ""
        for m in HEADLINES
    ]
    index = whose + ("" if row["index"] is None else f"{row['index']}{'*' if row['champion'] else ''}")
    why = "; ".join(" ".join(text.split()) for text in (*row["reasons"][:1], row.get("next_step")) if text)
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
    table = [list(_HEAD), ["-"] * len(_HEAD), *_table(rows)]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in table) + "\n"


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

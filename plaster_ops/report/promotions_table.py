"""The ledger of champions as text: one line a promotion. Imports nothing heavy."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from plaster_ops.report.safe_text import markdown_table, markdown_text, one_line

if TYPE_CHECKING:
    from rich.table import Table

_HEAD = ("when (UTC)", "champion", "in place of", "by", "how", "why")


def _cells(line: Mapping[str, Any]) -> list[str]:
    before = "" if line["from"] is None else f"#{line['from']['index']}"
    how = f"{line['kind']}, forced" if line["forced"] else line["kind"]
    at = line["at"][:19].replace("T", " ")
    return [at, f"#{line['index']}", before, one_line(line["by"]), how, one_line(line["reason"])]


def _foot(answer: Mapping[str, Any]) -> str:
    if answer["champion"] is None:
        return "no champion"
    back = ", then ".join(f"#{row['index']}" for row in answer["rollbacks"][:3])
    told = f"a rollback goes to {back}" if back else "no champion stands before it"
    return f"champion #{answer['champion']['index']}; {told}"


def promotions_plain(answer: Mapping[str, Any]) -> str:
    """Aligned text, oldest first, and where a rollback would go."""
    table = [list(_HEAD), *map(_cells, answer["promotions"])]
    widths = [max(len(row[i]) for row in table) for i in range(len(_HEAD) - 1)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in table
    ]
    return "\n".join([*lines, _foot(answer)]) + "\n"


def promotions_markdown(answer: Mapping[str, Any]) -> str:
    """A GitHub Markdown table."""
    rows = [[markdown_text(cell) for cell in _cells(line)] for line in answer["promotions"]]
    return f"{markdown_table(list(_HEAD), rows)}\n{_foot(answer)}\n"


def promotions_view(answer: Mapping[str, Any]) -> "Table":
    """A table for a terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption=_foot(answer), caption_justify="left")
    for name in _HEAD:
        table.add_column(name, overflow="fold")
    for line in answer["promotions"]:
        table.add_row(*(Text(cell) for cell in _cells(line)))
    return table

"""Engine backends and the candidates of a ladder as tables; marks that do not depend on colour."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from plaster_ops.report.numbers import show_value
from plaster_ops.report.safe_text import markdown_table, markdown_text, one_line

_COLUMNS = ("", "engine", "build", "bytes", "error", "score kept", "p50", "samples/s")


def engines_view(listing: Any, *, with_options: bool, plain: bool) -> RenderableType:
    """One row a backend of a `flow.engines.Listing`, the devices above."""
    has = f" with {', '.join(listing.cpu_has)}" if listing.cpu_has else ""
    parts: list[RenderableType] = [
        Text(f"cpu   {listing.cpu}{has}"),
        Text(f"gpus  {', '.join(listing.gpus) or 'none visible'}"),
    ]
    table = _table(("", "backend", "precisions", "refit", "versions, or why not"), plain=plain)
    for backend in listing.backends:
        precisions = " ".join(f"({name})" if name in backend.emulated else name for name in backend.precisions)
        versions = ", ".join(f"{name} {number}" for name, number in backend.versions.items())
        told = "; ".join(part for part in (backend.reason, versions) if part)
        table.add_row(
            Text("+" if backend.ok and backend.runs_here else "-" if not backend.ok else "~"),
            Text(backend.name),
            Text(precisions if backend.ok else ""),
            Text(backend.refit.replace("_", " ") if backend.ok else ""),
            Text(told),
        )
    parts += [table, Text("+ usable   ~ builds here only   - not here   (in brackets: emulated, slower than fp32)")]
    if with_options:
        parts += [Text(line) for backend in listing.backends for line in _options(backend)]
    return Group(*parts)


def ladder_view(rows: Sequence[Mapping[str, Any]], *, plain: bool) -> RenderableType:
    """The candidates that were tried: what was measured of each, and below the table why the others were not taken."""
    table = _table(_COLUMNS, plain=plain)
    for row in rows:
        if row.get("built") or row.get("ok"):
            table.add_row(*(Text(cell) for cell in _cells(row)))
    reasons = [
        Text(f"  {_name(row)}: {one_line(row['reason'])}", style="dim")
        for row in rows
        if not row["ok"] and row["reason"]
    ]
    legend = Text("* chosen   + keeps the score   - rejected", style="dim")
    return Group(table, legend, *reasons)


def ladder_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The same as GitHub Markdown."""
    head = [*_COLUMNS, "why not"]
    cells = [
        [*(cell.replace("|", "\\|") for cell in _cells(row)), "" if row["ok"] else markdown_text(row["reason"] or "")]
        for row in rows
    ]
    return markdown_table(head, cells)


def _cells(row: Mapping[str, Any]) -> list[str]:
    kept = row.get("retained_ratio")
    loss = row.get("score_loss")
    score = f"{kept:.4f}" if kept is not None else "" if loss is None else f"{0.0 - loss:+.4f}"
    return [
        "*" if row.get("chosen") else "+" if row["ok"] else "-",
        _name(row),
        _shown(row.get("build_s"), "s"),
        _shown(row.get("engine_bytes"), "bytes"),
        "" if row.get("rel_err_max") is None else f"{row['rel_err_max']:.1e}",
        score,
        _shown(row.get("p50_ms"), "ms"),
        _shown(row.get("samples_per_s"), "per_s"),
    ]


def _shown(value: Any, unit: str) -> str:
    return "" if value is None else show_value(value, unit)


def _name(row: Mapping[str, Any]) -> str:
    return one_line(f"{row['backend']} {row['precision']}")


def _options(backend: Any) -> Iterable[str]:
    for name, default in backend.options.items():
        words = f"one of {', '.join(default)}" if isinstance(default, tuple) else f"default {default!r}"
        yield f"  {backend.name}.{name}: {words}"


def _table(columns: Sequence[str], *, plain: bool) -> Table:
    table = Table(box=None if plain else box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, justify="right" if name in _COLUMNS[2:] else "left", no_wrap=name in _COLUMNS)
    return table

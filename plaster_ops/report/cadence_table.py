"""What `cadence` found: a table of cadences, the suggestion in a sentence, and the retrains better left out."""

from typing import Any

_HEAD = ("a retrain", "mean score", "loss", "95 %", "training", "stale p95", "sure")


def cadence_view(found: Any, *, plain: bool) -> Any:
    """A `flow.cadence.Found` for a terminal; `plain` without lines and colour."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None if plain else box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    for place, name in enumerate(_HEAD):
        table.add_column(name, justify="right" if place else "left", no_wrap=True)
    for row in found.answer.rows:
        chosen = row.every == found.answer.suggested
        table.add_row(*(Text(cell, style="bold" if chosen and not plain else "") for cell in _cells(found, row)))
    parts: list[Any] = [Text(_title(found))]
    if found.answer.rows:
        parts.append(table)
    return Group(*parts, *(Text(line) for line in _sentences(found)))


def cadence_markdown(found: Any) -> str:
    """The same as GitHub Markdown."""
    rows = [list(_HEAD), ["-"] * len(_HEAD), *(_cells(found, row) for row in found.answer.rows)]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows) if found.answer.rows else ""
    return "\n\n".join(part for part in (_title(found), table, *_sentences(found)) if part) + "\n"


def _cells(found: Any, row: Any) -> list[str]:
    mark = " *" if row.every == found.answer.suggested else ""
    interval = "" if row.every == 1 else f"[{row.loss_ci95[0]:+.4f}, {row.loss_ci95[1]:+.4f}]"
    score = row.score if found.better.value == "higher" else -row.score
    return [
        _every(found, row.every) + mark,
        f"{score:.4f}",
        "" if row.every == 1 else f"{row.loss:+.4f}",
        interval,
        f"{show_span(found.train_s / row.every)} a slot",
        "n/a" if row.stale_p95_s is None else show_span(row.stale_p95_s),
        "" if row.every == 1 else f"{row.sure_ratio:.0%}",
    ]


def _title(found: Any) -> str:
    slot = "" if found.slot_s is None else f", one about every {show_span(found.slot_s)}"
    return (
        f"{found.pipeline}: {found.runs} retrains{slot}; scores of older models on {found.answer.slots} slots (the new"
        " data between two retrains)"
    )


def _every(found: Any, every: int) -> str:
    words = "each time" if every == 1 else f"every {every}{_ordinal(every)} time"
    return words if found.slot_s is None else f"{words} ({show_span(every * found.slot_s)})"


def _sentences(found: Any) -> list[str]:
    lines = [_suggestion(found)]
    if found.left_out:
        named = ", ".join(f"#{each.index} ({each.score:.4f})" for each in found.left_out[:12])
        more = len(found.left_out) - 12
        lines.append(
            f"better left out: {named}{f' and {more} more' if more > 0 else ''}: the model before was at target"
            f" ({found.target:g}) on their new data"
        )
    elif found.left_out is not None:
        lines.append(f"no retrain was better left out: the model before was below target ({found.target:g}) each time")
    if found.gone:
        lines.append(
            f"not asked: {found.gone[0]}" + (f" and {len(found.gone) - 1} more" if len(found.gone) > 1 else "")
        )
    if not found.is_complete:
        lines.append("the time was over before everything was asked: run it again, or raise --max-s")
    return lines


def _suggestion(found: Any) -> str:
    told = found.answer
    if told.suggested is None:
        return f"no suggestion yet: {told.reason}"
    row = told.row
    if told.suggested == 1:
        return _each_time(found, told)
    return (
        f"* suggested: {_every(found, row.every)}, at a loss of {row.loss:+.4f} (95 % up to {row.loss_ci95[1]:+.4f},"
        f" {told.margin:g} allowed) and 1/{row.every} of the retrains; {row.sure_ratio:.0%} sure."
        " A rarer retrain has more new data to learn: its own cost was not tried"
    )


def _each_time(found: Any, told: Any) -> str:
    slower = next((row for row in told.rows if row.every > 1), None)
    if slower is None:
        return f"* keep retraining each time: {told.slots} slots are too few to look at a slower cadence"
    name, (low, high) = _every(found, slower.every), slower.loss_ci95
    if low > told.margin:
        return f"* keep retraining each time: {name} loses {slower.loss:.4f}, at least {low:.4f}"
    return (
        f"* keep retraining each time for now: {told.slots} slots do not tell whether {name} is enough; it"
        f" loses {slower.loss:+.4f}, up to {high:+.4f} (95 %), and {told.margin:g} is allowed"
    )


def _ordinal(number: int) -> str:
    return {1: "st", 2: "nd", 3: "rd"}.get(0 if number % 100 in (11, 12, 13) else number % 10, "th")


def show_span(seconds: float) -> str:
    """`45 s`, `12 min`, `6.5 h`, `3 d`."""
    for name, size in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.3g} {name}"
    return f"{seconds:.3g} s"

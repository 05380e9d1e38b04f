"""What `drift` found: alarms, one group a retrain, and a line for each watched metric. Plain text needs no library."""

from collections.abc import Sequence
from typing import Any

from plaster_ops.domain.alarm import Alarm, AlarmState
from plaster_ops.domain.metrics import CATALOGUE
from plaster_ops.report.numbers import show_value
from plaster_ops.report.safe_text import markdown_table, markdown_text, one_line
from plaster_ops.report.sparkline import sparkline

_ALARMS = ("id", "at", "metric", "", "from -> to", "change", "p", "shape", "told", "state", "what changed there")
_WATCHED = ("", "metric", "level", "since", "n", "newest", "")
_MOST_CANDIDATES = 3


def drift_plain(found: Any) -> str:
    """Aligned text."""
    parts = [_title(found)]
    if found.alarms:
        parts.append(_aligned([_ALARMS, *_alarm_rows(found)]))
    if found.watched:
        parts.append(_aligned([_WATCHED, *_watched_rows(found)]))
    return "\n\n".join([*parts, *_notes(found)]) + "\n"


def drift_markdown(found: Any) -> str:
    """The same as GitHub Markdown."""
    parts = [markdown_text(_title(found))]
    for head, rows in ((_ALARMS, _alarm_rows(found)), (_WATCHED, _watched_rows(found))):
        if rows:
            cells = [[markdown_text(cell) for cell in row] for row in rows]
            parts.append(markdown_table([markdown_text(name) for name in head], cells).rstrip())
    return "\n\n".join([*parts, *_notes(found)]) + "\n"


def drift_view(found: Any, *, plain: bool) -> Any:
    """The same for a terminal."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[Any] = [Text(_title(found))]
    for head, rows in ((_ALARMS, _alarm_rows(found)), (_WATCHED, _watched_rows(found))):
        if not rows:
            continue
        table = Table(box=None if plain else box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
        for name in head:
            table.add_column(name, justify="right" if name in ("change", "p", "level", "n") else "left")
        for row in rows:
            style = "red" if "worse" in row else "green" if "better" in row else ""
            table.add_row(*(Text(cell, style="" if plain else style) for cell in row))
        parts.append(table)
    return Group(*parts, *(Text(line) for line in _notes(found)))


def alarm_line(alarm: Alarm) -> str:
    """One alarm in a sentence, as an answer to what was said of it."""
    return f"alarm {alarm.id}, {alarm.key} at #{alarm.index} ({show_alarm_change(alarm)}): {_state(alarm)}"


def show_alarm_change(alarm: Alarm) -> str:
    """`+12.0 %`, or a difference."""
    return f"{alarm.change * 100:+.1f} %" if alarm.is_ratio else f"{alarm.change:+.4g}"


def _state(alarm: Alarm) -> str:
    """How it stands, who said so and in which words: one line, whatever was typed."""
    said = f" by {alarm.by}" if alarm.by else ""
    return one_line(f"{alarm.state}{said}{f': {alarm.note}' if alarm.note else ''}")


def _title(found: Any) -> str:
    name = one_line(found.pipeline)
    if found.index is None:
        return f"{name}: no retrain has finished yet; start with: plaster-ops retrain {name}"
    waiting = [alarm for alarm in found.alarms if alarm.state is AlarmState.OPEN]
    worse = sum(alarm.worse for alarm in waiting)
    told = f"{len(waiting)} open alarm{'' if len(waiting) == 1 else 's'}, {worse} for the worse" if waiting else ""
    return f"{name}: newest retrain #{found.index} on {one_line(found.device)}; {told or 'no open alarm'}"


def _alarm_rows(found: Any) -> list[list[str]]:
    """An empty place for the retrain where the line above is of the same one."""
    return [_alarm_cells(alarm, is_first=not place) for event in found.events for place, alarm in enumerate(event)]


def _alarm_cells(alarm: Alarm, *, is_first: bool) -> list[str]:
    unit = CATALOGUE[alarm.key].unit
    back = f"back at the level of #{alarm.back_at}" if alarm.back_at is not None else ""
    changed = [one_line(each.sentence) for each in alarm.candidates[:_MOST_CANDIDATES]]
    more = len(alarm.candidates) - len(changed)
    why = "; ".join([*([back] if back else []), *changed, *([f"and {more} more"] if more else [])])
    return [
        str(alarm.id) if alarm.id else "new",
        f"#{alarm.index}" if is_first else f" #{alarm.index}",
        alarm.key,
        "worse" if alarm.worse else "better",
        f"{show_value(alarm.before, unit)} -> {show_value(alarm.after, unit)}",
        show_alarm_change(alarm),
        "exact" if alarm.p_value is None else f"{alarm.p_value:.0e}",
        alarm.shape.value,
        f"#{alarm.raised_index}",
        _state(alarm),
        why or "nothing that is recorded",
    ]


def _watched_rows(found: Any) -> list[list[str]]:
    rows = [[m.letter.value, m.key, "n/a", "", "", "", "not measured"] for m in found.not_measured]
    for each in found.watched:
        note = each.reason or ""
        if each.noise_ratio is not None:
            note = f"noise grew: {each.noise_ratio:.1f} times the spread"
        level = show_value(each.level, each.metric.unit)
        cells = [each.metric.letter.value, each.metric.key, level, f"#{each.since}", str(each.n)]
        rows.append([*cells, sparkline(each.newest), note])
    order = list(CATALOGUE)
    return sorted(rows, key=lambda row: order.index(row[1]))


def _notes(found: Any) -> list[str]:
    if found.is_stored:
        return []
    return ["new alarms were found just now and are not kept: the next retrain keeps them"]


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)

"""A retrain as GitHub Markdown, for a pull request: what decides is seen at once, the rest unfolds."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from plaster_ops.report.engine_table import ladder_markdown
from plaster_ops.report.learned_lines import curve_line, start_lines
from plaster_ops.report.lines import HEADLINE_KEYS, Line, alarm_sentence, base_name, change_sentence, lines_of
from plaster_ops.report.numbers import show_value
from plaster_ops.report.safe_text import markdown_table, markdown_text

_MOST_CHANGES = 30


def markdown(payload: Mapping[str, Any]) -> str:
    """Verdict with its reasons, headlines, what changed; all other rows, the ladder and phases folded."""
    run = payload.get("run")
    title = f"**{markdown_text(payload['pipeline'])}**" + (f" run #{run['index']}" if run else "")
    lines = lines_of(payload, None)
    compared = {row["key"] for row in payload["comparison"]}
    others = [line for line in lines if line.key not in HEADLINE_KEYS and line.key in compared]
    parts = [
        f"{title}: **{markdown_text(payload['verdict'])}**",
        _bullets([*payload["reasons"], *start_lines(payload), *filter(None, [curve_line(payload)])]),
        _table([line for line in lines if line.key in HEADLINE_KEYS], payload),
        _bullets(_assessed(payload)),
        _folded(f"{len(others)} more compared metrics", _table(others, payload) if others else ""),
        _folded("What changed", _bullets(_changes(payload))),
        _ladder(payload),
        _folded("Where the time went", _bullets(_phases(payload["phases"]))),
    ]
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _table(lines: Sequence[Line], payload: Mapping[str, Any]) -> str:
    base = payload.get("baseline")
    if not lines:
        return ""
    head = ["", "metric", ">now"]
    if base:
        head += [f">{base_name(base)}", ">change", "95 % CI", ">limit", "verdict"]
    return markdown_table(head, [_cells(line, whole=bool(base)) for line in lines]) + _notes(lines)


def _cells(line: Line, *, whole: bool) -> list[str]:
    cells = [line.letter, f"`{line.name}`", line.now]
    if not whole:
        return cells
    verdict = line.verdict.replace("~", "\\~").replace("*", "\\*")
    verdict = f"**{verdict}**" if line.word in ("worse", "better", "missing") else verdict
    return [*cells, line.then, line.change, line.interval, line.limit, verdict]


def _notes(lines: Sequence[Line]) -> str:
    noted = [f"`{line.name}`: {markdown_text(line.note)}" for line in lines if line.note]
    return "\n" + "".join(f"- {note}\n" for note in noted) if noted else ""


def _bullets(texts: Iterable[str]) -> str:
    return "\n".join(f"- {markdown_text(text)}" for text in texts)


def _assessed(payload: Mapping[str, Any]) -> Iterable[str]:
    told = payload.get("assessment") or {}
    if told.get("tradeoff"):
        yield f"trade-off: {told['tradeoff']}"
    environment = told.get("environment") or {}
    if environment.get("sentence") and environment.get("cause") != "none":
        yield f"environment: {environment['sentence']}"
    for alarm in told.get("alarms") or ():
        yield f"alarm: {alarm_sentence(alarm)}"


def _changes(payload: Mapping[str, Any]) -> list[str]:
    changed = list((payload.get("assessment") or {}).get("changed") or ())
    told = [f"{row.get('kind')}: {change_sentence(row)}" for row in changed[:_MOST_CHANGES]]
    more = len(changed) - _MOST_CHANGES
    return [*told, f"and {more} more"] if more > 0 else told


def _phases(phases: Mapping[str, float]) -> list[str]:
    return [f"{name.removesuffix('_s')}: {show_value(seconds, 's')}" for name, seconds in phases.items() if seconds]


def _ladder(payload: Mapping[str, Any]) -> str:
    tried = (payload.get("engine") or {}).get("tried") or ()
    return _folded(f"{len(tried)} candidates of the ladder", ladder_markdown(tried)) if len(tried) > 1 else ""


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{body.strip()}\n\n</details>" if body else ""

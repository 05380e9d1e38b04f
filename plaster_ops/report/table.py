"""The comparison as a terminal shows it, and as Markdown: seven letters, marks that do not depend on colour."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from plaster_ops.domain.judgement import ReasonCode
from plaster_ops.domain.metrics import (
    CPU_TIME_PER_INFERENCE_S,
    E2E_P90_MS,
    HEADLINES,
    ROLLING_SCORE,
    find_metric,
)
from plaster_ops.report.assessed_lines import assessed_lines
from plaster_ops.report.engine_table import ladder_markdown, ladder_view
from plaster_ops.report.learned_lines import curve_line, start_lines
from plaster_ops.report.numbers import show_change, show_interval, show_limit, show_value

MARKS = {"better": "+", "worse": "-", "same": "=", "inconclusive": "~", "not_comparable": "x"}
_COLOURS = {"better": "green", "worse": "bold red", "same": "dim", "inconclusive": "yellow", "not_comparable": "dim"}
_SHOWN = {m.key for m in HEADLINES} | {E2E_P90_MS.key, ROLLING_SCORE.key, CPU_TIME_PER_INFERENCE_S.key}
_NARROW = 100
_WITHIN_SEED_SPREAD = ReasonCode.WITHIN_SEED_SPREAD.value


@dataclass(frozen=True, kw_only=True, slots=True)
class _Line:
    letter: str
    name: str
    now: str
    then: str
    change: str
    interval: str
    limit: str
    verdict: str
    word: str
    note: str


def comparison_view(payload: Mapping[str, Any], *, width: int, plain: bool) -> RenderableType:
    """The whole answer of a retrain: what happened, the table, phases, verdict, where to look."""
    parts: list[RenderableType] = [Text(line) for line in _head(payload)]
    tried = (payload.get("engine") or {}).get("tried") or ()
    if len(tried) > 1:
        parts += [Text(), ladder_view(tried, plain=plain), Text()]
    lines = _lines(payload)
    if lines:
        parts.append(_table(lines, payload, narrow=width < _NARROW, plain=plain))
        parts.extend(Text(f"  {line.name}: {line.note}", style="dim") for line in lines if line.note)
    parts.extend(_tail(payload, plain=plain))
    return Group(*parts)


def _head(payload: Mapping[str, Any]) -> list[str]:
    run, data, engine = payload.get("run"), payload["data"], payload.get("engine") or {}
    title = f"{payload['pipeline']}"
    if run:
        title += f"   run #{run['index']}   {run['trigger']}"
    lines = [title]
    if data.get("train_samples") is not None:
        span = f"{_position(data['from'])} -> {_position(data['to'])}   new {data['new_samples']}"
        if data["to"] is None:
            span = "all of it (the pipeline declares no source of arriving data)"
        lines.append(f"  data      {span}   trained on {data['train_samples']}   held out {data['eval_samples']}")
    if engine.get("backend"):
        start = f"   {engine['start']} start" if engine.get("start") else ""
        lines.append(f"  engine    {engine['backend']} {engine['precision']}   {engine['decision']}{start}")
        lines += [f"            {text}" for text in _why(engine)]
    learned = [*start_lines(payload), *filter(None, [curve_line(payload)])]
    lines += [f"  {'training' if i == 0 else '':<8}  {text}" for i, text in enumerate(learned)]
    base = payload.get("baseline")
    if base:
        how = "measured again, interleaved with the new engine" if base["how"] == "remeasured" else "stored numbers"
        lines.append(f"  against   {base['which']} = #{base['index']}, {how}")
    return lines


def _why(engine: Mapping[str, Any]) -> list[str]:
    """Why it is this engine, and what was saved where it is last night's with new weights."""
    told = [str(engine["why"])] if engine.get("why") else []
    stage_s, full_s = engine.get("stage_s"), engine.get("full_build_stage_s")
    if engine["decision"] in ("refit", "reuse") and stage_s is not None and full_s is not None:
        told.append(f"{show_value(stage_s, 's')} instead of {show_value(full_s, 's')} for a full build")
    tried = engine.get("tried") or ()
    if len(tried) > 1:
        kept = sum(bool(row["ok"]) for row in tried)
        told.append(f"{kept} of {len(tried)} candidates keep the score; chosen for {engine['chosen']}")
    return told


def _position(watermark: Any) -> str:
    return "start" if watermark is None else str(watermark)


def _lines(payload: Mapping[str, Any]) -> list[_Line]:
    compared = {row["key"]: row for row in payload["comparison"]}
    return [_line(row, compared.get(row["key"])) for row in payload["card"] if row["key"] in _SHOWN]


def _line(row: Mapping[str, Any], compared: Mapping[str, Any] | None) -> _Line:
    metric = find_metric(row["key"])
    now = show_value(row["value"], metric.unit) if row["value"] is not None else str(row["status"])
    note = "" if row["value"] is not None and row["status"] == "measured" else str(row["reason"] or row["status"])
    if compared is None:
        return _Line(
            letter=row["letter"],
            name=metric.key.partition("/")[2],
            now=now,
            then="",
            change="",
            interval="",
            limit="",
            verdict="",
            word="",
            note=note,
        )
    word = compared["verdict"]
    change = compared["change_ratio"] if compared["change_ratio"] is not None else compared["change_difference"]
    unusual = compared.get("reason_code") == _WITHIN_SEED_SPREAD
    if compared["reason"] and (word == "inconclusive" or unusual or (word == "not_comparable" and not note)):
        note = str(compared["reason"])
    return _Line(
        letter=row["letter"],
        name=metric.key.partition("/")[2],
        now=now,
        then=show_value(compared["then"], metric.unit),
        change=show_change(change, metric),
        interval=show_interval(compared["ci95"], metric) if change is not None else "",
        limit=show_limit(compared["limit"], metric),
        verdict=f"{MARKS[word]} {word.replace('_', ' ')}",
        word=word,
        note=note,
    )


def _table(lines: Sequence[_Line], payload: Mapping[str, Any], *, narrow: bool, plain: bool) -> Table:
    run, base = payload.get("run"), payload.get("baseline")
    table = Table(box=None if plain else box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    table.add_column("PLASTER", no_wrap=True)
    table.add_column(f"now #{run['index']}" if run else "now", justify="right", no_wrap=True)
    if base:
        table.add_column(f"{base['which']} #{base['index']}", justify="right", no_wrap=True)
        table.add_column("change", justify="right", no_wrap=True)
        if not narrow:
            table.add_column("95 % CI", no_wrap=True)
            table.add_column("limit", justify="right", no_wrap=True)
        table.add_column("verdict", no_wrap=True)
    previous = ""
    for line in lines:
        letter = line.letter if line.letter != previous else ""
        previous = line.letter
        cells: list[Text] = [Text(letter, style="bold"), Text(line.name), Text(line.now)]
        if base:
            cells += [Text(line.then), Text(line.change)]
            if not narrow:
                cells += [Text(line.interval), Text(line.limit)]
            cells.append(Text(line.verdict, style=_COLOURS.get(line.word, "")))
        table.add_row(*cells)
    return table


def _tail(payload: Mapping[str, Any], *, plain: bool) -> list[RenderableType]:
    out: list[RenderableType] = []
    out.extend(Text(f"  {line}") for line in assessed_lines(payload))
    phases = payload["phases"]
    if phases:
        spent = "  ".join(
            f"{name.removesuffix('_s')} {seconds:.1f}" for name, seconds in phases.items() if name != "cycle_s"
        )
        out.append(Text(f"  phases (s)  {spent}   total {phases['cycle_s']:.1f}"))
    style = {"promoted": "bold green", "baseline": "bold green", "held": "bold yellow", "failed": "bold red"}
    verdict = payload["verdict"]
    out.append(Text(f"\n  {verdict.upper()}", style="" if plain else style.get(verdict, "bold")))
    out.extend(Text(f"    {reason}") for reason in payload["reasons"])
    mlflow = payload["mlflow"]
    if mlflow.get("run_id"):
        version = f", model version {mlflow['model_version']}" if mlflow.get("model_version") else ""
        out.append(Text(f"  MLflow    {mlflow['experiment']} run {mlflow['run_id']}{version}"))
    elif mlflow.get("spooled"):
        out.append(Text(f"  MLflow    not reached ({mlflow['spooled']}); kept in the journal: plaster-ops sync"))
    return out


def print_view(view: RenderableType, *, plain: bool, width: int | None = None) -> None:
    """Writes to stdout; plain: no colour and no box characters, whatever the terminal."""
    console = Console(
        width=width, no_color=plain or None, highlight=False, force_terminal=False if plain else None, soft_wrap=plain
    )
    console.print(view)


def markdown(payload: Mapping[str, Any]) -> str:
    """The table as GitHub Markdown, for a pull request or a chat."""
    run, base = payload.get("run"), payload.get("baseline")
    title = f"**{payload['pipeline']}**" + (f" run #{run['index']}" if run else "")
    head = ["", "metric", "now"] + (
        [f"{base['which']} #{base['index']}", "change", "95 % CI", "verdict"] if base else []
    )
    rows = [
        [line.letter, line.name, line.now, *([line.then, line.change, line.interval, line.verdict] if base else [])]
        for line in _lines(payload)
    ]
    cells = [head, ["-"] * len(head), *rows]
    body = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells)
    learned = [*start_lines(payload), *filter(None, [curve_line(payload)])]
    assessed = [" ".join(line.split()) for line in assessed_lines(payload)]
    reasons = "\n".join(f"- {reason}" for reason in [*payload["reasons"], *learned, *assessed])
    tried = (payload.get("engine") or {}).get("tried") or ()
    ladder = f"\n{ladder_markdown(tried)}" if len(tried) > 1 else ""
    return f"{title}: **{payload['verdict']}**\n\n{body}\n{ladder}\n{reasons}\n"

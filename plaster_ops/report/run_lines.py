"""Lines above and below the table: what was trained and measured against what, and what to do next."""

from collections.abc import Mapping
from typing import Any

from plaster_ops.report.learned_lines import curve_line, start_lines
from plaster_ops.report.lines import HEADLINE_KEYS, base_name
from plaster_ops.report.numbers import show_value
from plaster_ops.report.safe_text import one_line

_LABEL_COLUMNS = 9
"""As wide as `trade-off`."""


def labelled(label: str, text: str) -> str:
    """A line of the terminal whose text begins in the same column whatever the label; none where it goes on."""
    return f"  {label:<{_LABEL_COLUMNS}} {text}"


def head_lines(payload: Mapping[str, Any]) -> list[str]:
    """Title, data, engine and why it is that one, training, what it is held against."""
    run, data, engine = payload.get("run"), payload["data"], payload.get("engine") or {}
    title = one_line(payload["pipeline"])
    if run:
        due = f"   due {one_line(run['slot'])[:16].replace('T', ' ')} UTC" if run.get("slot") else ""
        title += f"   run #{run['index']}   {one_line(run['trigger'])}{due}"
    lines = [title]
    if data.get("train_samples") is not None:
        span = f"{_position(data['from'])} -> {_position(data['to'])}   new {data['new_samples']}"
        if data["to"] is None:
            span = "all of it (the pipeline declares no source of arriving data)"
        samples = f"trained on {data['train_samples']}   held out {data['eval_samples']}"
        lines.append(labelled("data", f"{span}   {samples}"))
    if engine.get("backend"):
        start = f"   {engine['start']} start" if engine.get("start") else ""
        lines.append(labelled("engine", f"{engine['backend']} {engine['precision']}   {engine['decision']}{start}"))
        lines += [labelled("", text) for text in _why(engine)]
    learned = [*start_lines(payload), *filter(None, [curve_line(payload)])]
    lines += [labelled("" if place else "training", one_line(text)) for place, text in enumerate(learned)]
    base = payload.get("baseline")
    if base:
        how = "measured again, interleaved with the new engine" if base["how"] == "remeasured" else "stored numbers"
        lines.append(labelled("against", f"{base_name(base).replace(' ', ' = ')}, {how}"))
        champion = (payload.get("gates") or {}).get("against")
        if champion and champion["index"] != base["index"] and payload["verdict"] in ("promoted", "held"):
            lines.append(labelled("", f"{payload['verdict']} by gates against the champion, #{champion['index']}"))
    return lines


def _why(engine: Mapping[str, Any]) -> list[str]:
    """Why it is this engine, and what was saved where it is last night's with new weights."""
    told = [one_line(engine["why"])] if engine.get("why") else []
    stage_s, full_s = engine.get("stage_s"), engine.get("full_build_stage_s")
    if engine["decision"] in ("refit", "reuse") and stage_s is not None and full_s is not None:
        told.append(f"{show_value(stage_s, 's')} instead of {show_value(full_s, 's')} for a full build")
    tried = engine.get("tried") or ()
    if len(tried) > 1:
        kept = sum(bool(row["ok"]) for row in tried)
        built = sum(bool(row["ok"] or row.get("built")) for row in tried)
        counts = f"{len(tried)} candidates: {built} built, {kept} of them with the score kept"
        told.append(f"{counts}; chosen for {one_line(engine['chosen'])}")
    return told


def _position(watermark: Any) -> str:
    return "start" if watermark is None else one_line(watermark)


def next_lines(payload: Mapping[str, Any]) -> list[str]:
    """Commands that tell more of this run; none where it has no number."""
    run = payload.get("run")
    if not run or not payload["card"] or payload["verdict"] not in ("promoted", "held", "baseline"):
        return []
    key = worst_key(payload)
    explain = [f"plaster-ops explain {run['index']} --metric {key}"] if key else []
    promote = [f'plaster-ops promote {run["index"]} --force --reason "..."'] if payload["verdict"] == "held" else []
    return [*explain, f"plaster-ops report {run['index']}", *promote]


def worst_key(payload: Mapping[str, Any]) -> str | None:
    """The key of the first headline that is worse, else of any row that is."""
    worse = [str(row["key"]) for row in payload["comparison"] if row["verdict"] == "worse"]
    return next((key for key in worse if key in HEADLINE_KEYS), worse[0] if worse else None)

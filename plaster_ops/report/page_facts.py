"""Facts of the page that are no table: title, sentences, names with their values. Values only."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from plaster_ops.report.learned_lines import curve_line, start_lines
from plaster_ops.report.lines import alarm_sentence, base_name
from plaster_ops.report.numbers import show_value
from plaster_ops.report.safe_text import cut_line, one_line

_STARTED = {
    "manual": "by hand",
    "cron": "by cron",
    "service": "by the service",
    "data": "by new data",
    "drift": "by drift",
}
MOST_SIGNS = 400
"""Of a sentence from outside; the whole is in record.json."""


def instant(text: Any) -> str:
    """`2026-11-23 15:05 UTC` of an ISO 8601 instant in UTC."""
    return f"{one_line(text)[:16].replace('T', ' ')} UTC" if text else ""


def head_facts(payload: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """What the top of the page says."""
    run, base = payload["run"], payload["baseline"]
    return {
        "pipeline": cut_line(payload["pipeline"], 120),
        "index": run["index"] if run else None,
        "trigger": _STARTED.get(str(run["trigger"]), one_line(run["trigger"])) if run else "",
        "started": instant(record.get("started_at")),
        "slot": instant(run.get("slot")) if run else "",
        "verdict": one_line(payload["verdict"]),
        "reasons": [cut_line(reason, MOST_SIGNS) for reason in payload["reasons"]],
        "against": "" if not base else against_words(base),
    }


def against_words(base: Mapping[str, Any]) -> str:
    """`last = #1, measured again beside the new engine`."""
    how = "measured again beside the new engine" if base.get("how") == "remeasured" else "stored numbers"
    return f"{base_name(base).replace(' ', ' = ')}, {how}"


def questions(payload: Mapping[str, Any], alarms: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The two questions, each with its answer; never mixed."""
    run, base = payload["run"], payload["baseline"]
    index = run["index"] if run else None
    against = f"that of #{base['index']}" if base else "an earlier one"
    return [
        {"asked": f"Is this engine worse than {against}?", "answer": _engine_answer(payload)},
        {
            "asked": "Is this retrain out of the ordinary for its history?",
            "answer": _history_answer(payload, alarms, index),
        },
    ]


def _engine_answer(payload: Mapping[str, Any]) -> str:
    rows = [row for row in payload["comparison"] if row.get("how") != "history"]
    if not rows:
        return "There was nothing to compare with."
    return f"{_yes_or_no(rows, [str(row['letter']) for row in rows])} {_counts(str(row['verdict']) for row in rows)}"


def _yes_or_no(rows: Sequence[Mapping[str, Any]], letters: Sequence[str]) -> str:
    words = [str(row.get("verdict")) for row in rows]
    worse = dict.fromkeys(letter for letter, word in zip(letters, words, strict=True) if word == "worse")
    if worse:
        return f"Yes, in {', '.join(worse)}."
    if all(word == "not_comparable" for word in words):
        return "It cannot be told."
    return "Not shown, but not everything could be judged." if "inconclusive" in words else "No."


def _counts(words: Iterable[str]) -> str:
    found = list(words)
    order = ("worse", "better", "same", "inconclusive", "not_comparable")
    parts = [f"{found.count(word)} {word.replace('_', ' ')}" for word in order if word in found]
    return f"Of {len(found)} compared metric{'' if len(found) == 1 else 's'}: {', '.join(parts)}."


def _history_answer(payload: Mapping[str, Any], alarms: Sequence[Mapping[str, Any]], index: int | None) -> str:
    rows = [row for row in payload["comparison"] if row.get("history") or row.get("how") == "history"]
    told = [row.get("history") or row for row in rows]
    parts = []
    if told:
        parts += [
            _yes_or_no(told, [str(row["letter"]) for row in rows]),
            _counts(str(row.get("verdict")) for row in told),
        ]
    new = [alarm for alarm in alarms if index is not None and alarm.get("raised_index") == index]
    parts += [f"Alarm: {alarm_sentence(alarm)}." for alarm in new]
    if not new:
        parts.append("No metric left its level at this retrain.")
    return " ".join(parts) if told or alarms else "There are too few earlier retrains to tell, or none was asked."


def data_facts(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values of the section `data`; empty where nothing is known."""
    drift = data.get("drift") or {}
    facts = [
        ("source", data.get("source")),
        ("window", None if data.get("to") is None else f"{_start(data.get('from'))} to {data['to']}"),
        ("new samples", _count(data.get("new_samples"))),
        ("trained on", _count(data.get("train_samples"))),
        ("held out", _count(data.get("eval_samples"))),
        ("golden set", _count(data.get("golden_samples"))),
        ("lookback", data.get("lookback")),
        ("replay ratio", data.get("replay_ratio")),
        *(("drift of inputs", note) for note in drift.get("notes") or ()),
        *(_compared_data(which, found) for which, found in (drift.get("against") or {}).items()),
    ]
    return told(facts)


def _compared_data(which: str, found: Mapping[str, Any]) -> tuple[str, Any]:
    name = f"inputs against {which}" + (f" #{found['index']}" if found.get("index") is not None else "")
    if found.get("reason"):
        return name, found["reason"]
    if found.get("tested") is None:
        return name, None
    far = "" if found.get("distance") is None else f", largest distance {found['distance']:.3g}"
    return name, f"{found.get('drifted')} of {found['tested']} features drifted{far}"


def _start(watermark: Any) -> str:
    return "the start" if watermark is None else str(watermark)


def _count(value: Any) -> str | None:
    return None if value is None else show_value(float(value), "count")


def engine_facts(payload: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values of the section `engine`, and of how the fit began."""
    engine = payload.get("engine") or {}
    saved = None
    if engine.get("decision") in ("refit", "reuse") and engine.get("full_build_stage_s") is not None:
        took, full = (show_value(engine.get(name), "s") for name in ("stage_s", "full_build_stage_s"))
        saved = f"{took} instead of {full} for a full build"
    precision = engine.get("precision")
    if engine.get("effective_precision") not in (None, precision):
        precision = f"{precision} (runs as {engine['effective_precision']})"
    facts = [
        ("backend", engine.get("backend")),
        ("precision", precision),
        ("device", engine.get("device")),
        ("decision", engine.get("decision")),
        ("why", engine.get("why")),
        ("chosen for", engine.get("chosen")),
        ("saved", saved),
        ("refits since the last build", engine.get("refits_since_build")),
        ("calibrated with", f"{engine['calibrated_with']} inputs" if engine.get("calibrated_with") else None),
        ("started", (payload.get("start") or {}).get("why")),
        *(("training", line) for line in start_lines(payload)),
        ("learning", curve_line(payload).removeprefix("learning: ")),
    ]
    return told(facts)


def provenance_facts(payload: Mapping[str, Any], record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where all this comes from: ids, fingerprint, digests, versions, parameters."""
    fingerprint, mlflow = record.get("fingerprint") or {}, payload["mlflow"]
    engine = payload.get("engine") or {}
    shapes = fingerprint.get("input_shapes") or ()
    facts = [
        ("run", record.get("uid")),
        ("MLflow", " ".join(str(part) for part in (mlflow.get("experiment"), mlflow.get("run_id")) if part)),
        ("started, ended", " to ".join(filter(None, (instant(record.get(at)) for at in ("started_at", "ended_at"))))),
        ("device", fingerprint.get("device")),
        ("devices, threads", _pair(fingerprint.get("device_count"), fingerprint.get("threads"))),
        ("inputs", ", ".join(str(shape) for shape in shapes)),
        ("fingerprint", fingerprint.get("digest")),
        ("graph", engine.get("graph_digest")),
        ("weights", engine.get("weights_digest")),
        *((f"data {row.get('name')}", f"{row.get('digest')}") for row in record.get("datasets") or ()),
        *(sorted((fingerprint.get("environment") or {}).items())),
        *((f"parameter {name}", value) for name, value in sorted((record.get("params") or {}).items())),
        *((name, value) for name, value in sorted((record.get("tags") or {}).items()) if "digest" not in name),
    ]
    return told(facts)


def _pair(one: Any, other: Any) -> str | None:
    return None if one is None else f"{one}, {other}"


def told(facts: Iterable[tuple[Any, Any]]) -> list[tuple[str, str]]:
    """Those that say something, cleaned."""
    return [
        (cut_line(name, 80), cut_line(value, MOST_SIGNS)) for name, value in facts if value not in (None, "", "None")
    ]

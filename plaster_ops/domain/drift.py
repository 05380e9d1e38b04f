"""What the record of a retrain says of drift, by the words that `trigger.on_drift` may hold."""

from collections.abc import Iterable, Mapping
from typing import Any

from plaster_ops.domain.alarm import AlarmState
from plaster_ops.domain.judgement import Judgement
from plaster_ops.domain.metrics import Letter
from plaster_ops.domain.run import RunRecord

INPUTS, LABELS = "inputs", "labels"
DRIFT_WORDS = (*(letter.name.lower() for letter in Letter), INPUTS, LABELS)
"""A letter: a metric of it is worse than the baseline's, or left its level for a worse one. The data itself: its newest
part differs from the last one."""


def drift_of(record: RunRecord, words: Iterable[str]) -> list[str]:
    """A sentence for each sign of drift that these words ask for; empty where the record holds none."""
    found: list[str] = []
    for word in words:
        if word in (INPUTS, LABELS):
            found += _of_data(record, word)
        else:
            found += _of_letter(record, Letter[word.upper()])
    return found


def _of_letter(record: RunRecord, letter: Letter) -> list[str]:
    rows = (row for row in record.comparison if row.get("letter") == letter and row.get("verdict") == Judgement.WORSE)
    than = f"#{record.baseline['index']}" if record.baseline else "before"
    compared = [f"{row['key']} is worse than {than}: {_change(row)}" for row in rows]
    alarms = (row for row in record.assessment.get("alarms") or () if row["letter"] == letter)
    return [*compared, *(alarm_sentence(row) for row in alarms if is_open_and_worse(row))]


def is_open_and_worse(alarm: Mapping[str, Any]) -> bool:
    """Of an alarm in a record: whether it went in the worse direction, and nobody has said a word of it."""
    return bool(alarm["worse"]) and alarm["state"] == AlarmState.OPEN


def alarm_sentence(alarm: Mapping[str, Any]) -> str:
    """`latency/e2e_p50_ms left its level at #9: 1 -> 1.12 ms (+12.0%, step)`."""
    unit = "" if alarm["unit"] == "ratio" else f" {alarm['unit']}"
    ratio, difference = alarm["change_ratio"], alarm["change_difference"]
    change = f"{difference:+.4g}" if ratio is None else f"{ratio:+.1%}"
    told = f"{_number(alarm['before'])} -> {_number(alarm['after'])}{unit} ({change}, {alarm['shape']})"
    return f"{alarm['key']} left its level at #{alarm['index']}: {told}"


def _change(row: Mapping[str, Any]) -> str:
    unit = "" if row.get("unit") in (None, "ratio") else f" {row['unit']}"
    told = f"{_number(row.get('then'))} -> {_number(row.get('now'))}{unit}"
    ratio, difference, limit = row.get("change_ratio"), row.get("change_difference"), row.get("limit")
    if ratio is not None:
        return f"{told} ({ratio:+.1%}, margin {limit or 0:.1%})"
    return told if difference is None else f"{told} ({difference:+.4g}, margin {limit or 0:.4g})"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def _of_data(record: RunRecord, word: str) -> list[str]:
    last = ((record.data.get("drift") or {}).get("against") or {}).get("last") or {}
    found = last if word == INPUTS else last.get("labels") or {}
    if not found.get("drifted"):
        return []
    worst = next(each for each in found["worst"] if each["drifted"])
    verb = "input features drifted" if word == INPUTS else "labels shifted"
    told = f"{found['drifted']} of {found['tested']} {verb} since #{last['index']}"
    return [f"{told}, worst {worst['feature']} by {worst['distance']:.2f}"]

"""What a retrain says of drift, by the words that `trigger.on_drift` may hold: its record, and the alarms it raised."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from plaster_ops.domain.alarm import Alarm
from plaster_ops.domain.judgement import Judgement
from plaster_ops.domain.metrics import Letter, find_metric
from plaster_ops.domain.run import RunRecord

INPUTS, LABELS = "inputs", "labels"
DRIFT_WORDS = (*(letter.name.lower() for letter in Letter), INPUTS, LABELS)
"""A letter: a metric of it is worse than the baseline's, or left its level for a worse one. The data itself: its newest
part differs from the last one."""


def drift_of(record: RunRecord, words: Iterable[str]) -> list[str]:
    """A sentence for each sign of drift in the record that these words ask for; its alarms are `alarm_signs`'."""
    found: list[str] = []
    for word in words:
        if word in (INPUTS, LABELS):
            found += _of_data(record, word)
        else:
            found += _of_letter(record, Letter[word.upper()])
    return found


def alarm_signs(alarms: Iterable[Alarm], words: Collection[str]) -> list[str]:
    """A sentence for each of these alarms that is drift by these words: for the worse, and open.

    `alarms`: of the journal, which knows where they stand; a record keeps them as they were told.
    """
    return [
        alarm.sentence
        for alarm in alarms
        if alarm.is_open_and_worse and find_metric(alarm.key).letter.name.lower() in words
    ]


def _of_letter(record: RunRecord, letter: Letter) -> list[str]:
    rows = (row for row in record.comparison if row.get("letter") == letter and row.get("verdict") == Judgement.WORSE)
    than = f"#{record.baseline['index']}" if record.baseline else "before"
    return [f"{row['key']} is worse than {than}: {_change(row)}" for row in rows]


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

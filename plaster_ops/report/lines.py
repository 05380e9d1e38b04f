"""The comparison row by row, each cell as text: what the table, Markdown and the page show alike."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from plaster_ops.domain.judgement import ReasonCode
from plaster_ops.domain.metric import Metric
from plaster_ops.domain.metrics import (
    CATALOGUE,
    CPU_TIME_PER_INFERENCE_S,
    E2E_P90_MS,
    HEADLINES,
    ROLLING_SCORE,
)
from plaster_ops.report.numbers import show_change, show_interval, show_limit, show_value
from plaster_ops.report.safe_text import one_line

MARKS = {
    "better": "+",
    "worse": "-",
    "same": "=",
    "inconclusive": "~",
    "not_comparable": "x",
    "missing": "!",
    "new": "*",
}
"""A mark a verdict, so that none depends on colour. `missing`: was measured then and is not now; `new`: the reverse."""

_DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{4,}\b")

HEADLINE_KEYS = frozenset(metric.key for metric in HEADLINES)
SHOWN = HEADLINE_KEYS | {E2E_P90_MS.key, ROLLING_SCORE.key, CPU_TIME_PER_INFERENCE_S.key}
"""What a terminal shows of the card."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One metric in words. `word`: the verdict, or `missing` or `new`; empty where nothing was compared."""

    key: str
    letter: str
    name: str
    now: str
    then: str = ""
    change: str = ""
    interval: str = ""
    limit: str = ""
    word: str = ""
    note: str = ""
    history: str = ""

    @property
    def verdict(self) -> str:
        """`- worse`."""
        return f"{MARKS[self.word]} {self.word.replace('_', ' ')}" if self.word else ""


def lines_of(payload: Mapping[str, Any], keys: Collection[str] | None = SHOWN) -> list[Line]:
    """A line for every row of the card of those keys (None: all of them) that this release knows, in its order."""
    compared = {row["key"]: row for row in payload["comparison"]}
    return [
        line_of(row, compared.get(row["key"]))
        for row in payload["card"]
        if row["key"] in CATALOGUE and (keys is None or row["key"] in keys)
    ]


def line_of(row: Mapping[str, Any], compared: Mapping[str, Any] | None) -> Line:
    """One row of the card, with its row of the comparison where there is one."""
    metric = CATALOGUE[row["key"]]
    now = show_value(row["value"], metric.unit) if row["value"] is not None else str(row["status"]).replace("_", " ")
    note = "" if row["value"] is not None and row["status"] == "measured" else str(row["reason"] or row["status"])
    name = metric.key.partition("/")[2]
    if compared is None:
        return Line(key=metric.key, letter=row["letter"], name=name, now=now, note=one_line(note))
    change = compared["change_ratio"] if compared["change_ratio"] is not None else compared["change_difference"]
    verdict = compared["verdict"]
    unusual = compared.get("reason_code") == ReasonCode.WITHIN_SEED_SPREAD.value
    if compared["reason"] and (verdict == "inconclusive" or unusual or (verdict == "not_comparable" and not note)):
        note = str(compared["reason"])
    return Line(
        key=metric.key,
        letter=row["letter"],
        name=name,
        now=now,
        then=show_value(compared["then"], metric.unit),
        change=show_change(change, metric),
        interval=show_interval(compared["ci95"], metric) if change is not None else "",
        limit=show_limit(compared["limit"], metric),
        word=verdict_word(compared),
        note=one_line(note),
        history=_history(compared, metric),
    )


def base_name(base: Mapping[str, Any]) -> str:
    """`last #3`; `#3` where the run was asked for by its number or id."""
    which = one_line(base.get("which") or "")
    named = which if which in ("last", "champion", "best", "previous") else ""
    return f"{named} #{base.get('index')}".strip()


def verdict_word(compared: Mapping[str, Any]) -> str:
    """The verdict of a row, or `missing` where only the other run has a value, `new` where only this one has."""
    if compared["verdict"] != "not_comparable" or (compared["now"] is None) == (compared["then"] is None):
        return str(compared["verdict"])
    return "missing" if compared["now"] is None else "new"


def _history(compared: Mapping[str, Any], metric: Metric) -> str:
    """What the earlier retrains say of this value, where that was asked beside the comparison of engines."""
    told = compared.get("history") or {}
    if not told.get("verdict"):
        return ""
    change = show_change(told.get("change"), metric)
    by = f" against {told['n']} earlier" if told.get("n") else ""
    return f"{str(told['verdict']).replace('_', ' ')}{f', {change}' if change else ''}{by}"


def history_sentence(payload: Mapping[str, Any]) -> str:
    """`worse L, same T E: this retrain against 8 before it`, of the headlines that have a history; else empty."""
    told = [
        (str(row["letter"]), row["history"])
        for row in payload["comparison"]
        if row.get("headline") and (row.get("history") or {}).get("p_value") is not None
    ]
    by_word: dict[str, list[str]] = {}
    for letter, found in told:
        by_word.setdefault(str(found["verdict"]), []).append(letter)
    words = ", ".join(f"{word} {' '.join(letters)}" for word, letters in sorted(by_word.items(), reverse=True))
    return f"{words}: this retrain against {max(found['n'] for _, found in told)} before it" if told else ""


def change_sentence(change: Mapping[str, Any]) -> str:
    """`engine.precision fp32 -> int8`, of a row of `assessment.changed`."""
    then, now = change_sides(change)
    return f"{one_line(change.get('name') or '')} {then} -> {now}"


def change_sides(change: Mapping[str, Any]) -> tuple[str, str]:
    """What it was then and is now; of a digest its first twelve signs."""
    then, now = ("none" if change.get(side) is None else one_line(change[side]) for side in ("then", "now"))
    return _DIGEST.sub(r"\1", then), _DIGEST.sub(r"\1", now)


def alarm_sentence(alarm: Mapping[str, Any]) -> str:
    """`latency/e2e_p50_ms worse since #12: 1.2 ms -> 1.5 ms (+25.0 %, step, open)`."""
    metric = CATALOGUE.get(str(alarm.get("key")))
    unit = metric.unit if metric else ""
    before, after = (show_value(alarm.get(side), unit) for side in ("before", "after"))
    change = alarm.get("change_ratio") if alarm.get("change_ratio") is not None else alarm.get("change_difference")
    shown = show_change(change, metric) if metric else ""
    word = "worse" if alarm.get("worse") else "better"
    about = ", ".join(one_line(part) for part in (shown, alarm.get("shape"), alarm.get("state")) if part)
    return f"{one_line(alarm.get('key'))} {word} since #{alarm.get('index')}: {before} -> {after} ({about})"

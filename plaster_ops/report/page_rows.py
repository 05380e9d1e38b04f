"""Tables of the page: the comparison with its intervals, the whole card, candidates, phases, alarms. Values only."""

from collections.abc import Mapping, Sequence
from typing import Any

from plaster_ops.domain.metrics import CATALOGUE
from plaster_ops.report.lines import HEADLINE_KEYS, MARKS, Line, change_sentence, change_sides, lines_of
from plaster_ops.report.numbers import show_change, show_value
from plaster_ops.report.safe_text import cut_line, one_line

MOST_SIGNS = 200
_WIDEST = 3.0
"""The axis of an interval ends at so many margins, unless the interval itself is wider."""


def comparison_rows(payload: Mapping[str, Any], *, headlines: bool) -> list[dict[str, Any]]:
    """The rows that have a comparison or are headlines, in the card's order; only headlines, or only the others."""
    compared = {row["key"]: row for row in payload["comparison"]}
    return [
        {"line": line, "mark": MARKS.get(line.word, ""), "bar": interval_bar(compared.get(line.key))}
        for line in lines_of(payload, None)
        if (line.key in HEADLINE_KEYS) == headlines and (headlines or line.key in compared)
    ]


def interval_bar(row: Mapping[str, Any] | None) -> dict[str, float] | None:
    """Where interval, estimate and margin stand on an axis of 0..100, better to the right, no change at 50.

    None where there is no change to draw. `low`, `high`: the 95 % interval, or the estimate alone where there is none;
    `cut`: the interval ends outside.
    """
    if row is None:
        return None
    change = row["change_ratio"] if row["change_ratio"] is not None else row["change_difference"]
    if change is None or change - change != 0 or row["better"] not in ("higher", "lower"):
        return None
    sign = 1.0 if row["better"] == "higher" else -1.0
    low, high = sorted(sign * bound for bound in (row["ci95"] or (change, change)))
    limit = abs(row["limit"] or 0.0)
    reach = max(_WIDEST * limit, 1.15 * min(max(abs(low), abs(high)), max(10 * limit, 1e-12)), 1e-12)

    def place(value: float) -> float:
        return round(50.0 + 50.0 * float(max(-1.0, min(1.0, value / reach))), 2)

    return {
        "low": place(low),
        "width": round(place(high) - place(low), 2),
        "at": place(sign * change),
        "margin_low": place(-limit),
        "margin_width": round(place(limit) - place(-limit), 2),
    }


def card_rows(payload: Mapping[str, Any]) -> list[Line]:
    """Every row of the card."""
    return lines_of(payload, None)


def phase_rows(phases: Mapping[str, float]) -> list[dict[str, Any]]:
    """Phases in their order: `left` and `width` in percent of the cycle; those that took no time are left out."""
    spans = {name: max(0.0, float(s)) for name, s in phases.items() if name != "cycle_s" and s is not None and s == s}
    whole = sum(spans.values())
    rows, begun = [], 0.0
    for name, seconds in spans.items():
        if whole > 0 and seconds > 0:
            rows.append(
                {
                    "name": one_line(name.removesuffix("_s")),
                    "seconds": show_value(seconds, "s"),
                    "left": round(100 * begun / whole, 3),
                    "width": round(max(0.3, 100 * seconds / whole), 3),
                    "share": f"{seconds / whole:.0%}" if seconds >= whole / 200 else "<1%",
                }
            )
        begun += seconds
    return rows


def ladder_rows(tried: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Candidates of the ladder in words; `bar`: p50 in percent of the slowest of them, None where it was not raced."""
    raced = [row["p50_ms"] for row in tried if row.get("p50_ms")]
    return [
        {
            "mark": "*" if row.get("chosen") else "+" if row.get("ok") else "-",
            "word": _outcome(row),
            "name": one_line(f"{row.get('backend')} {row.get('precision')}"),
            "build": _shown(row.get("build_s"), "s"),
            "bytes": _shown(row.get("engine_bytes"), "bytes"),
            "error": "" if row.get("rel_err_max") is None else f"{row['rel_err_max']:.1e}",
            "score": _kept(row),
            "p50": _shown(row.get("p50_ms"), "ms"),
            "bar": round(100 * row["p50_ms"] / max(raced), 1) if row.get("p50_ms") else None,
            "rate": _shown(row.get("samples_per_s"), "per_s"),
            "reason": one_line(row.get("reason") or ""),
        }
        for row in tried
    ]


def _outcome(row: Mapping[str, Any]) -> str:
    if row.get("ok"):
        return "chosen" if row.get("chosen") else "usable"
    return "rejected" if row.get("built") else "not built"


def _kept(row: Mapping[str, Any]) -> str:
    kept, loss = row.get("retained_ratio"), row.get("score_loss")
    return f"{kept:.2%}" if kept is not None else "" if loss is None else f"{0.0 - loss:+.4f}"


def _shown(value: Any, unit: str) -> str:
    return "" if value is None else show_value(value, unit)


def change_rows(changed: Sequence[Mapping[str, Any]] | None) -> list[dict[str, str]] | None:
    """Named differences of the two runs; None where nobody looked."""
    if changed is None:
        return None
    rows = [(row, change_sides(row)) for row in changed]
    return [
        {
            "kind": one_line(row.get("kind") or ""),
            "name": one_line(row.get("name") or ""),
            "then": cut_line(sides[0], MOST_SIGNS),
            "now": cut_line(sides[1], MOST_SIGNS),
        }
        for row, sides in rows
    ]


def gate_rows(gates: Mapping[str, Any] | None) -> list[dict[str, str]]:
    """What became of each gate, with the mark of a like verdict."""
    marks = {"passed": "better", "failed": "worse", "undecided": "inconclusive"}
    rows = (gates or {}).get("outcomes") or ()
    return [
        {
            "gate": one_line(row.get("gate")),
            "state": one_line(row.get("state") or "").replace("_", " "),
            "word": marks.get(str(row.get("state")), "same"),
            "mark": MARKS[marks.get(str(row.get("state")), "not_comparable")],
            "required": "required" if row.get("required") else "",
            "sentence": one_line(row.get("sentence") or ""),
        }
        for row in rows
    ]


def alarm_rows(alarms: Sequence[Mapping[str, Any]], index: int) -> list[dict[str, Any]]:
    """Alarms in words, newest first. `new`: raised by this retrain."""
    rows = sorted(alarms, key=lambda alarm: (alarm.get("raised_index") or 0, alarm.get("id") or 0), reverse=True)
    return [_alarm(alarm) | {"new": alarm.get("raised_index") == index} for alarm in rows]


def _alarm(alarm: Mapping[str, Any]) -> dict[str, Any]:
    metric = CATALOGUE.get(str(alarm.get("key")))
    unit = metric.unit if metric else ""
    ratio, difference = alarm.get("change_ratio"), alarm.get("change_difference")
    change = ratio if ratio is not None else difference
    p_value = alarm.get("p_value")
    return {
        "letter": one_line(alarm.get("letter") or ""),
        "name": one_line(alarm.get("key")).partition("/")[2] or one_line(alarm.get("key")),
        "since": f"#{alarm.get('index')}",
        "raised": f"#{alarm.get('raised_index')}",
        "before": show_value(alarm.get("before"), unit),
        "after": show_value(alarm.get("after"), unit),
        "change": show_change(change, metric) if metric else "",
        "shape": one_line(alarm.get("shape") or ""),
        "p": "" if p_value is None else f"{p_value:.2g}",
        "worse": bool(alarm.get("worse")),
        "state": one_line(alarm.get("state") or ""),
        "note": one_line(": ".join(str(part) for part in (alarm.get("by"), alarm.get("note")) if part)),
        "back": "" if alarm.get("back_at") is None else f"back at the level of #{alarm['back_at']}",
        "candidates": [change_sentence(each) for each in alarm.get("candidates") or ()],
    }


def environment_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """How the old engine measured today beside what was logged for it."""
    found = []
    for row in rows:
        metric = CATALOGUE.get(str(row.get("key")))
        unit = metric.unit if metric else ""
        found.append(
            {
                "name": one_line(row.get("key")),
                "logged": show_value(row.get("logged"), unit),
                "today": show_value(row.get("today"), unit),
                "change": show_change(row.get("change_ratio"), metric) if metric else "",
                "verdict": one_line(row.get("verdict") or "").replace("_", " "),
            }
        )
    return found

"""The charts of the page with the words around them: the seven letters over the retrains, and the fit."""

from collections.abc import Mapping, Sequence
from typing import Any

from plaster_ops.domain.metrics import CPU_TIME_PER_INFERENCE_S, HEADLINES, INFERENCES_PER_J, Metric
from plaster_ops.report.charts import curve_chart, trend_chart
from plaster_ops.report.lines import MARKS, verdict_word
from plaster_ops.report.numbers import show_change, show_value
from plaster_ops.report.safe_text import cut_line
from plaster_ops.report.trend import Trend

TITLES = {
    "P": "Programmability",
    "L": "Latency",
    "A": "Accuracy",
    "S": "Size",
    "T": "Throughput",
    "E": "Energy efficiency",
    "R": "Rate of learning",
}
MOST_CURVES = 6
_RESULTS = ("curve/", "val", "test")
"""Curves of these are drawn before others."""


def letter_cards(
    payload: Mapping[str, Any], trends: Mapping[str, Sequence[Mapping[str, Any]]], alarms: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """One card a headline: value, change with its mark, and its chart, or why there is none.

    Where nothing ever counted joules, CPU time stands in their place and says so.
    """
    card = {row["key"]: row for row in payload["card"]}
    compared = {row["key"]: row for row in payload["comparison"]}
    newest = payload["run"]["index"] if payload["run"] else 0
    found = []
    for headline in HEADLINES:
        metric = _shown(headline, card, trends)
        trend = Trend.of(metric.key, trends.get(metric.key) or (), alarms)
        one = _card(metric, card.get(metric.key), compared.get(metric.key), trend)
        one["svg"] = _trend_svg(trend, metric, _better(metric, card.get(metric.key)), newest) if trend.points else ""
        if metric is not headline:
            one["why_not"] = f"CPU time in place of joules. {cut_line(card[headline.key]['reason'] or '', 140)}".strip()
        found.append(one)
    return found


def _shown(
    metric: Metric, card: Mapping[str, Mapping[str, Any]], trends: Mapping[str, Sequence[Mapping[str, Any]]]
) -> Metric:
    """The headline, or what stands in for it."""
    row, instead = card.get(metric.key), card.get(CPU_TIME_PER_INFERENCE_S.key)
    is_absent = row is not None and row["value"] is None and not trends.get(metric.key)
    stands_in = metric is INFERENCES_PER_J and is_absent and instead is not None and instead["value"] is not None
    return CPU_TIME_PER_INFERENCE_S if stands_in else metric


def _better(metric: Metric, row: Mapping[str, Any] | None) -> str:
    return str(row["better"]) if row else metric.better.value


def _card(
    metric: Metric, row: Mapping[str, Any] | None, compared: Mapping[str, Any] | None, trend: Trend
) -> dict[str, Any]:
    value = row["value"] if row else None
    word = verdict_word(compared) if compared else ""
    change = None
    if compared:
        change = compared["change_ratio"] if compared["change_ratio"] is not None else compared["change_difference"]
    name = metric.key.partition("/")[2]
    why_not = ""
    if value is None:
        why_not = cut_line((row or {}).get("reason") or "not measured in this run", 160)
    elif row and row["status"] != "measured":
        why_not = cut_line(f"{row['status']}: {row['reason'] or 'see the card'}", 160)
    elif len(trend.points) == 1:
        why_not = "The first retrain that measured it."
    return {
        "letter": metric.letter.value,
        "title": TITLES[metric.letter.value],
        "name": name,
        "value": show_value(value, metric.unit),
        "measured": value is not None,
        "change": show_change(change, metric),
        "word": word,
        "mark": MARKS.get(word, ""),
        "why_not": why_not,
    }


def _trend_svg(trend: Trend, metric: Metric, better: str, newest: int) -> str:
    first, last = trend.points[0], trend.points[-1]
    ends = [f"#{point.index} {show_value(point.value, metric.unit)}" for point in (first, last)]
    alarms = f"{len(trend.alarms)} alarm{'' if len(trend.alarms) == 1 else 's'}"
    told = f"{metric.key} over {len(trend.points)} retrains: {ends[0]} to {ends[1]}; {alarms}"
    worse = {"lower": "up", "higher": "down"}.get(better, "")
    return trend_chart(trend, newest=newest, worse=worse, label=told)


def fit_panels(curves: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Losses and the rest of what the fit logged, each as a chart with its legend; empty where nothing was logged."""
    found: dict[str, list[tuple[float, float]]] = {}
    left_out: dict[str, int] = {}
    for point in curves:
        key, value = str(point.get("key")), point.get("value")
        if value is None or value - value != 0:
            left_out[key] = left_out.get(key, 0) + 1
            found.setdefault(key, [])
            continue
        found.setdefault(key, []).append((float(point["step"]), float(value)))
    panels = []
    for title, is_loss in (("Loss", True), ("Scores and others", False)):
        mine = {key: points for key, points in found.items() if ("loss" in key.lower()) == is_loss}
        if mine:
            panels.append(_panel(title, mine, left_out))
    return panels


def _panel(
    title: str, curves: Mapping[str, Sequence[tuple[float, float]]], left_out: Mapping[str, int]
) -> dict[str, Any]:
    order = sorted(curves, key=lambda key: (not key.startswith(_RESULTS), key))
    drawn = [key for key in order if curves[key]][:MOST_CURVES]
    notes = []
    more = sum(1 for key in order if curves[key]) - len(drawn)
    if more:
        notes.append(f"{more} more are in MLflow")
    broken = sum(left_out.get(key, 0) for key in curves)
    if broken:
        notes.append(f"{broken} point{'s were' if broken > 1 else ' was'} NaN or infinite")
    label = f"{title} over the steps of the fit: {', '.join(cut_line(key, 60) for key in drawn)}"
    return {
        "title": title,
        "svg": curve_chart({key: _thin(curves[key]) for key in drawn}, name=title, label=label) if drawn else "",
        "legend": [
            {"name": cut_line(key, 60), "last": f"{curves[key][-1][1]:.4g}", "place": place + 1}
            for place, key in enumerate(drawn)
        ],
        "notes": notes,
    }


def _thin(points: Sequence[tuple[float, float]], most: int = 400) -> list[tuple[float, float]]:
    ordered = sorted(points)
    step = -(-len(ordered) // most)
    return [*ordered[::step], ordered[-1]] if step > 1 else ordered

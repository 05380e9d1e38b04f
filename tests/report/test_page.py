"""The page: well formed, without scripts and links, whole in one file, and no text from outside becomes markup."""

import json
import math
import re
from collections import Counter
from html.parser import HTMLParser
from typing import Any

import pytest

from plaster_ops.domain.metrics import CPU_TIME_PER_INFERENCE_S, E2E_P50_MS, HEADLINES
from plaster_ops.report.charts import trend_chart
from plaster_ops.report.page import render_page
from plaster_ops.report.trend import Trend
from tests.report.payloads import ASSESSMENT, payload

VOID = {"meta", "br", "img", "link", "hr", "input"}
FOREIGN = {"path", "circle", "use", "rect"}
HOSTILE = (
    "</style></svg><script>alert(1)</script><img src=x onerror=alert(1)>\"' {{ 7*7 }} $\\frac{1}{0}$ \x1b[31m\u202eevil"
)
RECORD: dict[str, Any] = {
    "uid": "0" * 32,
    "started_at": "2026-11-23T02:00:00+00:00",
    "ended_at": "2026-11-23T02:03:00+00:00",
    "fingerprint": {"device": "Test CPU", "device_count": 1, "threads": 2, "input_shapes": ["float32[1, 8, 8]"]},
    "curves": [
        {"key": key, "step": step, "value": 1.0 / step} for key in ("train_loss", "val_score") for step in range(1, 9)
    ],
    "datasets": [{"name": "train", "digest": "a" * 64}],
    "params": {"train.max_epochs": "20"},
    "tags": {"plaster.version": "0.1.0"},
}


class Page(HTMLParser):
    """What a browser would find in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def sections(self) -> list[str]:
        return [value for tag, name, value in self.attributes if tag == "section" and name == "id"]


def points(count: int) -> list[dict[str, Any]]:
    return [
        {"index": i, "value": 1.0 + math.sin(i) / 10, "verdict": "held" if i % 7 == 3 else "promoted", "regime": "a b"}
        for i in range(1, count + 1)
    ]


def sheet(
    *, runs: int = 12, record: dict[str, Any] | None = None, alarms: list[dict[str, Any]] | None = None, **changed: Any
) -> dict[str, Any]:
    told = ASSESSMENT["alarms"] if alarms is None else alarms
    return {
        "payload": payload(**({"assessment": ASSESSMENT, "run": RUN} | changed)),
        "record": RECORD | (record or {}),
        "trends": {metric.key: points(runs) for metric in HEADLINES},
        "alarms": told,
    }


RUN = {"index": 12, "id": "abc", "uid": "0" * 32, "trigger": "cron", "slot": None, "fingerprint": "f"}


@pytest.fixture(scope="module")
def text() -> str:
    return render_page(sheet())


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def check_harmless(text: str) -> Page:
    """Nothing runs, nothing is fetched, every element is closed."""
    found = Page(text)
    assert found.open == []
    assert not {"script", "iframe", "object", "embed", "link", "img", "form", "base", "a", "foreignobject"} & set(
        found.tags
    )
    assert [name for _, name, _ in found.attributes if name.startswith("on")] == []
    assert [
        value for _, name, value in found.attributes if name in ("href", "src", "xlink:href") and value[:1] != "#"
    ] == []
    assert "://" not in text
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    return found


def test_the_page_is_whole_and_harmless(text: str) -> None:
    check_harmless(text)
    assert text.startswith("<!doctype html>")
    assert len(text) < 300_000


def test_every_section_is_there_in_the_order_of_its_weight(page: Page) -> None:
    assert page.sections == [
        *("verdict", "letters", "comparison", "questions", "changed", "environment", "alarms", "phases", "fit"),
        *("data", "engine", "card", "provenance"),
    ]


def test_the_verdict_its_reason_and_the_trade_off_come_first(page: Page) -> None:
    first = page.text.partition("Seven letters")[0]
    for part in ("digits #12", "held", "latency gate failed: 9 % slower | allowed 5 %", "trades L for A", "worse"):
        assert part in first


def test_the_seven_letters_are_charts_with_words_for_those_who_do_not_see_them(page: Page) -> None:
    labels = [value for tag, name, value in page.attributes if tag == "svg" and name == "aria-label"]
    trends = [label for label in labels if "over 12 retrains" in label]
    assert len(trends) == len(HEADLINES) == 7
    assert any(
        label.startswith("latency/e2e_p50_ms over 12 retrains: #1") and label.endswith("1 alarm") for label in trends
    )
    assert page.text.count("worse →") == 7


def test_ids_of_drawings_are_the_pages_own_and_every_reference_finds_one(page: Page) -> None:
    ids = Counter(value for _, name, value in page.attributes if name == "id")
    assert [name for name, count in ids.items() if count > 1] == []
    links = {value[1:] for _, name, value in page.attributes if name == "href"}
    clips = {found for _, _, value in page.attributes for found in re.findall(r"url\(#([^)]+)\)", value)}
    assert links | clips <= set(ids)


def test_no_colour_is_fixed_so_that_dark_and_light_share_the_drawings(text: str) -> None:
    drawings = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    assert len(drawings) > 8
    assert [found for drawing in drawings for found in re.findall(r"#[0-9a-f]{6}\b", drawing)] == []


def test_the_comparison_has_marks_and_intervals(page: Page) -> None:
    for part in ("- worse", "+ better", "= same", "~ inconclusive", "x not comparable", "[+4.2 %, +14.3 %]"):
        assert part in page.text
    assert "Yes, in L. Of 6 compared metrics: 1 worse, 1 better, 1 same, 1 inconclusive, 2 not comparable." in page.text


def test_what_changed_whose_it_is_and_the_alarms_are_told(page: Page) -> None:
    for part in ("train.max_epochs 15 20", "the old engine is 14 % slower", "1 ms to 1.25 ms", "torch 2.11 -> 2.12"):
        assert part in page.text
    assert "Alarm: latency/e2e_p50_ms worse since #9" in page.text


def test_gates_are_told_with_their_outcome_and_why() -> None:
    outcomes = [
        {"gate": "latency", "state": "failed", "required": True, "sentence": "9 % slower, 5 % is allowed"},
        {"gate": "energy", "state": "waived", "required": False, "sentence": "not measured"},
    ]
    found = check_harmless(render_page(sheet(gates={"against": {"index": 1}, "outcomes": outcomes})))
    assert "latency required - failed 9 % slower, 5 % is allowed energy x waived not measured" in found.text


def test_a_row_says_what_its_history_says() -> None:
    told = {"verdict": "same", "change": 0.012, "ci95": [-0.01, 0.03], "n": 8, "p_value": 0.4}
    compared = [
        row | {"history": told} if row["key"] == "latency/e2e_p50_ms" else row for row in payload()["comparison"]
    ]
    found = check_harmless(render_page(sheet(comparison=compared)))
    assert "its history: same, +1.2 % against 8 earlier" in found.text
    assert "No. Of 1 compared metric: 1 same." in found.text


def test_text_from_outside_stays_text() -> None:
    changed = [{"kind": HOSTILE, "name": HOSTILE, "then": HOSTILE, "now": None}]
    alarm = ASSESSMENT["alarms"][0] | {"note": HOSTILE, "by": HOSTILE, "key": HOSTILE, "shape": HOSTILE}
    tried = [{"backend": HOSTILE, "precision": "fp32", "ok": False, "reason": HOSTILE}]
    rendered = render_page(
        sheet(
            pipeline=HOSTILE,
            verdict=HOSTILE,
            reasons=[HOSTILE],
            run=RUN | {"trigger": HOSTILE, "slot": HOSTILE},
            baseline={"index": 1, "id": "d", "which": HOSTILE, "how": "stored"},
            assessment=ASSESSMENT | {"tradeoff": HOSTILE, "changed": changed, "overall": HOSTILE,
                                     "environment": {"cause": HOSTILE, "sentence": HOSTILE, "rows": []}},
            phases={HOSTILE: 1.0, "cycle_s": 1.0},
            engine={"backend": HOSTILE, "precision": "fp32", "decision": "build", "why": HOSTILE, "tried": tried * 2},
            data={"from": HOSTILE, "to": HOSTILE, "source": HOSTILE, "new_samples": 1, "train_samples": 1,
                  "eval_samples": 1, "drift": {"notes": [HOSTILE]}},
            alarms=[alarm],
            record={"params": {HOSTILE: HOSTILE}, "tags": {HOSTILE: HOSTILE}, "uid": HOSTILE,
                    "curves": [{"key": HOSTILE, "step": i, "value": float(i)} for i in (1, 2)]},
        )
    )  # fmt: skip
    found = check_harmless(rendered)
    assert found.tags["style"] == 1
    assert "<script>alert(1)</script>" in found.text
    assert "49" not in found.text.partition("Seven letters")[0]
    assert not {sign for sign in rendered if not sign.isprintable()} - {"\n"}


def test_a_thousand_retrains_are_a_small_page() -> None:
    rendered = render_page(sheet(runs=1000))
    check_harmless(rendered)
    assert len(rendered) < 400_000


def test_a_fit_that_broke_and_logged_much_is_drawn_as_far_as_it_goes() -> None:
    curves = [{"key": f"metric_{i}", "step": s, "value": float(i + s)} for i in range(40) for s in (1, 2)]
    curves += [
        {"key": "val_loss", "step": s, "value": v} for s, v in ((1, 1.0), (2, math.nan), (3, math.inf), (4, None))
    ]
    found = check_harmless(render_page(sheet(record={"curves": curves})))
    assert "34 more are in MLflow" in found.text
    assert "3 points were NaN or infinite" in found.text


def test_a_fit_of_nothing_but_nan_says_so() -> None:
    curves = [{"key": "val_loss", "step": 1, "value": math.nan}]
    assert "1 point was NaN or infinite" in check_harmless(render_page(sheet(record={"curves": curves}))).text


@pytest.mark.parametrize("verdict", ["failed", "skipped", "interrupted", "running"])
def test_a_run_that_came_to_nothing_has_a_page_too(verdict: str) -> None:
    nothing = {"from": None, "to": None, "new_samples": None, "train_samples": None, "eval_samples": None}
    told = sheet(
        verdict=verdict, card=[], comparison=[], assessment=None, baseline=None, engine=None, data=nothing, phases={},
        reasons=["loss is NaN in epoch 2"], alarms=[], record={name: {} for name in ("fingerprint", "params", "tags")},
    )  # fmt: skip
    told["trends"] = {}
    told["record"] |= {"curves": [], "datasets": [], "ended_at": ""}
    found = check_harmless(render_page(told))
    assert "loss is NaN in epoch 2" in found.text
    assert {"verdict", "provenance"} <= set(found.sections)
    assert "comparison" not in found.sections


def test_a_first_run_has_values_and_nothing_to_compare_with() -> None:
    told = sheet(runs=1, baseline=None, comparison=[], assessment=None, alarms=[], verdict="baseline")
    found = check_harmless(render_page(told))
    assert "nothing to compare with yet" in found.text
    assert "The first retrain that measured it." in found.text


def test_the_axis_of_a_first_retrain_has_no_fractions_of_retrains() -> None:
    one = [points(1)[0] | {"value": 700.0}]
    drawn = trend_chart(Trend.of(E2E_P50_MS.key, one, []), newest=1, worse="up", label="one")
    assert re.search(r">1<", drawn)
    assert not re.search(r">[01]\.[0-9]+<", drawn)


def test_cpu_time_is_drawn_in_the_unit_that_stands_beside_it() -> None:
    rows = [row | {"value": 3e-5 * row["value"]} for row in points(5)]
    drawn = trend_chart(Trend.of(CPU_TIME_PER_INFERENCE_S.key, rows, []), newest=5, worse="up", label="five")
    assert re.search(r">[0-9]+ us<", drawn)


def test_paper_is_no_telephone(text: str) -> None:
    assert "@media screen and (max-width: 760px)" in text
    assert "@media (max-width" not in text


def test_what_was_not_measured_says_why_instead_of_a_chart() -> None:
    told = sheet()
    told["trends"] = {key: [] if key == "energy/inferences_per_j" else rows for key, rows in told["trends"].items()}
    found = Page(render_page(told))
    labels = [value for tag, name, value in found.attributes if tag == "svg" and name == "aria-label"]
    assert sum("retrains" in label for label in labels) == 6
    assert "no NVML, no RAPL" in found.text


def test_the_sheet_may_come_through_json() -> None:
    told = json.loads(json.dumps(sheet()))
    assert render_page(told) == render_page(sheet())


@pytest.mark.parametrize("value", [0.0, 1e-12, 1e15, -3.0])
def test_a_constant_of_any_size_is_drawn(value: float) -> None:
    told = sheet(runs=3)
    told["trends"][E2E_P50_MS.key] = [row | {"value": value} for row in points(3)]
    check_harmless(render_page(told))

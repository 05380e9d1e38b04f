"""Lines on the start and the learning of a fit: said where there is something to say."""

from typing import Any

from plaster_ops.report.learned_lines import curve_line, start_lines
from plaster_ops.report.markdown_text import markdown
from tests.report.payloads import payload

RACE = "scratch scored 0.8912, warm 0.8730: warm start had rotted, scratch is used until the next race"
START: dict[str, Any] = {"race": {"why": RACE}, "stopped": "patience", "needed": False, "why_needed": "gains +0.0001"}
AGAINST = {"run": 3, "samples": 12000, "score_now": 0.912, "score_then": 0.905, "common_score": 0.9}
AGAINST |= {"samples_now": 8000.0, "samples_then": 10000.0, "seconds_now": 14.0, "seconds_then": 20.0}


def test_a_race_an_early_end_and_a_needless_retrain_have_a_line_each() -> None:
    assert start_lines({"start": START}) == [
        f"race: {RACE}",
        "fit ended by patience",
        "could have been left out: gains +0.0001",
    ]


def test_an_ordinary_start_has_no_line() -> None:
    plain = {"race": None, "stopped": "max_epochs", "needed": None}
    assert start_lines({"start": plain}) == start_lines({"start": None}) == start_lines({}) == []
    assert curve_line({"curve": {"against": None}}) == curve_line({"curve": None}) == ""


def test_two_curves_are_one_line_in_the_table_and_in_markdown() -> None:
    told = payload() | {"start": START, "curve": {"against": AGAINST}}
    line = curve_line(told)
    assert line.startswith("learning: after 12,000 samples 0.9120, #3 0.9050; 0.9000 took 8,000 samples and 14")
    assert "then 10,000 and 20" in line
    text = markdown(told)
    assert f"- {line}" in text
    assert f"- race: {RACE}" in text

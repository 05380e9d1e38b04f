"""What `drift` looks like: alarms of one retrain together, and a line for each watched metric."""

import io
from typing import Any

import pytest
from rich.console import Console

from plaster_ops.domain.alarm import Alarm, AlarmState
from plaster_ops.domain.changes import Change, ChangeKind
from plaster_ops.domain.metrics import E2E_P50_MS, ENGINE_SCORE
from plaster_ops.domain.standing import Standing
from plaster_ops.flow.drift import Drift, event_index
from plaster_ops.report.drift_table import alarm_line, drift_markdown, drift_plain, drift_view, show_alarm_change
from tests.domain.alarms import alarm

INT8 = Change(kind=ChangeKind.ENGINE, name="precision", then="fp32", now="int8")
LATENCY = alarm(41, id=3, candidates=(INT8,))
THROUGHPUT = alarm(42, id=4, key="throughput/slo_samples_per_s", before=900.0, after=750.0, change=-1 / 6, p_value=1e-9)
BACK = alarm(
    60, id=5, after=1.0, before=1.2, change=-1 / 6, worse=False, back_at=40, state=AlarmState.RESOLVED, by="kim"
)
STANDING = Standing(metric=E2E_P50_MS, since=41, n=18, level=1.2, newest=[1.0, 1.1, 1.2], noise_ratio=2.5)


def found(*alarms: Alarm, **given: Any) -> Drift:
    plain: dict[str, Any] = {"index": 62, "device": "Test CPU", "watched": [STANDING], "not_measured": [ENGINE_SCORE]}
    return Drift(pipeline="digits", alarms=alarms, **(plain | given))


def test_alarms_at_most_two_retrains_apart_are_one_event_at_the_one_that_has_a_candidate() -> None:
    events = found(BACK, THROUGHPUT, LATENCY).events
    assert [[each.id for each in event] for event in events] == [[3, 4], [5]]
    assert event_index(events[0]) == 41


def test_plain_text_says_what_changed_and_whose_level_it_is_again() -> None:
    lines = drift_plain(found(LATENCY, THROUGHPUT, BACK)).splitlines()
    assert lines[0] == "digits: newest retrain #62 on Test CPU; 2 open alarms, 2 for the worse"
    assert any("+20.0 %" in line and line.endswith("precision fp32 -> int8") for line in lines)
    assert any("resolved by kim" in line and line.endswith("back at the level of #40") for line in lines)
    assert any("noise grew: 2.5 times the spread" in line for line in lines)
    assert any(ENGINE_SCORE.key in line and line.endswith("not measured") for line in lines)


@pytest.mark.parametrize("plain", [True, False])
def test_a_terminal_shows_the_same(plain: bool) -> None:
    console = Console(width=250, record=True, file=io.StringIO())
    console.print(drift_view(found(LATENCY, BACK), plain=plain))
    text = console.export_text()
    assert "precision fp32 -> int8" in text
    assert E2E_P50_MS.key in text


def test_markdown_keeps_its_columns() -> None:
    noted = alarm(41, id=3, note="a | b", state=AlarmState.ACKNOWLEDGED)
    table = [line for line in drift_markdown(found(noted)).splitlines() if line.startswith("| 3 ")]
    assert "a \\| b" in table[0]


def test_words_of_a_person_are_one_harmless_line() -> None:
    noted = alarm(41, id=3, note="on\x1b[31m purpose\n| <b>here</b>", state=AlarmState.ACKNOWLEDGED)
    plain = [line for line in drift_plain(found(noted)).splitlines() if line.startswith("3 ")]
    assert "on [31m purpose | <b>here</b>" in plain[0]
    assert alarm_line(noted).endswith("on [31m purpose | <b>here</b>")
    marked = [line for line in drift_markdown(found(noted)).splitlines() if line.startswith("| 3 ")]
    assert "&lt;b&gt;here" in marked[0]


def test_what_is_kept_by_nobody_is_said() -> None:
    assert "are not kept" in drift_plain(found(alarm(41, id=0), is_stored=False))


def test_a_change_from_zero_is_a_difference() -> None:
    assert show_alarm_change(alarm(key="programmability/graph_breaks_count", before=0.0, after=2.0, change=2.0)) == "+2"

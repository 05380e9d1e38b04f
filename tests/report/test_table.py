"""The answer of a retrain as a table: seven letters, marks that need no colour, every reason told."""

import re

import pytest

from plaster_ops.report.lines import MARKS
from plaster_ops.report.table import comparison_view, print_view
from tests.report.payloads import ASSESSMENT, COMPARED, payload


def text_of(capsys: pytest.CaptureFixture[str], width: int = 160, plain: bool = True, **changed: object) -> str:
    print_view(comparison_view(payload(**changed), width=width, plain=plain), plain=plain, width=width)
    return capsys.readouterr().out


def line_of(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if f"{name} " in line and f"{name}:" not in line)


def test_the_seven_letters_stand_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    text = text_of(capsys)
    letters = re.findall(r"^([PLASTER])  ", text, flags=re.MULTILINE)
    assert "".join(letters) == "PLASTER"


def test_a_row_says_now_then_change_interval_limit_and_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    line = line_of(text_of(capsys), "e2e_p50_ms")
    assert line.split("  ")[0] == "L"
    for part in ("1.234 ms", "1 ms", "+9.1 %", "[+4.2 %, +14.3 %]", "5 %", "- worse"):
        assert part in line


def test_every_verdict_has_a_mark_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    text = text_of(capsys)
    assert len(set(MARKS.values())) == len(MARKS) == 7
    for shown in ("- worse", "+ better", "= same", "~ inconclusive", "x not comparable"):
        assert shown in text


def test_what_only_one_run_measured_is_missing_or_new(capsys: pytest.CaptureFixture[str]) -> None:
    gone = {**COMPARED[4], "now": None, "then": 1.0, "verdict": "not_comparable", "change_ratio": None}
    new = {**COMPARED[0], "now": 1.2, "then": None, "verdict": "not_comparable", "change_ratio": None}
    text = text_of(capsys, comparison=[gone, new])
    assert "! missing" in line_of(text, "inferences_per_j")
    assert "* new" in line_of(text, "e2e_p50_ms")


def test_why_something_was_not_decided_stands_below_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    text = text_of(capsys)
    assert "slo_samples_per_s: too_noisy: this comparison can show 9 %" in text
    assert "inferences_per_j: no NVML, no RAPL" in text
    assert "cpu_time_per_inference_s: not comparable: threads: 1 against 2" in text


def test_a_metric_that_was_not_measured_says_so_and_shows_no_number(capsys: pytest.CaptureFixture[str]) -> None:
    line = line_of(text_of(capsys), "inferences_per_j")
    assert "not measured" in line
    assert "0" not in line


def test_only_the_chosen_rows_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert "e2e_p95_ms" not in text_of(capsys)


def test_in_a_narrow_terminal_the_interval_folds_under_the_change(capsys: pytest.CaptureFixture[str]) -> None:
    lines = text_of(capsys, width=90).splitlines()
    row = next(i for i, line in enumerate(lines) if "e2e_p50_ms" in line)
    assert "- worse" in lines[row]
    assert "+4.2 %" not in lines[row]
    assert lines[row + 1].strip() == "+4.2 to +14.3"
    assert "95 % CI" not in "".join(lines)
    table = lines[row - 2 : 1 + max(i for i, line in enumerate(lines) if "cpu_time_per_inference_s " in line)]
    assert len(table) > 8
    assert all(len(line) <= 80 for line in table)
    assert "x not comp." in "".join(table)


def test_nothing_is_cut_off_in_a_terminal_of_eighty_columns(capsys: pytest.CaptureFixture[str]) -> None:
    text = text_of(capsys, width=80, plain=False)
    assert "…" not in text
    assert re.search(r"^L +e2e_p50_ms ", text, flags=re.MULTILINE)


def test_a_run_that_was_asked_for_by_its_number_is_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    text = text_of(capsys, baseline={"index": 7, "id": "d", "which": "7", "how": "stored"})
    assert "against   #7, stored numbers" in text


def test_what_is_piped_has_neither_colour_nor_boxes(capsys: pytest.CaptureFixture[str]) -> None:
    text = text_of(capsys)
    assert "\x1b" not in text
    assert text.isascii()


def test_the_head_names_run_data_engine_and_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    text = text_of(capsys)
    assert text.startswith("digits   run #2   cron\n")
    assert "start -> 996   new 443   trained on 697   held out 221" in text
    assert "openvino fp32   build   warm start" in text
    assert "last = #1, measured again, interleaved with the new engine" in text
    stored = text_of(capsys, baseline={"index": 1, "id": "d", "which": "best", "how": "stored"})
    assert "best = #1, stored numbers" in stored


def test_gates_against_another_run_than_the_one_shown_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    told = text_of(capsys, gates={"against": {"index": 9, "uid": "u"}, "outcomes": []}, verdict="promoted")
    assert "promoted by gates against the champion, #9" in told
    same = text_of(capsys, gates={"against": {"index": 1, "uid": "u"}, "outcomes": []}, verdict="promoted")
    assert "by gates against" not in same


def test_the_end_names_verdict_reasons_phases_and_where_to_look(capsys: pytest.CaptureFixture[str]) -> None:
    text = text_of(capsys)
    assert "HELD\n    latency gate failed" in text
    assert "wait 0.5  fit 9.2  other 0.0   total 9.8" in text
    assert "plaster/digits run abc, model version 2" in text
    mlflow = {"experiment": "e", "run_id": None, "model_version": None, "spooled": "connection refused"}
    assert "not reached (connection refused); kept in the journal: plaster-ops sync" in text_of(capsys, mlflow=mlflow)


def test_a_first_run_has_no_column_to_compare_with(capsys: pytest.CaptureFixture[str]) -> None:
    text = text_of(capsys, baseline=None, comparison=[], verdict="baseline")
    assert "verdict" not in text
    assert "1.234 ms" in text
    assert "BASELINE" in text


def test_a_skip_is_told_without_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = {"from": 5, "to": 5, "new_samples": 0, "train_samples": None, "eval_samples": None}
    text = text_of(
        capsys, run=None, baseline=None, card=[], comparison=[], engine=None, data=nothing, verdict="skipped",
        reasons=["nothing new arrived since 5"],
    )  # fmt: skip
    assert "PLASTER" not in text
    assert "SKIPPED\n    nothing new arrived since 5" in text


def test_what_is_concluded_stands_below_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    text = text_of(capsys, assessment=ASSESSMENT)
    assert "  trade-off trades L for A\n" in text
    assert "  changed   train.max_epochs 15 -> 20 | torch none -> 2.12\n" in text
    assert "  machine   the old engine is 14 % slower than it was logged\n" in text
    assert "  alarms    latency/e2e_p50_ms worse since #9: 1 ms -> 1.25 ms (+25.0 %, step, open)\n" in text
    assert "train_samples" not in text.partition("changed")[2].partition("\n")[0]


def test_the_end_names_the_command_that_tells_more(capsys: pytest.CaptureFixture[str]) -> None:
    text = text_of(capsys)
    commands = (
        "explain 2 --metric latency/e2e_p50_ms",
        "report 2",
        'promote 2 --force --reason "..."',
    )
    assert text.partition("  next      ")[2].split("\n") == [
        *(f"{'' if place == 0 else ' ' * 12}plaster-ops {line}" for place, line in enumerate(commands)), "",
    ]  # fmt: skip
    assert "promote" not in text_of(capsys, verdict="promoted").partition("PROMOTED")[2]
    assert "explain" not in text_of(capsys, comparison=[])
    assert "next" not in text_of(capsys, verdict="failed")
    assert "next" not in text_of(capsys, run=None)


def test_nothing_from_outside_reaches_the_terminal_as_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    bad = "\x1b]0;owned\x07\x1b[31mred\r\n\u202egpj"
    text = text_of(
        capsys, pipeline=bad, reasons=[bad], assessment={"tradeoff": bad, "changed": [
            {"kind": "params", "name": bad, "then": bad, "now": None}]},
        engine={"backend": "openvino", "precision": "fp32", "decision": "build", "why": bad},
    )  # fmt: skip
    assert not {sign for sign in text if not sign.isprintable()} - {"\n"}
    assert "[31mred" in text


def test_every_verdict_of_the_rule_was_shown_here() -> None:
    assert {row["verdict"] for row in COMPARED} == set(MARKS) - {"missing", "new"}

"""`plaster-ops drift`: what it shows of alarms kept in the journal, and how people answer them."""

import json
from pathlib import Path

import pytest

from plaster_ops.errors import ExitCode
from plaster_ops.tracking.journal import Journal
from tests.cli.conftest import Command
from tests.flow.test_watching import P50, nights
from tests.tracking.samples import finish


@pytest.fixture
def drifted(project: Path) -> Path:
    """A project whose latency rose by 30 % at #13, told at #15 or #16."""
    with Journal.open(project / "mlruns") as journal:
        nights(journal, 12, 1.0)
        nights(journal, 8, 1.3, params={"start": "scratch"})
    return project


def test_a_project_without_a_retrain_says_how_to_begin(command: Command, project: Path) -> None:
    ended = command("drift")
    assert (ended.code, ended.out) == (
        0,
        "digits: no retrain has finished yet; start with: plaster-ops retrain digits\n",
    )
    assert not (project / "mlruns").exists()


def test_an_alarm_is_shown_with_both_levels_and_what_changed(command: Command, drifted: Path) -> None:
    del drifted
    out = command("drift").out
    assert "digits: newest retrain #20 on Test CPU 9000; 1 open alarm, 1 for the worse" in out
    alarm = next(line for line in out.splitlines() if line.startswith("1 "))
    for part in ("#13", P50, "worse", "1 ms -> 1.3 ms", "+30.0 %", "step", "open", "start warm -> scratch"):
        assert part in alarm
    assert any(line.startswith("L") and P50 in line and "#13" in line and "▁" in line for line in out.splitlines())


def test_json_has_numbers_and_groups(command: Command, drifted: Path) -> None:
    del drifted
    answer = json.loads(command("drift", "--json").out)
    assert (answer["schema"], answer["index"], answer["stored"]) == (1, 20, True)
    (alarm,) = answer["alarms"]
    assert (alarm["id"], alarm["index"], alarm["letter"], alarm["state"]) == (1, 13, "L", "open")
    assert alarm["change_ratio"] == pytest.approx(0.3, abs=0.02)
    assert answer["events"] == [{"index": 13, "alarms": [1], "keys": [P50]}]
    (standing,) = answer["watched"]
    assert (standing["since"], standing["n"], len(standing["newest"])) == (13, 8, 20)
    assert "energy/inferences_per_j" in answer["not_measured"]


def test_an_answer_is_kept_with_name_and_words_and_resolved_ones_are_hidden(command: Command, drifted: Path) -> None:
    said = command("drift", "--acknowledge", "1", "--note", "on purpose")
    assert said.code == 0
    assert "acknowledged by" in said.out
    assert said.out.endswith(": on purpose\n")
    assert command("drift", "--resolve", "1", "--quiet").out == ""
    assert json.loads(command("drift", "--json").out)["alarms"] == []
    (alarm,) = json.loads(command("drift", "--json", "--all").out)["alarms"]
    assert (alarm["state"], alarm["note"]) == ("resolved", None)
    with Journal.open(drifted / "mlruns") as journal:
        assert [line["note"] for line in journal.alarm_states(1)] == ["on purpose", None]


@pytest.mark.parametrize("line", [("--fail-on",), ("--fail-on", "worse"), ("--fail-on", "--json")])
def test_an_open_alarm_for_the_worse_can_fail(command: Command, drifted: Path, line: tuple[str, ...]) -> None:
    del drifted
    assert command("drift", *line).code == ExitCode.HELD
    assert command("drift").code == ExitCode.DONE
    command("drift", "--acknowledge", "1")
    assert command("drift", *line).code == ExitCode.DONE


def test_markdown_is_a_table_a_kind(command: Command, drifted: Path) -> None:
    del drifted
    lines = command("drift", "--md").out.splitlines()
    assert [line for line in lines if line.startswith("| id ")]
    assert [line for line in lines if line.startswith("| L | latency/e2e\\_p50\\_ms |")]


def test_one_metric_can_be_asked_for(command: Command, drifted: Path) -> None:
    del drifted
    assert json.loads(command("drift", "--json", "--metric", "p50").out)["watched"][0]["key"] == P50
    assert json.loads(command("drift", "--json", "--metric", P50).out)["watched"][0]["key"] == P50
    other = json.loads(command("drift", "--json", "--metric", "size/engine_bytes").out)
    assert (other["alarms"], other["watched"]) == ([], [])


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (("--metric", "latency/e2e_p99_ms"), "latency/e2e_p99_ms is not watched for drift"),
        (("--metric", "latency/e2e_p5"), "no metric is called 'latency/e2e_p5'"),
        (("--acknowledge", "9"), "no alarm has the id 9"),
        (("--acknowledge", "1", "--resolve", "1"), "not both"),
        (("--note", "hm"), "--note says nothing"),
        (("--fail-on=better",), "only worse can fail"),
    ],
)
def test_a_wrong_question_ends_with_2_and_says_why(
    command: Command, drifted: Path, line: tuple[str, ...], told: str
) -> None:
    del drifted
    ended = command("drift", *line)
    assert ended.code == ExitCode.USAGE
    assert told in ended.err


def test_few_retrains_are_not_enough_history(command: Command, project: Path) -> None:
    with Journal.open(project / "mlruns") as journal:
        for _ in range(3):
            finish(journal)
    lines = command("drift").out.splitlines()
    assert any(P50 in line and "not enough history (3 of 8)" in line for line in lines)


def test_what_an_older_version_left_unscanned_is_scanned_now_and_not_kept(command: Command, project: Path) -> None:
    with Journal.open(project / "mlruns") as journal:
        for night in range(16):
            value = 1.0 if night < 12 else 1.3
            card = [{**row, "value": value} for row in finish_card() if row["key"] == "size/engine_bytes"]
            finish(journal, card=tuple(card))
    out = command("drift").out
    assert "new alarms were found just now" in out
    assert any(line.startswith("new") and "#13" in line for line in out.splitlines())
    with Journal.open(project / "mlruns") as journal:
        assert journal.alarms() == []


def finish_card() -> list[dict[str, object]]:
    from tests.tracking.samples import make_card

    return make_card(1.0).to_json()

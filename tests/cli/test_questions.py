"""The commands that ask, replay or show: each against a double of what it calls."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from plaster_ops.errors import ExitCode
from plaster_ops.flow import comparison, doctor, publish, ui
from plaster_ops.flow.doctor import Finding
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.liveness import this_host
from plaster_ops.tracking.outbox import SyncReport
from tests.cli.conftest import Command
from tests.report.payloads import payload
from tests.tracking.samples import finish, start


# ---- history -------------------------------------------------------------------------------------------------------
@pytest.fixture
def told(project: Path) -> Path:
    """A project with three finished retrains of digits, one of power and a skip."""
    with Journal.open(project / "mlruns") as journal:
        for _ in range(3):
            finish(journal)
        finish(journal, "power")
        journal.record_skip("digits", "nothing new arrived since 903", 903, "cron", None)
    return project


def test_a_project_without_a_journal_says_how_to_begin(command: Command, project: Path) -> None:
    ended = command("history")
    assert (ended.code, ended.out) == (0, "no retrain is recorded yet; start with: plaster-ops retrain\n")
    assert not (project / "mlruns").exists()


def test_history_shows_the_default_pipelines_rows_newest_last(command: Command, told: Path) -> None:
    del told
    lines = command("history").out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["1", "2", "3"]
    assert "nothing new arrived since 903" in lines[4]
    assert lines[5] == "* champion"


def test_history_ends_with_the_course_of_each_measured_headline(command: Command, told: Path) -> None:
    del told
    course = command("history").out.splitlines()[7:]
    assert [line.split()[0] for line in course] == ["P", "L", "A", "S", "T", "R"]
    assert course[1] == "L e2e_p50_ms          ▁▅█  1.01 ms → 1.03 ms"


def test_history_as_json_has_numbers_and_the_state_of_each_run(command: Command, told: Path) -> None:
    del told
    answer = json.loads(command("history", "--json", "--all").out)
    assert answer["schema"] == 1
    assert [row["pipeline"] for row in answer["runs"]] == ["digits"] * 3 + ["power", "digits"]
    first, skip = answer["runs"][0], answer["runs"][-1]
    assert first["headlines"]["latency/e2e_p50_ms"] == pytest.approx(1.01)
    assert first["headlines"]["energy/inferences_per_j"] is None
    assert (skip["index"], skip["verdict"], skip["in_mlflow"]) == (None, "skipped", False)


def test_history_can_be_cut_short_and_be_markdown(command: Command, told: Path) -> None:
    del told
    lines = command("history", "-n", "2", "--md").out.splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("| 3 |")


def test_history_of_a_pipeline_nobody_knows_is_refused(command: Command, told: Path) -> None:
    del told
    ended = command("history", "digts")
    assert ended.code == ExitCode.USAGE
    assert "did you mean 'digits'" in ended.err


def test_a_project_can_be_named_from_anywhere(
    command: Command, told: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(json.loads(command("history", "--project", str(told), "--json").out)["runs"]) == 4


def test_a_run_whose_process_is_gone_is_interrupted_and_names_the_way_back(command: Command, told: Path) -> None:
    with Journal.open(told / "mlruns") as journal:
        start(journal, host=this_host())
        start(journal, host=this_host(), pid=os.getpid())
    dead, alive = json.loads(command("history", "--json").out)["runs"][-2:]
    assert (dead["state"], dead["next_step"]) == (
        "interrupted",
        "continue it with: plaster-ops retrain digits --resume 4",
    )
    assert "ended without a word" in dead["reasons"][0]
    assert (alive["state"], alive["next_step"], alive["reasons"]) == ("running", None, [])
    assert "retrain digits --resume 4" in command("history").out


# ---- compare -------------------------------------------------------------------------------------------------------
@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []

    def compare_runs(settings: Any, name: str | None, pair: tuple[str, str], **more: Any) -> dict[str, Any]:
        calls.append({"project": settings.project, "name": name, "pair": pair, **more})
        return payload(verdict="worse", exit_code=0)

    monkeypatch.setattr(comparison, "compare_runs", compare_runs)
    return calls


def test_two_runs_are_compared_as_named(command: Command, compared: list[dict[str, Any]]) -> None:
    ended = command("compare", "last", "#1", "--pipeline", "power", "--profile", "standard", "--json")
    assert ended.code == 0
    assert json.loads(ended.out)["verdict"] == "worse"
    (call,) = compared
    assert (call["name"], call["pair"], call["profile"], call["stored"]) == ("power", ("last", "#1"), "standard", False)


def test_stored_numbers_are_compared_without_measuring(command: Command, compared: list[dict[str, Any]]) -> None:
    assert "WORSE" in command("compare", "2", "1", "--stored").out
    assert compared[0]["stored"] is True


def test_a_profile_nobody_knows_is_refused_by_compare_too(command: Command, compared: list[dict[str, Any]]) -> None:
    assert command("compare", "2", "1", "--profile", "quick").code == ExitCode.USAGE
    assert compared == []


# ---- sync ----------------------------------------------------------------------------------------------------------
def test_sync_says_what_went_and_ends_well(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "replay", lambda _ports: SyncReport(sent=("a", "b"), left=0))
    ended = command("sync")
    assert (ended.code, ended.out) == (0, "2 records sent, 0 left\n")
    assert command("sync", "--quiet").out == ""


def test_sync_that_leaves_records_behind_never_ends_with_0(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    report = SyncReport(sent=("a",), left=3, reason="connection refused", next_step="start the server")
    monkeypatch.setattr(publish, "replay", lambda _ports: report)
    ended = command("sync")
    assert ended.code != 0
    assert ended.out == "1 record sent, 3 left\n"
    assert "connection refused" in ended.err
    assert "next:  start the server" in ended.err


def test_a_journal_that_cannot_be_written_ends_with_12(command: Command, project: Path) -> None:
    (project / "mlruns").write_text("a file where a folder should be")
    ended = command("sync")
    assert ended.code == ExitCode.NOT_RECORDED
    assert str(project / "mlruns") in ended.err


# ---- doctor --------------------------------------------------------------------------------------------------------
GOOD = Finding(topic="machine", what="python", ok=True, detail="3.11")
NEUTRAL = Finding(topic="machine", what="GPU", ok=None, detail="none")
BAD = Finding(topic="store", what="schema", ok=False, detail="behind", next_step="plaster-ops doctor --fix")


def examined(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> list[bool]:
    asked: list[bool] = []

    def examine(_settings: Any, *, fix: bool) -> list[Finding]:
        asked.append(fix)
        return list(findings)

    monkeypatch.setattr(doctor, "examine", examine)
    return asked


def test_a_machine_in_order_ends_with_0(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = examined(monkeypatch, GOOD, NEUTRAL)
    ended = command("doctor")
    assert ended.code == 0
    assert ended.out.splitlines() == ["machine", "  ok  python  3.11", "  -   GPU     none"]
    assert asked == [False]


def test_something_wrong_ends_with_1_and_the_next_step(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = examined(monkeypatch, GOOD, BAD)
    ended = command("doctor", "--fix")
    assert ended.code == 1
    assert "BAD schema  behind" in ended.out
    assert "next: plaster-ops doctor --fix" in ended.out
    assert asked == [True]


def test_the_findings_are_json_when_asked_for(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    examined(monkeypatch, GOOD, BAD)
    told = json.loads(command("doctor", "--json").out)
    assert [finding["ok"] for finding in told["findings"]] == [True, False]


# ---- ui ------------------------------------------------------------------------------------------------------------
def test_the_ui_is_served_where_it_was_asked_for(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[tuple[str, int]] = []
    monkeypatch.setattr(ui, "serve_ui", lambda _settings, *, host, port: served.append((host, port)))
    told = command("ui", "--port", "5001")
    assert told.code == 0
    assert "http://127.0.0.1:5001" in told.out
    assert served == [("127.0.0.1", 5001)]

"""`schedule list`, `next`, `history`, `pause`, `resume` and `check`, through the command line."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from plaster_ops.cli import app
from plaster_ops.domain.slots import SlotState
from scheduler.commands import check, coming, history, listing, output, pausing
from tests.scheduler.filled import NOW_S, TOML, Filled, beat, due, filled, ran


@dataclass(frozen=True)
class Ended:
    """How a command line ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.out.count("\n") == 1
        return json.loads(self.out)


Command = Callable[..., Ended]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Filled]:
    with filled(tmp_path) as made:
        yield made


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `plaster-ops schedule <arguments>` in the project's folder at `NOW_S`."""
    monkeypatch.chdir(tmp_path)
    for module in (check, coming, history, listing, pausing):
        monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: NOW_S))
    monkeypatch.setattr(pausing.getpass, "getuser", lambda: "ann")
    monkeypatch.setattr(pausing.socket, "gethostname", lambda: "ml1")

    def run(*arguments: str) -> Ended:
        capsys.readouterr()
        code = app.run(["schedule", *arguments])
        captured = capsys.readouterr()
        return Ended(code=code, out=captured.out, err=captured.err)

    return run


@pytest.fixture
def unkept(tmp_path: Path) -> Path:
    """A project that no scheduler and no retrain has touched yet."""
    (tmp_path / "plaster.toml").write_text(TOML, encoding="utf-8")
    return tmp_path


# ---- list -----------------------------------------------------------------------------------------------------------
def test_list_shows_every_pipeline_in_a_line(command: Command, project: Filled) -> None:
    ended = command("list")
    lines = {line.split()[0]: line for line in ended.out.splitlines()}
    assert ended.code == 0
    assert ended.out.startswith(f"{project.settings.project.name}: 8 pipelines, 1 late, 1 failing, 1 missed, 1 unkept")
    assert "failing, retrying" in lines["ranking"]
    assert "+++++xxx…" in lines["ranking"]
    assert "16:30 UTC, in 3 h 50 min" in lines["ranking"]
    assert "running for 39 min, usually 25 min" in lines["fraud"]
    assert "paused by ann@ml1 4 d ago: labels are mended" in lines["search"]
    assert "Sat 02:00 CET, in 12 h 20 min" in lines["churn"]
    assert "\x1b" not in ended.out


def test_list_on_a_terminal_is_coloured_unless_no_color_is_set(
    command: Command, project: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    del project
    monkeypatch.setattr(output, "is_terminal", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[1;31mfailing" in command("list").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "31mfailing" not in command("list").out


def test_list_as_json_is_the_snapshot(command: Command, project: Filled) -> None:
    del project
    told = command("list", "--json").json
    assert (told["schema"], told["service"]["state"], len(told["pipelines"])) == (1, "alive", 8)
    ranking = next(each for each in told["pipelines"] if each["pipeline"] == "ranking")
    assert ranking["waiting"][0]["not_before"] == "2026-11-27T12:42:00+00:00"
    assert ranking["tried"]["exit_code"] == 10
    assert ranking["strip"][-1] == {"planned": "2026-11-27T12:30:00+00:00", "state": "due", "verdict": None}
    assert ranking["findings"][0]["kind"] == "failing"


def test_every_key_of_the_answers_is_documented(command: Command, project: Filled) -> None:
    text = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")
    _, _, text = text.partition("## `schedule`")
    told = [command("list", "--json").json, command("next", "--json").json, command("history", "--json").json]
    told += [command("check", "--json").json, command("pause", "churn", "--json").json]
    told += [command("resume", "churn", "--json").json]
    assert sorted({key for key in _keys(told) if f"`{key}`" not in text}) == []
    assert project.settings.pipelines


def _keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {key for part in value.values() for key in _keys(part)}
    return {key for part in value for key in _keys(part)} if isinstance(value, list) else set()


def test_a_question_makes_no_file(command: Command, unkept: Path) -> None:
    assert "churn" in command("list").out
    assert command("next").code == 0
    assert command("history").out.startswith("no slot is recorded yet")
    command("check")
    assert not (unkept / "mlruns").exists()


def test_quiet_says_nothing(command: Command, project: Filled) -> None:
    del project
    for words in (("list",), ("next",), ("history",), ("pause", "churn"), ("resume", "churn")):
        ended = command(*words, "--quiet")
        assert (ended.code, ended.out, ended.err) == (0, "", "")


def test_a_project_without_pipelines_says_how_to_begin(command: Command, tmp_path: Path) -> None:
    (tmp_path / "plaster.toml").write_text("")
    assert "plaster-ops init" in command("list").out
    assert "none of these pipelines has a cadence" in command("next").out


# ---- next -----------------------------------------------------------------------------------------------------------
def test_next_shows_the_slots_of_all_in_order_local_and_utc(command: Command, project: Filled) -> None:
    del project
    lines = command("next", "-n", "20").out.splitlines()
    assert [line.split()[0] for line in lines[1:6]] == ["fraud", "fraud", "fraud", "fraud", "ranking"]
    churn = next(line for line in lines if line.startswith("churn"))
    assert "Sat 2026-11-28 02:00:00 CET" in churn
    assert "2026-11-28 01:00:00" in churn
    assert "+" in churn.split("in 12 h 20 min")[1]
    assert len(lines) == 21


def test_next_of_one_pipeline_tells_jitter_and_a_pause(command: Command, project: Filled) -> None:
    del project
    rows = command("next", "search", "churn", "-n", "4", "--json").json["slots"]
    assert [(row["pipeline"], row["paused"]) for row in rows] == [("churn", False), ("search", True)] * 2
    assert (rows[1]["local"], rows[1]["planned"]) == ("2026-11-28T05:15:00-05:00", "2026-11-28T10:15:00+00:00")
    assert 0 < rows[0]["jitter_s"] <= 60
    assert "paused: will be skipped" in command("next", "search").out


def test_a_pipeline_may_be_named_by_its_reference(command: Command, project: Filled) -> None:
    del project
    assert command("next", "models.fraud:pipeline", "-n", "1", "--json").json["slots"][0]["pipeline"] == "fraud"


@pytest.mark.parametrize("words", [("next",), ("history",), ("pause",), ("resume",), ("check",)])
def test_an_unknown_pipeline_is_exit_2_and_names_the_nearest(
    command: Command, project: Filled, words: tuple[str, ...]
) -> None:
    del project
    ended = command(*words, "rankin")
    assert ended.code == 2
    assert "unknown pipeline 'rankin'; did you mean 'ranking'?" in ended.err


# ---- history --------------------------------------------------------------------------------------------------------
def test_history_is_newest_first_with_states_and_reasons(command: Command, project: Filled) -> None:
    del project
    ended = command("history", "ranking", "-n", "5")
    marks = [line.split()[4:6] for line in ended.out.splitlines()[1:]]
    assert marks == [["…", "due"], ["x", "failed"], ["x", "failed"], ["x", "failed"], ["+", "ran"]]
    assert "exit 10; the loss of epoch 3 is NaN" in ended.out
    assert "attempt 1 ended with 10; again in 240 s" in ended.out


def test_history_of_all_goes_through_every_state(command: Command, project: Filled) -> None:
    with project.ledger.write() as write:
        write.add([due("vision", NOW_S - 5.0, state=SlotState.TIMED_OUT, ended_s=NOW_S, exit_code=124, attempts=1)])
    rows = command("history", "-n", "500", "--json").json["slots"]
    assert {row["state"] for row in rows} == {state.value for state in SlotState}
    planned = [row["planned"] for row in rows]
    assert planned == sorted(planned, reverse=True)
    assert len(command("history", "-n", "3", "--json").json["slots"]) == 3


def test_history_is_told_of_a_pipeline_that_left_the_settings(command: Command, project: Filled) -> None:
    with project.ledger.write() as write:
        write.add([ran("gone", NOW_S - 100.0)])
    assert command("history", "gone", "--json").json["slots"][0]["pipeline"] == "gone"


def test_a_reason_of_many_lines_stays_one_line(command: Command, project: Filled) -> None:
    with project.ledger.write() as write:
        write.add([due("vision", NOW_S, state=SlotState.FAILED, ended_s=NOW_S, reason="a\nb\x1b[31mc\td")])
    ended = command("history", "vision", "-n", "1")
    assert ended.out.splitlines()[1].rstrip().endswith("a b [31mc d")


# ---- pause and resume -----------------------------------------------------------------------------------------------
def test_pause_keeps_who_when_and_why(command: Command, project: Filled) -> None:
    ended = command("pause", "churn", "fraud", "--reason", "too dear")
    assert ended.code == 0
    assert "churn is paused: its slots are skipped until: plaster-ops schedule resume churn" in ended.out
    pause = project.ledger.pauses()["fraud"]
    assert (pause.at_s, pause.by, pause.reason) == (NOW_S, "ann@ml1", "too dear")


def test_pausing_again_replaces_the_reason_and_says_so(command: Command, project: Filled) -> None:
    assert "(it was, by ann@ml1; this replaces it)" in command("pause", "search", "--reason", "new").out
    assert project.ledger.pauses()["search"].reason == "new"


def test_pause_all_and_resume_all(command: Command, project: Filled) -> None:
    rows = command("pause", "--all", "--json").json["paused"]
    assert [row["pipeline"] for row in rows] == list(project.settings.pipelines)
    assert {row["pipeline"] for row in rows if row["was_paused"]} == {"search"}
    assert sorted(command("resume", "--all", "--json").json["resumed"]) == sorted(project.settings.pipelines)
    assert project.ledger.pauses() == {}
    assert command("resume", "--all").out == "nothing was paused\n"


def test_resume_tells_who_was_not_paused(command: Command, project: Filled) -> None:
    told = command("resume", "search", "churn", "--json").json
    assert told == {"schema": 1, "resumed": ["search"], "not_paused": ["churn"]}
    assert project.ledger.pauses() == {}


def test_a_pipeline_that_left_the_settings_can_still_be_resumed(command: Command, project: Filled) -> None:
    command("pause", "churn")
    file = project.settings.file
    assert file is not None
    file.write_text(TOML.replace("[pipelines.churn]", "[pipelines.other]").replace('default = "churn"', ""))
    assert command("resume", "churn").code == 0
    assert "churn" not in project.ledger.pauses()


@pytest.mark.parametrize("word", ["pause", "resume"])
def test_neither_names_nor_all_and_both_are_wrong_use(command: Command, project: Filled, word: str) -> None:
    assert (command(word).code, command(word, "churn", "--all").code) == (2, 2)
    assert set(project.ledger.pauses()) == {"search"}


def test_one_unknown_name_pauses_nobody(command: Command, project: Filled) -> None:
    assert command("pause", "churn", "nobody").code == 2
    assert set(project.ledger.pauses()) == {"search"}


# ---- check ----------------------------------------------------------------------------------------------------------
def test_check_is_exit_1_with_a_line_and_a_next_step_each(command: Command, project: Filled) -> None:
    del project
    ended = command("check")
    assert ended.code == 1
    assert [line.split(": ")[:2] for line in ended.out.splitlines()] == [
        ["failing", "ranking"],
        ["missed", "prices"],
        ["late", "stock"],
        ["unkept", "speech"],
    ]
    assert all(". Next: " in line for line in ended.out.splitlines())


def test_check_of_those_that_are_well_is_exit_0(command: Command, project: Filled) -> None:
    del project
    ended = command("check", "churn", "search", "fraud")
    assert (ended.code, ended.out) == (0, "all is well: 3 looked at; paused: search\n")


def test_check_quiet_is_silent_when_well_and_writes_to_stderr_when_not(command: Command, project: Filled) -> None:
    del project
    well = command("check", "churn", "--quiet")
    assert (well.code, well.out, well.err) == (0, "", "")
    ill = command("check", "stock", "--quiet")
    assert (ill.code, ill.out) == (1, "")
    assert ill.err.startswith("late: stock: ")


def test_check_as_json_says_what_it_exits_with(command: Command, project: Filled) -> None:
    del project
    ended = command("check", "stock", "--json")
    assert (ended.code, ended.json["exit_code"], ended.json["ok"]) == (1, 1, False)
    assert ended.json["findings"][0]["since"] == "2026-11-27T12:00:00+00:00"
    assert command("check", "churn", "--json").json == {"schema": 1, "ok": True, "exit_code": 0, "findings": []}


def test_check_service_wants_a_young_heartbeat(command: Command, project: Filled) -> None:
    assert command("check", "churn", "--service").code == 0
    beat(project.settings, NOW_S - 61.0)
    assert command("check", "churn").code == 0
    ended = command("check", "churn", "--service")
    assert ended.code == 1
    assert "service: the service, process" in ended.out
    assert "was not heard of for 1 min 1 s. Next: start it: plaster-ops schedule start" in ended.out


# ---- what is loaded -------------------------------------------------------------------------------------------------
PROBE = """
import contextlib, io, sys
from plaster_ops.cli.app import run
with contextlib.redirect_stdout(io.StringIO()) as out:
    codes = [run(["schedule", *words]) for words in (["list"], ["next"], ["history"], ["check"], ["pause", "churn"])]
import scheduler.health
heavy = "torch mlflow lightning torchmetrics sqlalchemy pyarrow pandas scipy numpy openvino".split()
print(codes, [name for name in heavy if name in sys.modules], "churn" in out.getvalue())
"""


def test_the_commands_and_the_server_load_nothing_heavy(project: Filled) -> None:
    folder = project.settings.project
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", PROBE], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == "[0, 0, 0, 1, 0] [] True", done.stderr


# ---- help -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["list", "next", "history", "pause", "resume", "check"])
def test_every_command_shows_an_example(command: Command, name: str) -> None:
    ended = command(name, "--help")
    assert ended.code == 0
    assert f"plaster-ops schedule {name}" in ended.out

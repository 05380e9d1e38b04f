"""`promote`, `rollback` and `promotions` as they are typed: words, JSON and exit codes."""

import json
from pathlib import Path

import pytest

from plaster_ops.errors import ExitCode
from plaster_ops.settings import Settings
from tests.cli.conftest import Command, plain
from tests.flow.champions import add_run, champions, make_project, outcome


@pytest.fixture
def settings(project: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for room in ("promotion", "rollback"):
        monkeypatch.setattr(f"plaster_ops.flow.{room}.tell_tracker", lambda *_, **__: None)
    return make_project(project)


def test_a_promotion_tells_who_is_champion_and_where_a_rollback_goes(command: Command, settings: Settings) -> None:
    (first,) = champions(settings, 1)
    add_run(settings, against=first)
    ended = command("promote", "2", "--no-canary", "--reason", "release")
    assert (ended.code, ended.out.splitlines()) == (
        0,
        ["digits: #2 is champion in place of #1: release", "MLflow's aliases are set", "a rollback goes to #1"],
    )


def test_a_failed_gate_is_exit_3_with_its_sentence_and_the_way_past_it(command: Command, settings: Settings) -> None:
    (first,) = champions(settings, 1)
    add_run(settings, against=first, outcomes=(outcome("failed"),))
    ended = command("promote", "2", "--no-canary")
    assert ended.code == ExitCode.HELD
    assert "#2 was not promoted: accuracy gate failed: so it was" in ended.out
    assert "promote 2 --pipeline digits --force --reason TEXT" in ended.out
    answer = json.loads(command("promote", "2", "--json").out)
    assert (answer["verdict"], answer["exit_code"], answer["mlflow"]["pointed"]) == ("held", 3, False)
    forced = json.loads(command("promote", "2", "--no-canary", "--force", "--reason", "must", "--json").out)
    assert (forced["verdict"], forced["forced"], forced["before"]["index"]) == ("promoted", True, 1)


def test_force_without_a_reason_is_wrong_use(command: Command, settings: Settings) -> None:
    champions(settings, 1)
    ended = command("promote", "1", "--force")
    assert ended.code == ExitCode.USAGE
    assert "--force needs a reason" in ended.err


def test_a_changed_engine_is_exit_11_and_nothing_changes(command: Command, settings: Settings) -> None:
    champions(settings, 2)
    engine = next((settings.memory / "runs" / "digits").glob("0001-*/engine-*"))
    (engine / "model.bin").write_text("3")
    assert command("rollback").code == ExitCode.BUILD_FAILED
    assert command("promote", "1", "--force", "--reason", "x").code == ExitCode.BUILD_FAILED
    assert len(json.loads(command("promotions", "--json").out)["promotions"]) == 2


def test_a_rollback_says_where_it_went(command: Command, settings: Settings) -> None:
    champions(settings, 3)
    ended = command("rollback", "--reason", "slow")
    assert ended.out.splitlines()[0] == "digits: #2 is champion in place of #3: slow"
    assert json.loads(command("rollback", "--json").out)["next_rollback"] is None
    assert command("rollback").code == ExitCode.USAGE


def test_the_ledger_as_text_markdown_and_json(command: Command, settings: Settings) -> None:
    assert command("promotions").out == "no champion yet; start with: plaster-ops retrain\n"
    champions(settings, 2)
    command("rollback", "--reason", "a | b")
    text = command("promotions").out.splitlines()
    assert text[0].split()[:3] == ["when", "(UTC)", "champion"]
    assert text[3].split()[2:4] == ["#1", "#2"]
    assert text[-1] == "champion #1; no champion stands before it"
    assert "a \\| b" in command("promotions", "--md").out
    answer = json.loads(command("promotions", "-n", "1", "--json").out)
    assert [line["kind"] for line in answer["promotions"]] == ["rollback"]


@pytest.mark.parametrize("name", ["promote", "rollback", "promotions"])
def test_their_help_has_examples(command: Command, name: str) -> None:
    ended = command(name, "--help")
    assert ended.code == 0
    assert f"plaster-ops {name}" in plain(ended.out)

"""`schedule alert-test`: what is sent, what is shown of it, and the exit code."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from plaster_ops.errors import PlasterError, UsageError
from scheduler.cli import app
from tests.alerts.receivers import TOKEN, Web, web_receiver

TOML = """
[pipelines.digits]
ref = "m.digits:pipeline"
alerts = [{ kind = "webhook", url_env = "HOOK" }, { kind = "slack", url_env = "CHAT" }]
[pipelines.power]
ref = "m.power:pipeline"
"""


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with web_receiver() as receiver:
        yield receiver


def run(project: Path, *more: str) -> Result:
    (project / "plaster.toml").write_text(TOML, encoding="utf-8")
    return CliRunner().invoke(app, ["alert-test", *more, "--project", str(project)])


def test_every_target_gets_a_marked_message(tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", web.url)
    monkeypatch.setenv("CHAT", web.url)
    ended = run(tmp_path, "digits")
    assert ended.exit_code == 0
    assert ended.output.splitlines() == ["sent  webhook:HOOK  answered 200", "sent  slack:CHAT    answered 200"]
    assert [body.get("test") for body in web.got] == [True, None]
    assert web.got[1]["text"].startswith("TEST: an alert of digits would look like this")
    assert TOKEN not in ended.output


def test_a_target_that_does_not_take_it_is_named_and_the_command_fails(
    tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK", web.url)
    monkeypatch.delenv("CHAT", raising=False)
    web.answers = [403]
    ended = run(tmp_path, "digits", "--json")
    assert json.loads(ended.output) == {
        "schema": 1,
        "exit_code": 1,
        "targets": [
            {"target": "webhook:HOOK", "ok": False, "detail": "answered 403"},
            {"target": "slack:CHAT", "ok": False, "detail": "CHAT is not set"},
        ],
    }
    assert isinstance(ended.exception, PlasterError)
    assert ended.exception.message.startswith("2 of 2 targets did not take the test message")
    assert not (tmp_path / "mlruns").exists()


def test_a_pipeline_without_alerts_is_wrong_use(tmp_path: Path) -> None:
    assert isinstance(run(tmp_path, "power").exception, UsageError)

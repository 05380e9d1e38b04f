"""`retrain`: options become a request, the answer goes to stdout, its exit code to the shell."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from plaster_ops.errors import Busy, ExitCode, Interrupted, TrainingFailed
from plaster_ops.flow import plan, session
from plaster_ops.flow.retrain import Request
from plaster_ops.training.nodes.part import Part
from tests.cli.conftest import Command, plain
from tests.report.payloads import payload


@dataclass
class Retrain:
    """In the place of `run_retrain`: remembers how it was called, and answers or raises."""

    answer: dict[str, Any] = field(default_factory=payload)
    error: Exception | None = None
    called: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, settings: Any, name: str | None, request: Request, **more: Any) -> dict[str, Any]:
        self.called.append({"settings": settings, "name": name, "request": request, **more})
        more["tell"]({"event": "note", "text": "it goes on"})
        if self.error is not None:
            raise self.error
        return self.answer

    @property
    def request(self) -> Request:
        found: Request = self.called[-1]["request"]
        return found


@pytest.fixture
def retrain(monkeypatch: pytest.MonkeyPatch) -> Retrain:
    double = Retrain()
    monkeypatch.setattr(session, "run_retrain", double)
    return double


def test_without_options_the_default_pipeline_is_compared_with_the_last_run(command: Command, retrain: Retrain) -> None:
    command("retrain")
    assert retrain.called[0]["name"] is None
    assert retrain.called[0]["resume"] is None
    assert retrain.request == Request(compare="last")


def test_every_option_reaches_the_request(command: Command, retrain: Retrain) -> None:
    command(
        *("retrain", "power", "--compare", "best", "--scratch", "--devices", "2", "--nodes", "1"),
        *("--launcher", "torchrun"),
        *("--profile", "smoke", "--no-measure", "--no-promote", "--fail-on", "worse, not-comparable"),
        *("--trigger", "cron", "--slot", "2026-11-23T02:00:00+00:00", "--resume", "7"),
    )
    assert retrain.called[0]["name"] == "power"
    assert retrain.called[0]["resume"] == "7"
    assert retrain.request == Request(
        compare="best",
        scratch=True,
        devices=2,
        part=Part(),
        launcher="torchrun",
        profile="smoke",
        measure=False,
        promote=False,
        fail_on=frozenset({"worse", "not_comparable"}),
        trigger="cron",
        slot="2026-11-23T02:00:00+00:00",
    )


@pytest.mark.parametrize("code", [0, 3, 5, 6])
def test_the_process_ends_with_the_code_of_the_answer(command: Command, retrain: Retrain, code: int) -> None:
    retrain.answer = payload(exit_code=code)
    assert command("retrain").code == code


def test_json_is_one_object_on_stdout_and_nothing_else(command: Command, retrain: Retrain) -> None:
    ended = command("retrain", "--json")
    assert json.loads(ended.out) == json.loads(json.dumps(retrain.answer))
    assert ended.out.count("\n") == 1
    assert "it goes on" in ended.err


def test_quiet_says_nothing_at_all(command: Command, retrain: Retrain) -> None:
    ended = command("retrain", "--quiet")
    assert (ended.code, ended.out, ended.err) == (retrain.answer["exit_code"], "", "")


def test_markdown_goes_to_stdout(command: Command, retrain: Retrain) -> None:
    ended = command("retrain", "--md")
    assert ended.out.startswith(f"**{retrain.answer['pipeline']}** run #2")


def test_piped_text_is_plain_and_wide(command: Command, retrain: Retrain) -> None:
    out = command("retrain").out
    assert retrain.answer["verdict"].upper() in out
    assert "\x1b" not in out
    assert "[+4.2 %, +14.3 %]" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--profile", "quick"], ["unknown profile 'quick'", "smoke, standard or full"]),
        (["--fail-on", "worse,odd"], ["--fail-on does not know odd", "inconclusive"]),
        (["--trigger", "moon"], ["unknown trigger 'moon'", "cron"]),
        (["--devices", "0"], ["--devices"]),
        (["--slot", "yesterday"], ["--slot 'yesterday' is no date", "2026-11-24T02:00:00+00:00"]),
    ],
)
def test_a_wrong_value_is_named_before_anything_starts(
    command: Command, retrain: Retrain, arguments: list[str], words: list[str]
) -> None:
    ended = command("retrain", *arguments)
    assert ended.code == ExitCode.USAGE
    assert retrain.called == []
    for word in words:
        assert word in plain(ended.err)


def test_a_failed_retrain_is_told_as_json_too(command: Command, retrain: Retrain) -> None:
    error = TrainingFailed("loss is NaN", "lower the learning rate")
    error.payload = payload(verdict="failed", exit_code=10)
    retrain.error = error
    ended = command("retrain", "--json")
    assert ended.code == json.loads(ended.out)["exit_code"] == 10
    assert ended.err.endswith("error: loss is NaN\nnext:  lower the learning rate\n")


def test_a_busy_pipeline_is_told_as_json_too(command: Command, retrain: Retrain) -> None:
    retrain.error = Busy("another run of 'digits' is going on (process 7 on here)", "wait")
    ended = command("retrain", "--json")
    told = json.loads(ended.out)
    assert (ended.code, told["verdict"], told["exit_code"], told["pipeline"]) == (75, "busy", 75, "digits")
    assert told["run"] is None
    assert "process 7" in told["reasons"][0]


def test_an_interruption_before_the_run_was_opened_names_the_only_pipeline(
    command: Command, retrain: Retrain, project: Path
) -> None:
    (project / "plaster.toml").write_text('[pipelines.two]\nref = "m.two:pipeline"\n', encoding="utf-8")
    retrain.error = Interrupted(2)
    ended = command("retrain", "--json")
    told = json.loads(ended.out)
    assert (ended.code, told["pipeline"], told["verdict"], told["run"]) == (130, "two", "failed", None)
    assert ended.err.endswith("error: stopped by SIGINT\nnext:  run the same command again\n")


def test_without_json_a_failure_leaves_stdout_empty(command: Command, retrain: Retrain) -> None:
    retrain.error = TrainingFailed("loss is NaN")
    assert command("retrain").out == ""


def test_a_dry_run_says_the_plan_and_does_nothing(
    command: Command, retrain: Retrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "describe_plan", lambda _settings, name, request: f"plan of {name} x{request.devices}")
    ended = command("retrain", "power", "--devices", "3", "--dry-run")
    assert (ended.code, ended.out) == (0, "plan of power x3\n")
    assert retrain.called == []


def test_the_clock_starts_with_the_process_not_with_the_command(command: Command, retrain: Retrain) -> None:
    import time

    command("retrain")
    start = retrain.called[0]["start"]
    assert start.monotonic_s < time.monotonic()
    assert start.epoch_s < time.time()
    assert time.time() - start.epoch_s == pytest.approx(time.monotonic() - start.monotonic_s, abs=1.0)


def test_another_node_and_another_task_have_nothing_to_plan(command: Command, retrain: Retrain) -> None:
    assert command("retrain", "--nodes", "2", "--node-rank", "1", "--dry-run").code == 0
    assert retrain.called == []


def test_a_node_that_does_not_exist_is_wrong_use(command: Command, retrain: Retrain) -> None:
    ended = command("retrain", "--nodes", "2", "--node-rank", "2", "--json")
    assert ended.code == ExitCode.USAGE
    assert json.loads(ended.out)["verdict"] == "failed"
    assert retrain.called == []

"""From retrains and slots to alerts: one per change of state, whoever looks, however often, whatever dies between."""

import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from plaster_ops.domain.conditions import Condition
from plaster_ops.domain.schedule import Cadence, iso
from plaster_ops.domain.slots import Cause, Slot, SlotState
from plaster_ops.errors import Busy, Interrupted, PlasterError, TrainingFailed, UsageError
from plaster_ops.flow import alerting
from plaster_ops.flow.alerting import BY_THE_CLOCK, Change, evaluate, link_of, send_pending, send_test
from plaster_ops.flow.lock import pipeline_lock
from plaster_ops.settings import Settings
from plaster_ops.settings_schedule import SchedulerSettings
from plaster_ops.settings_sections import PipelineSettings
from plaster_ops.tracking.alert_queue import FIRST_WAIT_S, AlertQueue
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.slots import Pause, SlotLedger
from tests.alerts.receivers import TOKEN, Web, closed_port, web_receiver
from tests.conftest import SteppedClock
from tests.flow.conftest import Retrain
from tests.flow.walk import Store, Walk
from tests.tracking.samples import finish, make_record, start

GATE = "accuracy gate failed: accuracy/rolling_score -0.0800, allowed 0.01"
HOOK = {"kind": "webhook", "url_env": "PLASTER_TEST_HOOK"}


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    with web_receiver() as receiver:
        monkeypatch.setenv("PLASTER_TEST_HOOK", receiver.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield receiver


@pytest.fixture
def alerted(settings: Settings) -> Settings:
    """The project with one webhook."""
    return changed(settings, alerts=[HOOK])


def changed(settings: Settings, **pipeline: Any) -> Settings:
    plain = settings.pipelines["digits"].model_dump() | pipeline
    return settings.model_copy(update={"pipelines": {"digits": PipelineSettings.model_validate(plain)}})


@pytest.fixture
def look(journal: Journal, alerted: Settings, clock: SteppedClock) -> Callable[..., list[tuple[str, str]]]:
    """One evaluation, and the condition and state of every change."""

    def run(settings: Settings = alerted, **asked: Any) -> list[tuple[str, str]]:
        found = evaluate(SlotLedger(journal.file), journal, settings, clock.epoch, **asked)
        return [(change.condition, change.state) for change in found]

    return run


def hold(journal: Journal, reason: str = GATE) -> None:
    finish(journal, verdict="held", exit_code=3, reasons=(reason,))


# ---- retrains, by the command's own door ---------------------------------------------------------------------------
def test_thirty_retrains_with_two_regressions_are_four_alerts(
    retrain: Retrain,
    walk: Walk,
    store: Store,
    alerted: Settings,
    web: Web,
    caplog: pytest.LogCaptureFixture,
    events: list[dict[str, Any]],
) -> None:
    """Nights 8 to 10 and 20 to 24 are held. No file, log line, event, record or answer holds the address."""
    caplog.set_level(logging.DEBUG)
    told, expected = [], []
    for night in range(1, 31):
        walk.arrived += 4
        walk.score_drop = 0.08 if night in (8, 9, 10, 20, 21, 22, 23, 24) else 0.0
        told.append(retrain(project=alerted))
        expected += {8: ["firing"], 11: ["resolved"], 20: ["firing"], 25: ["resolved"]}.get(night, [])
        assert [state for _, _, state in web.changes] == expected, f"after retrain {night}"
    assert {condition for _, condition, _ in web.changes} == {"regressed"}
    assert [body["run"]["index"] for body in web.got] == [8, 11, 20, 25]
    assert web.got[0]["reason"].startswith("#8 was held: golden gate failed: accuracy/engine_score -0.0800")
    assert web.got[0]["since"] == web.got[1]["since"] == web.got[0]["at"] < web.got[1]["at"]
    assert len({body["id"] for body in web.got}) == 4
    assert len(web.asked) == 4
    assert len(store.plans) == 30
    texts = json.dumps([told, events], default=str) + repr(store.plans) + caplog.text
    files = [file.read_bytes() for file in alerted.project.rglob("*") if file.is_file()]
    assert len(files) > 300
    assert TOKEN not in texts
    assert not any(TOKEN.encode() in content for content in files)


def test_a_retrain_that_fails_is_told_and_so_is_the_next_one_that_does_not(
    retrain: Retrain, walk: Walk, alerted: Settings, web: Web
) -> None:
    retrain(project=alerted)
    for _ in range(3):
        walk.arrived += 4
        walk.errors["fit"] = TrainingFailed("loss is nan", "look at the data")
        with pytest.raises(TrainingFailed):
            retrain(project=alerted)
    del walk.errors["fit"]
    retrain(project=alerted)
    assert web.changes == [("digits", "failing", "firing"), ("digits", "failing", "resolved")]
    assert web.got[0]["reason"] == "#2 failed with exit code 10: loss is nan"
    assert web.got[1]["reason"] == "#5 was promoted: no gate failed"


def test_a_budget_that_is_exceeded_is_told(retrain: Retrain, alerted: Settings, web: Web) -> None:
    retrain(project=changed(alerted, budgets={"data_to_deploy_s": 10.0}))
    assert web.changes == [("digits", "over_budget", "firing")]
    assert "budget 10 s" in web.got[0]["reason"]


def test_a_receiver_that_is_down_changes_nothing_of_a_retrain_and_is_told_by_the_next(
    retrain: Retrain, walk: Walk, alerted: Settings, web: Web, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLASTER_TEST_HOOK", f"http://127.0.0.1:{closed_port()}/{TOKEN}")
    retrain(project=alerted)
    walk.arrived, walk.score_drop = 14, 0.08
    held = retrain(project=alerted)
    assert (held["verdict"], held["exit_code"]) == ("held", 3)
    monkeypatch.setenv("PLASTER_TEST_HOOK", web.url)
    clock.step(FIRST_WAIT_S)
    assert retrain(project=alerted)["verdict"] == "skipped"
    assert web.changes == [("digits", "regressed", "firing")]


def test_what_goes_wrong_with_alerts_never_changes_how_a_retrain_ends(
    retrain: Retrain, walk: Walk, alerted: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise errors.pop(0)

    errors: list[BaseException] = [
        ValueError(f"unknown url type {TOKEN}"),
        Interrupted(signal.SIGTERM),
        PlasterError("the journal is locked"),
    ]
    told: list[str] = []
    monkeypatch.setattr(alerting, "evaluate", broken)
    monkeypatch.setattr(alerting._log, "warning", lambda text, *values: told.append(text % values))
    verdicts = []
    for arrived in (10, 14, 18):
        walk.arrived = arrived
        verdicts.append(retrain(project=alerted)["verdict"])
    assert verdicts == ["baseline", "promoted", "promoted"]
    assert errors == []
    assert len(told) == 3
    assert TOKEN not in str(told)
    assert "the journal is locked" in told[2]


def test_a_command_that_was_told_to_stop_or_found_another_at_work_looks_at_nothing(
    retrain: Retrain, walk: Walk, alerted: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Any] = []
    monkeypatch.setattr(alerting, "evaluate", lambda *given, **_: looks.append(given) or [])
    walk.errors["fit"] = Interrupted(signal.SIGTERM)
    with pytest.raises(Interrupted):
        retrain(project=alerted)
    with pipeline_lock(alerted.memory / "locks", "digits", "digits"), pytest.raises(Busy):
        retrain(project=alerted)
    assert looks == []
    walk.errors["fit"] = TrainingFailed("loss is nan", "")
    with pytest.raises(TrainingFailed):
        retrain(project=alerted)
    assert len(looks) == 1


def test_the_progress_names_the_change_where_somebody_is_told_of_it(
    retrain: Retrain, walk: Walk, alerted: Settings, settings: Settings, web: Web, events: list[dict[str, Any]]
) -> None:
    retrain(project=alerted)
    walk.arrived, walk.score_drop = 14, 0.08
    retrain(project=alerted)
    notes = [event["text"] for event in events if event["event"] == "note" and event["text"].startswith("alert: ")]
    assert len(notes) == 1
    assert notes[0].startswith("alert: digits is regressed: #2 was held: golden gate failed")
    walk.arrived, walk.score_drop = 18, 0.0
    retrain(project=settings)
    assert len([event for event in events if str(event.get("text")).startswith("alert: ")]) == 1
    assert len(web.got) == 1


# ---- who looks, and when -------------------------------------------------------------------------------------------
def test_a_condition_is_told_once_however_often_one_looks_and_its_reason_is_kept_up_to_date(
    journal: Journal, look: Callable[..., list[tuple[str, str]]]
) -> None:
    finish(journal)
    assert look() == []
    hold(journal)
    assert look() == [("regressed", "firing")]
    hold(journal, GATE.replace("-0.0800", "-0.0900"))
    assert look() == []
    ((_, reason),) = SlotLedger(journal.file).conditions("digits").values()
    assert "-0.0900" in reason
    finish(journal)
    assert (look(), look()) == ([("regressed", "resolved")], [])
    assert SlotLedger(journal.file).conditions() == {}


def test_looking_without_a_change_writes_nothing(journal: Journal, look: Callable[..., list[tuple[str, str]]]) -> None:
    hold(journal)
    look()
    changes = journal.file.row("SELECT total_changes() AS n")
    look()
    after = journal.file.row("SELECT total_changes() AS n")
    assert changes is not None
    assert after is not None
    assert changes["n"] == after["n"]


def test_without_targets_the_state_is_kept_and_nobody_is_told_later(
    journal: Journal, look: Callable[..., list[tuple[str, str]]], settings: Settings
) -> None:
    hold(journal)
    assert look(settings) == [("regressed", "firing")]
    assert AlertQueue(journal.file).waiting() == []
    assert look() == []
    assert AlertQueue(journal.file).waiting() == []


def test_every_target_gets_its_own_copy_of_one_message(
    journal: Journal, look: Callable[..., list[tuple[str, str]]], settings: Settings
) -> None:
    hold(journal)
    look(changed(settings, alerts=[HOOK, HOOK, {"kind": "slack", "url_env": "CHAT"}]))
    waiting = AlertQueue(journal.file).waiting()
    assert [each.target for each in waiting] == ["webhook:PLASTER_TEST_HOOK", "slack:CHAT"]
    assert waiting[0].message == waiting[1].message


LOOKER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from plaster_ops.flow.alerting import evaluate, send_pending
    from plaster_ops.settings import load_settings
    from plaster_ops.tracking.journal import Journal
    from plaster_ops.tracking.slots import SlotLedger

    settings = load_settings(Path(sys.argv[1]))
    with Journal.open(settings.memory) as journal:
        ledger = SlotLedger(journal.file)
        print("ready", flush=True)
        sys.stdin.readline()
        changes = evaluate(ledger, journal, settings, float(sys.argv[2]))
        print(len(changes), flush=True)
        if len(sys.argv) > 3:
            sys.stdin.readline()
        print(send_pending(ledger, settings, float(sys.argv[2])).sent, flush=True)
    """
)


def look_in_a_process(settings: Settings, now_s: float, *more: str) -> subprocess.Popen[str]:
    file = settings.project / "plaster.toml"
    file.write_text('[pipelines.digits]\nref = "m:p"\nalerts = [{ kind = "webhook", url_env = "PLASTER_TEST_HOOK" }]\n')
    environment = os.environ | {"PYTHONPATH": str(Path(alerting.__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-c", LOOKER, str(settings.project), str(now_s), *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert said(process) == "ready"
    return process


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_two_processes_that_look_at_once_send_one_alert(
    journal: Journal, alerted: Settings, web: Web, clock: SteppedClock
) -> None:
    hold(journal)
    lookers = [look_in_a_process(alerted, clock.epoch) for _ in range(3)]
    for looker in lookers:
        go_on(looker)
    found = [(said(looker), said(looker)) for looker in lookers]
    for looker in lookers:
        looker.communicate()
    assert sorted(changes for changes, _ in found) == ["0", "0", "1"]
    assert sum(int(sent) for _, sent in found) == 1
    assert web.changes == [("digits", "regressed", "firing")]


def test_a_kill_between_a_change_and_its_alert_loses_neither(
    journal: Journal, alerted: Settings, web: Web, clock: SteppedClock, look: Callable[..., list[tuple[str, str]]]
) -> None:
    hold(journal)
    looker = look_in_a_process(alerted, clock.epoch, "wait")
    go_on(looker)
    assert said(looker) == "1"
    looker.kill()
    looker.communicate()
    assert web.got == []
    assert look() == []
    assert send_pending(SlotLedger(journal.file), alerted, clock.epoch).sent == 1
    assert web.changes == [("digits", "regressed", "firing")]


def test_a_look_with_old_facts_never_undoes_a_newer_one(
    journal: Journal, look: Callable[..., list[tuple[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the first look, which sees a regression, and the write, another retrain is promoted and looked at."""
    hold(journal)
    differs = alerting._differs

    def meanwhile(*given: Any) -> bool:
        monkeypatch.setattr(alerting, "_differs", differs)
        finish(journal)
        assert look() == []
        return differs(*given)

    monkeypatch.setattr(alerting, "_differs", meanwhile)
    assert look() == []
    assert SlotLedger(journal.file).conditions() == {}


# ---- slots ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def hourly(alerted: Settings) -> Settings:
    return changed(alerted, cadence={"every": "1h"}).model_copy(update={"scheduler": SchedulerSettings(check_s=900)})


def put(journal: Journal, state: SlotState, planned_s: float, **more: Any) -> Slot:
    slot = Slot(pipeline="digits", planned_s=planned_s, due_s=planned_s, state=state, **more)
    with SlotLedger(journal.file).write() as write:
        write.add([slot])
    return slot


def test_a_service_that_is_gone_is_noticed_by_the_slot_that_nobody_accounted_for(
    journal: Journal, hourly: Settings, clock: SteppedClock, look: Callable[..., list[tuple[str, str]]]
) -> None:
    cadence = hourly.pipelines["digits"].cadence.cadence()
    assert cadence is not None
    clock.epoch = 3600.0 * 500_000 + 1.0
    assert look(hourly) == []
    with SlotLedger(journal.file).write() as write:
        write.account("digits", cadence.text, clock.epoch)
    clock.epoch += 3599.0 + 900.0
    assert look(hourly, only=BY_THE_CLOCK) == []
    clock.epoch += 1.0
    assert look(hourly, only=BY_THE_CLOCK) == [("late", "firing")]
    (alert,) = AlertQueue(journal.file).waiting()
    assert alert.message.reason.endswith(f"at {iso(3600.0 * 500_001)}: no scheduler and no cron saw that slot")
    assert (alert.message.run, alert.message.link) == (None, None)
    assert alert.message.look == "plaster-ops schedule history digits"
    put(journal, SlotState.RUNNING, 3600.0 * 500_001, started_s=3600.0 * 500_001 + 5)
    with SlotLedger(journal.file).write() as write:
        write.account("digits", cadence.text, 3600.0 * 500_001)
    assert look(hourly) == [("late", "resolved")]


def test_without_a_service_the_last_retrain_tells_which_slot_is_overdue(
    journal: Journal, hourly: Settings, clock: SteppedClock, look: Callable[..., list[tuple[str, str]]]
) -> None:
    row = finish(journal)
    began_s = alerting_seconds(row.started_at)
    following = Cadence(every_s=3600.0).next_after(began_s)
    assert following is not None
    clock.epoch = following + 900
    assert look(hourly) == []
    clock.epoch += 1
    assert look(hourly) == [("late", "firing")]
    with SlotLedger(journal.file).write() as write:
        write.pause("digits", Pause(at_s=clock.epoch, by="ada", reason="holidays"))
    assert look(hourly) == [("late", "resolved")]
    assert AlertQueue(journal.file).waiting()[-1].message.reason == "paused by ada: holidays"


def alerting_seconds(instant: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(instant).timestamp()


def test_a_retrain_that_goes_on_past_the_next_slot_is_not_late_under_cron(
    journal: Journal, hourly: Settings, clock: SteppedClock, look: Callable[..., list[tuple[str, str]]]
) -> None:
    row = start(journal)
    clock.epoch = alerting_seconds(row.started_at) + 20_000
    assert look(hourly) == []


def test_a_slot_that_fails_without_a_retrain_is_told(
    journal: Journal, hourly: Settings, clock: SteppedClock, look: Callable[..., list[tuple[str, str]]]
) -> None:
    put(journal, SlotState.RAN, clock.epoch - 7200, started_s=clock.epoch - 7200, ended_s=clock.epoch - 7000)
    assert look(hourly) == []
    put(
        *(journal, SlotState.FAILED, clock.epoch - 3600),
        started_s=clock.epoch - 3600,
        ended_s=clock.epoch - 3590,
        exit_code=2,
        reason="no such module",
    )
    assert look(hourly, only=BY_THE_CLOCK) == [("failing", "firing")]
    put(journal, SlotState.SKIPPED, clock.epoch - 1800, ended_s=clock.epoch - 1800, reason="overlap")
    assert look(hourly) == []
    put(
        *(journal, SlotState.RAN, clock.epoch - 600),
        cause=Cause.DATA,
        started_s=clock.epoch - 600,
        ended_s=clock.epoch - 500,
        verdict="promoted",
    )
    assert look(hourly) == [("failing", "resolved")]


def test_a_clock_only_look_leaves_the_other_conditions_as_they_were(
    journal: Journal, look: Callable[..., list[tuple[str, str]]]
) -> None:
    hold(journal)
    assert look(only=BY_THE_CLOCK) == []
    assert look() == [("regressed", "firing")]
    finish(journal)
    assert look(only=BY_THE_CLOCK) == []
    assert look(pipelines=["power"]) == []
    assert look() == [("regressed", "resolved")]


# ---- where to look -------------------------------------------------------------------------------------------------
def test_the_link_is_the_runs_page_without_a_password(journal: Journal) -> None:
    row = replace(finish(journal), mlflow_run_id="abc", tracking_uri=f"https://me:{TOKEN}@mlflow.example/sub/")
    assert link_of(row) == "https://mlflow.example/sub/#/runs/abc"
    assert link_of(replace(row, mlflow_run_id=None)) is None
    assert link_of(replace(row, tracking_uri="sqlite:///mlruns/mlflow.db")) is None


def test_a_message_names_the_folder_of_the_run_or_the_command_that_tells_of_it(
    journal: Journal, look: Callable[..., list[tuple[str, str]]], tmp_path: Path
) -> None:
    finish(journal, folder=tmp_path, verdict="held", exit_code=3, reasons=(GATE,))
    look()
    row = start(journal)
    record = make_record(row.uid, row.index or 0, folder=None)
    journal.fail_run(row.uid, "failed", ["loss is nan"], 10, record)
    look()
    first, second = (each.message for each in AlertQueue(journal.file).waiting())
    assert first.look is not None
    assert first.look.endswith("artifacts")
    assert second.look == "plaster-ops history digits"
    assert (first.project, first.pipeline) == ("project", "digits")
    assert second.run == {"index": 2, "id": row.uid, "uid": row.uid}


# ---- a test by hand ------------------------------------------------------------------------------------------------
def test_a_test_message_is_marked_and_goes_to_every_target(alerted: Settings, web: Web, clock: SteppedClock) -> None:
    both = changed(alerted, alerts=[HOOK, {"kind": "slack", "url_env": "CHAT"}])
    answers = send_test(both, None, clock.epoch)
    assert [(target.name, answer.ok, answer.detail) for target, answer in answers] == [
        ("webhook:PLASTER_TEST_HOOK", True, "answered 200"),
        ("slack:CHAT", False, "CHAT is not set"),
    ]
    (body,) = web.got
    assert (body["test"], body["condition"], body["pipeline"]) == (True, "test", "digits")


def test_a_pipeline_without_targets_has_nothing_to_test(settings: Settings, clock: SteppedClock) -> None:
    with pytest.raises(UsageError, match="'digits' has no alerts"):
        send_test(settings, None, clock.epoch)


def test_a_change_has_a_headline() -> None:
    from plaster_ops.domain.alert import AlertState

    change = Change(
        pipeline="digits", condition=Condition.OVER_BUDGET, state=AlertState.RESOLVED, reason="", since_s=0.0
    )
    assert change.headline == "digits is no longer over budget"

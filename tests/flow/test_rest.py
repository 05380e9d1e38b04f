"""The plan of a dry run, the record's small sections, the doctor's rows, and the command of the UI."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from plaster_ops.errors import PlasterError
from plaster_ops.flow import doctor, plan, ui
from plaster_ops.flow.history import history_rows
from plaster_ops.flow.retrain import Request
from plaster_ops.flow.sections import data_section, input_shapes
from plaster_ops.flow.wiring import open_ports
from plaster_ops.settings import Settings
from plaster_ops.settings_sections import PipelineSettings
from plaster_ops.tracking.alert_queue import AlertQueue
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.page_links import PageLinks
from plaster_ops.tracking.slots import SlotLedger
from tests.flow.conftest import Retrain
from tests.flow.walk import Walk
from tests.tracking.samples import finish


# ---- plan ----------------------------------------------------------------------------------------------------------
def test_a_plan_says_what_would_be_done(walk: Walk, settings: Settings) -> None:
    text = plan.describe_plan(settings, None, Request(devices=2))
    for part in ("window None -> 8, held out up to 10", "scratch", "2 x 1 node", "fp32", "no earlier run: a baseline"):
        assert part in text
    assert "gate       accuracy: accuracy/rolling_score may get worse by 0.01" in text
    assert walk.calls == {"prepare": 1}


def test_a_plan_knows_what_came_before(walk: Walk, retrain: Retrain, settings: Settings) -> None:
    retrain()
    assert "would skip: nothing new arrived since 10" in plan.describe_plan(settings, None, Request())
    walk.arrived = 14
    text = plan.describe_plan(settings, None, Request(compare="champion", measure=False))
    assert "warm from #1" in text
    assert "champion = #1" in text
    assert "nothing (--no-measure)" in text


def test_a_plan_says_whether_all_candidates_are_tried_or_the_last_winner_again(
    walk: Walk, retrain: Retrain, settings: Settings
) -> None:
    first = plan.describe_plan(settings, None, Request())
    assert "every candidate is tried: the first engine of this pipeline" in first
    retrain()
    walk.arrived = 14
    assert "fp32 of #1, reused, refitted or built anew" in plan.describe_plan(settings, None, Request())
    assert "every candidate is tried: --ladder" in plan.describe_plan(settings, None, Request(ladder=True))


def test_a_plan_refuses_an_option_that_no_backend_takes_before_it_reads_data(walk: Walk, settings: Settings) -> None:
    pipeline = settings.pipelines["digits"]
    engine = pipeline.engine.model_copy(update={"backends": ("openvino",), "options": {"openvino.hinnt": "latency"}})
    wrong = pipeline.model_copy(update={"engine": engine})
    with pytest.raises(PlasterError, match="hinnt"):
        plan.describe_plan(settings.model_copy(update={"pipelines": {"digits": wrong}}), None, Request())
    assert walk.calls == {}


def test_a_plan_leaves_no_run_and_no_files(walk: Walk, settings: Settings) -> None:
    del walk
    plan.describe_plan(settings, None, Request())
    with Journal.open(settings.memory) as journal:
        assert journal.history() == []
    assert list((settings.memory / "work").iterdir()) == []
    assert not (settings.memory / "runs").exists()


# ---- record --------------------------------------------------------------------------------------------------------
def test_input_shapes_leave_the_batch_out_and_mark_what_is_dynamic() -> None:
    inputs = [
        {"dtype": "int64", "shape": [None]},
        {"dtype": "float32", "shape": [1, 8, None]},
        {"dtype": "bool", "shape": []},
    ]
    assert input_shapes({"inputs": inputs}) == ("int64[?]", "float32[1, 8, ?]", "bool[]")


def test_the_data_of_a_run_that_never_saw_any_is_unknown_not_zero() -> None:
    assert set(data_section({}).values()) == {None}


def test_the_history_marks_the_champion_and_what_the_tracker_has(
    retrain: Retrain, walk: Walk, settings: Settings
) -> None:
    assert history_rows(settings, None, 5) == []
    retrain()
    walk.arrived, walk.score_drop = 14, 0.05
    retrain()
    first, second = history_rows(settings, "digits", 5)
    assert (first["champion"], second["champion"]) == (True, False)
    assert (first["verdict"], second["verdict"], second["exit_code"]) == ("baseline", "held", 3)
    assert first["in_mlflow"] is True
    assert first["headlines"]["size/engine_bytes"] == 1000
    assert first["headlines"]["latency/e2e_p50_ms"] is None


# ---- doctor --------------------------------------------------------------------------------------------------------
def findings(settings: Settings) -> dict[str, doctor.Finding]:
    return {finding.what: finding for finding in doctor.examine(settings, fix=False)}


def with_ref(settings: Settings, ref: str) -> Settings:
    return settings.model_copy(update={"pipelines": {"digits": PipelineSettings(ref=ref)}})


def test_the_doctor_says_of_each_thing_whether_it_is_there(settings: Settings, root: Path) -> None:
    found = findings(with_ref(settings, "tests.flow.walk:Backend").model_copy(update={"project": root.parent / "none"}))
    assert found["python"].ok is True
    assert {"torch", "mlflow", "openvino", "eager", "inductor"} <= found.keys()
    assert found["tensorrt"].ok is None
    assert all(finding.next_step for finding in found.values() if finding.ok is False)


def test_a_pipeline_whose_module_is_nowhere_is_bad_and_names_its_setting(settings: Settings) -> None:
    bad = findings(with_ref(settings, "nowhere_to_be_found.x:pipeline"))["pipeline digits"]
    assert bad.ok is False
    assert "mend ref of [pipelines.digits]" in bad.next_step
    (settings.project / "mine.py").write_text("")
    assert findings(with_ref(settings, "mine:pipeline"))["pipeline digits"].ok is True


def test_records_that_wait_are_bad_and_sync_is_the_next_step(settings: Settings) -> None:
    with Journal.open(settings.memory) as journal:
        finish(journal)
    waiting = findings(settings)["records for MLflow"]
    assert (waiting.ok, waiting.next_step) == (False, "plaster-ops sync")
    assert waiting.detail.startswith("1 records wait")


def test_the_doctor_makes_no_journal_and_says_where_the_first_retrain_will(settings: Settings) -> None:
    assert not settings.memory.exists()
    row = findings(settings)["journal"]
    assert (row.ok, row.detail) == (None, f"none yet; the first retrain makes {settings.memory}")
    assert not settings.memory.exists()


def test_a_memory_that_cannot_be_written_is_bad_and_not_the_end_of_the_doctor(settings: Settings) -> None:
    settings.memory.write_text("a file where a folder should be")
    found = findings(settings)
    assert found["journal"].ok is False
    assert found["python"].ok is True


def test_each_target_of_alerts_is_ready_or_not_and_nothing_is_sent(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "https://hooks.example/secret"
    monkeypatch.setenv("HOOK", secret)
    monkeypatch.setenv("MAIL", "smtp://nobody")
    monkeypatch.delenv("CHAT", raising=False)
    kinds = {"webhook": "HOOK", "smtp": "MAIL", "slack": "CHAT"}
    plain = {"ref": "m:p", "alerts": [{"kind": kind, "url_env": name} for kind, name in kinds.items()]}
    pipelines = {"digits": PipelineSettings.model_validate(plain)}
    found = findings(settings.model_copy(update={"pipelines": pipelines}))
    assert (found["alert webhook:HOOK of digits"].ok, found["alert webhook:HOOK of digits"].detail) == (True, "ready")
    assert found["alert slack:CHAT of digits"].ok is False
    assert found["alert slack:CHAT of digits"].detail == "CHAT is not set"
    assert found["alert smtp:MAIL of digits"].detail.startswith("MAIL is set, but it must end in ?from=")
    assert found["alert smtp:MAIL of digits"].next_step.startswith("set MAIL where retrains are started")
    assert secret not in repr(found)


def test_alerts_that_wait_or_were_given_up_are_bad(settings: Settings) -> None:
    assert "alerts" not in findings(settings)
    with Journal.open(settings.memory) as journal:
        ledger, queue = SlotLedger(journal.file), AlertQueue(journal.file)
        message = {"id": "1", "project": "p", "pipeline": "digits", "condition": "late", "state": "firing"}
        text = json.dumps(message | {"reason": "late", "since": "then", "at": "now"})
        with ledger.write() as write:
            for _ in range(2):
                write.queue_alert("digits", "webhook:HOOK", text, time.time())
        first, second = queue.waiting()
        queue.note(first, "answered 500")
        queue.drop(second, "answered 500", time.time())
    row = findings(settings)["alerts"]
    assert (row.ok, row.detail) == (False, "1 wait: answered 500, 1 given up in the last week")


# ---- ui ------------------------------------------------------------------------------------------------------------
def with_uri(settings: Settings, uri: str) -> Settings:
    return settings.model_copy(update={"tracking_uri": uri})


def test_the_ui_is_one_worker_on_the_projects_own_store(settings: Settings) -> None:
    with open_ports(with_uri(settings, "sqlite:///mlruns/mlflow.db")) as ports:
        command = ui.ui_command(ports, host="127.0.0.1", port=5001)
    options = dict(zip(command[4::2], command[5::2], strict=True))
    assert options["--workers"] == "1"
    assert options["--backend-store-uri"] == f"sqlite:///{settings.memory / 'mlflow.db'}"
    assert str(settings.memory / "artifacts") in options["--artifacts-destination"]
    assert (options["--host"], options["--port"]) == ("127.0.0.1", "5001")


def test_the_ui_replaces_this_process_with_job_execution_off(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []
    monkeypatch.setattr(ui.os, "execve", lambda *given: started.append(given))
    ui.serve_ui(with_uri(settings, "sqlite:///mlruns/mlflow.db"), host="127.0.0.1", port=5001)
    ((program, command, env),) = started
    assert program == command[0]
    assert env["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"


def test_a_store_that_is_a_server_tells_its_own_addresses(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    links = PageLinks(pipeline="digits", rows=(("runs", "#/experiments/7/runs"),))
    monkeypatch.setattr(ui, "links_of_store", lambda _location: [links])
    lines = list(ui.page_lines(with_uri(settings, "http://me:secret@mlflow:5000/"), host="127.0.0.1", port=1))
    assert lines[0] == "MLflow: http://me:***@mlflow:5000"
    assert lines[-1].endswith("runs  http://me:***@mlflow:5000/#/experiments/7/runs")


def test_an_empty_store_says_what_to_do_and_every_address_can_be_opened(settings: Settings) -> None:
    first, second = ui.page_lines(with_uri(settings, "sqlite:///mlruns/mlflow.db"), host="0.0.0.0", port=5001)
    assert first.startswith("MLflow: http://127.0.0.1:5001 ")
    assert "plaster-ops retrain" in second


def test_the_default_pipeline_comes_first_and_many_are_cut(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [PageLinks(pipeline=f"p{n}", rows=(("runs", f"#/experiments/{n}/runs"),)) for n in range(10)]
    monkeypatch.setattr(ui, "links_of_store", lambda _location: many)
    embedded = with_uri(settings, "sqlite:///mlruns/mlflow.db")
    lines = list(ui.page_lines(embedded.model_copy(update={"default": "p9"}), host="::1", port=5000))
    assert (lines[1], lines[-1]) == ("  p9", "  and 2 more pipelines")
    assert "http://[::1]:5000/#/experiments/9/runs" in lines[2]


@pytest.mark.parametrize(("scope", "told"), [("gpu", "gpu"), ("", "none")])
def test_a_tag_says_what_joules_are_joules_of(
    retrain: Retrain, walk: Walk, settings: Settings, scope: str, told: str
) -> None:
    walk.scope = scope
    retrain(measure=True)
    with Journal.open(settings.memory) as journal:
        last = journal.last_finished("digits")
        assert last is not None
        record = journal.record(last.uid)
        assert record is not None
        assert record.tags["plaster.energy.scope"] == told

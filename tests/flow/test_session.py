"""A whole retrain without its processes: what is decided, what is kept, and what is left after each way to end."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from plaster_ops.domain.timeline import Phase
from plaster_ops.errors import (
    ArtifactTampered,
    Busy,
    ChildFailed,
    ExitCode,
    Interrupted,
    PlasterError,
    Postponed,
    TimedOut,
    TrackingUnavailable,
    TrainingFailed,
    UsageError,
)
from plaster_ops.flow import session
from plaster_ops.flow.lock import device_lock, pipeline_lock
from plaster_ops.settings import Settings
from plaster_ops.settings_sections import PipelineSettings
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_rows import RunState
from plaster_ops.training.nodes.part import Part
from tests.conftest import SteppedClock
from tests.flow.conftest import Retrain
from tests.flow.walk import FIT_S, LAUNCH_S, PARITY_S, SECONDS, Store, Walk


def memory(settings: Settings) -> Journal:
    return Journal.open(settings.memory)


def changed(settings: Settings, **pipeline: Any) -> Settings:
    plain = settings.pipelines["digits"].model_dump() | pipeline
    return settings.model_copy(update={"pipelines": {"digits": PipelineSettings.model_validate(plain)}})


def test_only_a_warm_start_replays_a_draw_and_the_record_says_what_was_trained_on(
    retrain: Retrain, walk: Walk, settings: Settings
) -> None:
    replaying = changed(settings, data={"window": "all", "replay_ratio": 1.0})
    first = retrain(project=replaying)
    assert "replay_ratio" not in walk.specs["fit"]["window"]
    assert first["data"]["replay_ratio"] is None
    walk.arrived = 14
    warm = retrain(project=replaying)
    assert walk.specs["prepare"]["replay_ratio"] == 1.0
    assert walk.specs["fit"]["window"]["replay_ratio"] == 1.0
    assert (warm["data"]["train_samples"], warm["data"]["replay_ratio"]) == (7, 1.0)
    walk.arrived = 18
    scratch = retrain(project=replaying, scratch=True)
    assert walk.specs["prepare"]["replay_ratio"] is None
    assert (scratch["data"]["train_samples"], scratch["data"]["replay_ratio"]) == (16, None)


# ---- the good ways to end ------------------------------------------------------------------------------------------
def test_the_first_retrain_is_the_baseline_and_the_champion(retrain: Retrain, settings: Settings, store: Store) -> None:
    told = retrain()
    assert (told["verdict"], told["exit_code"], told["run"]["index"]) == ("baseline", 0, 1)
    assert told["baseline"] is None
    with memory(settings) as journal:
        champion = journal.champion("digits")
        assert champion is not None
        assert (champion.uid, champion.state) == (told["run"]["uid"], RunState.FINISHED)
        assert journal.watermarks("digits") == (10, 8)
    assert store.aliases["digits"]["champion"] == 1


def test_a_second_retrain_on_new_data_is_promoted_against_the_first(retrain: Retrain, walk: Walk) -> None:
    first = retrain()
    walk.arrived = 14
    second = retrain()
    assert second["verdict"] == "promoted"
    assert second["baseline"] == {"index": 1, "id": first["run"]["uid"], "which": "last", "how": "stored"}
    assert second["data"]["from"] == 8
    assert second["data"]["to"] == 14
    assert walk.specs["fit"]["start"] == "warm"
    assert walk.specs["fit"]["warm_weights"].endswith("fit/weights.safetensors")


def test_seven_headlines_are_there_and_what_was_not_timed_says_so(retrain: Retrain) -> None:
    heads = [row for row in retrain()["card"] if row["headline"]]
    assert [row["letter"] for row in heads] == list("PLASTER")
    reasons = {row["letter"]: row["reason"] for row in heads if row["value"] is None}
    assert reasons == dict.fromkeys("LTE", "not timed: --no-measure")


def test_a_worse_score_holds_the_run_and_loses_no_data(retrain: Retrain, walk: Walk, settings: Settings) -> None:
    first = retrain()
    walk.arrived, walk.score_drop = 14, 0.05
    held = retrain()
    assert (held["verdict"], held["exit_code"]) == ("held", ExitCode.HELD)
    assert "accuracy gate failed" in held["reasons"][0]
    with memory(settings) as journal:
        champion = journal.champion("digits")
        assert champion is not None
        assert champion.uid == first["run"]["uid"]
        assert journal.watermarks("digits") == (14, 8)
    walk.arrived, walk.score_drop = 18, 0.0
    third = retrain()
    assert third["verdict"] == "promoted"
    assert held["data"]["from"] == 8
    assert (third["data"]["from"], third["data"]["new_samples"], third["data"]["seen_before"]) == (8, 10, 14)


def test_a_held_run_is_last_but_gates_stay_with_the_champion(retrain: Retrain, walk: Walk) -> None:
    retrain()
    walk.arrived, walk.score_drop = 14, 0.05
    retrain()
    walk.arrived, walk.score_drop = 18, 0.0
    third = retrain()
    assert third["baseline"]["index"] == 2
    assert {row["label"] for row in walk.specs["evaluate"]["engines"]} == {"now", "run1", "run2"}
    shown = retrain_against_champion(retrain, walk)
    assert shown["baseline"]["which"] == "champion"
    assert shown["baseline"]["index"] == 3


def retrain_against_champion(retrain: Retrain, walk: Walk) -> dict[str, Any]:
    walk.arrived += 4
    return retrain(compare="champion")


def test_side_by_side_measurement_decides_the_latency_gate(retrain: Retrain, walk: Walk) -> None:
    retrain(measure=True)
    walk.arrived, walk.slower = 14, 0.2
    held = retrain(measure=True)
    assert (held["verdict"], held["exit_code"], held["baseline"]["how"]) == ("held", 3, "remeasured")
    rows = {row["key"]: row for row in held["comparison"]}
    p50 = rows["latency/e2e_p50_ms"]
    assert p50["verdict"] == "worse"
    assert p50["change_ratio"] == pytest.approx(0.2, abs=0.001)
    assert "latency gate failed: latency/e2e_p50_ms +20.0 %" in held["reasons"][0]
    assert rows["energy/inferences_per_j"]["verdict"] == "not_comparable"
    assert walk.calls["measure"] == 6
    speedup = next(row for row in held["card"] if row["key"] == "programmability/speedup_vs_eager_ratio")
    assert speedup["value"] == pytest.approx(1 / 1.2, abs=0.001)


def test_an_equal_engine_measured_side_by_side_is_the_same(retrain: Retrain, walk: Walk) -> None:
    retrain(measure=True)
    walk.arrived = 14
    told = retrain(measure=True)
    verdicts = {row["key"]: row["verdict"] for row in told["comparison"] if row["headline"]}
    assert verdicts["latency/e2e_p50_ms"] == verdicts["throughput/slo_samples_per_s"] == "same"
    assert verdicts["size/engine_bytes"] == verdicts["programmability/engine_flops_ratio"] == "same"
    assert told["verdict"] == "promoted"


def test_nothing_new_is_a_recorded_skip_that_trains_nothing(retrain: Retrain, walk: Walk, settings: Settings) -> None:
    retrain()
    told = retrain(trigger="cron", slot="2026-11-24T02:00:00+00:00")
    assert (told["verdict"], told["exit_code"], told["run"]) == ("skipped", 0, None)
    assert told["data"]["new_samples"] == 0
    assert (walk.calls["fit"], walk.calls["prepare"]) == (1, 2)
    with memory(settings) as journal:
        skip = journal.history("digits")[-1]
        assert (skip.state, skip.index, skip.slot) == (RunState.SKIPPED, None, "2026-11-24T02:00:00+00:00")
        assert skip.reasons == ("nothing new arrived since 10",)
    walk.arrived = 14
    assert retrain()["run"]["index"] == 2


def test_no_promote_holds_even_the_first_engine(retrain: Retrain, settings: Settings) -> None:
    told = retrain(promote=False)
    assert (told["verdict"], told["exit_code"]) == ("held", 0)
    assert told["reasons"][0] == "held by --no-promote"
    with memory(settings) as journal:
        assert journal.champion("digits") is None
        assert journal.watermarks("digits") == (10, None)


def test_a_required_gate_that_could_not_be_measured_ends_with_6(
    retrain: Retrain, walk: Walk, settings: Settings
) -> None:
    strict = changed(settings, gates={"energy": {"max_drop_ratio": 0.05, "required": True}})
    retrain(project=strict)
    walk.arrived = 14
    told = retrain(project=strict, measure=True)
    assert (told["verdict"], told["exit_code"]) == ("held", ExitCode.NOT_MEASURED)
    assert told["reasons"] == ["energy gate required, but not measured now: no NVML, no RAPL"]


@pytest.mark.parametrize(("word", "code"), [("inconclusive", 5), ("not_comparable", 4)])
def test_fail_on_turns_an_open_verdict_into_a_failure(retrain: Retrain, walk: Walk, word: str, code: int) -> None:
    retrain()
    walk.arrived = 14
    told = retrain(fail_on=frozenset({word}))
    assert (told["verdict"], told["exit_code"]) == ("promoted", code)


def test_another_run_promoted_meanwhile_is_not_overwritten(retrain: Retrain, walk: Walk, settings: Settings) -> None:
    retrain()
    walk.arrived = 14
    retrain(promote=False)

    def promote_the_second() -> None:
        with memory(settings) as journal:
            first, second = journal.find_run("digits", "1"), journal.find_run("digits", "2")
            assert journal.promote("digits", second.uid, expected=first.uid, by="someone", reason="by hand")

    walk.arrived, walk.before = 18, {"export": promote_the_second}
    told = retrain()
    assert (told["verdict"], told["exit_code"]) == ("held", 3)
    assert "another run became champion" in told["reasons"][0]
    with memory(settings) as journal:
        champion = journal.champion("digits")
        assert champion is not None
        assert champion.index == 2


# ---- time ----------------------------------------------------------------------------------------------------------
def test_every_second_has_its_phase(retrain: Retrain) -> None:
    phases = retrain(measure=True)["phases"]
    expected = {
        "wait_s": 0.5,
        "data_s": SECONDS["prepare"],
        "launch_s": LAUNCH_S,
        "fit_s": FIT_S,
        "export_s": SECONDS["export"],
        "build_s": SECONDS["build"],
        "eval_s": SECONDS["trial"] + SECONDS["evaluate"] - 2 * PARITY_S,
        "parity_s": 2 * PARITY_S,
        "measure_s": 3 * SECONDS["measure"],
        "deploy_s": 0.0,
        "log_s": 0.0,
        "other_s": 0.0,
    }
    assert phases == pytest.approx(expected | {"cycle_s": sum(expected.values())})


def test_train_to_engine_ends_where_the_engine_is_accepted(retrain: Retrain) -> None:
    card = {row["key"]: row["value"] for row in retrain(measure=True)["card"]}
    stages = ("prepare", "export", "build", "trial", "evaluate")
    accepted_s = 0.5 + FIT_S + LAUNCH_S + sum(SECONDS[stage] for stage in stages)
    assert card["learning/train_to_engine_s"] == pytest.approx(accepted_s)
    assert card["learning/data_to_deploy_s"] == pytest.approx(60.0 + accepted_s - 1.5 + 3 * SECONDS["measure"])


def test_an_engine_that_is_gone_is_rebuilt_and_its_seconds_are_building(
    retrain: Retrain, walk: Walk, settings: Settings
) -> None:
    retrain()
    for engine in settings.memory.glob("runs/digits/00001-*/engine-*"):
        for file in engine.iterdir():
            file.unlink()
        engine.rmdir()
    walk.arrived = 14
    told = retrain()
    assert (walk.calls["export"], walk.calls["build"]) == (3, 3)
    assert "run1" in {row["label"] for row in walk.specs["evaluate"]["engines"]}
    assert told["phases"]["other_s"] == pytest.approx(0.0)
    assert told["phases"]["build_s"] == pytest.approx(2 * SECONDS["build"] + SECONDS["export"])


# ---- the bad ways to end -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("stage", "error", "code"),
    [
        ("fit", TrainingFailed("loss is NaN in epoch 2", "lower the learning rate"), 10),
        ("fit", TimedOut("fit: not done after 3600 s, stopped"), 124),
        ("export", PlasterError("cannot export"), 1),
        ("evaluate", ChildFailed("evaluate", "it crashed", ""), 11),
    ],
)
def test_a_stage_that_fails_is_recorded_and_leaves_the_champion_alone(
    retrain: Retrain, walk: Walk, settings: Settings, store: Store, stage: str, error: PlasterError, code: int
) -> None:
    first = retrain()
    walk.arrived, walk.errors = 14, {stage: error}
    with pytest.raises(PlasterError) as caught:
        retrain(trigger="cron")
    assert int(caught.value.exit_code) == code
    told = caught.value.payload
    assert told is not None
    json.dumps(told, allow_nan=False)
    assert (told["verdict"], told["exit_code"]) == ("failed", code)
    assert told["reasons"] == [caught.value.message]
    with memory(settings) as journal:
        failed = journal.find_run("digits", "2")
        assert (failed.state, failed.exit_code, failed.trigger) == (RunState.FAILED, code, "cron")
        assert failed.phases["data_s"] == pytest.approx(SECONDS["prepare"])
        champion = journal.champion("digits")
        assert champion is not None
        assert champion.uid == first["run"]["uid"]
        assert journal.watermarks("digits") == (10, 8)
        assert failed.uid in store.plans
    walk.errors = {}
    assert retrain()["verdict"] == "promoted"


def test_a_pipeline_that_does_not_load_leaves_a_row_but_nothing_for_the_tracker(
    retrain: Retrain, walk: Walk, settings: Settings, store: Store, events: list[dict[str, Any]]
) -> None:
    walk.errors = {"prepare": UsageError("module 'm' does not import")}
    with pytest.raises(UsageError) as caught:
        retrain()
    assert caught.value.payload is not None
    assert caught.value.payload["exit_code"] == 2
    with memory(settings) as journal:
        (row,) = journal.history("digits")
        assert (row.state, row.exit_code, row.reasons) == (RunState.FAILED, 2, ("module 'm' does not import",))
        assert journal.pending() == []
    assert store.calls == 0
    assert not [event for event in events if "MLflow" in str(event.get("text"))]


def test_an_error_that_nobody_foresaw_closes_the_run_like_any_other(
    retrain: Retrain, walk: Walk, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    walk.errors = {"export": KeyError("graph")}
    with pytest.raises(PlasterError, match="unexpected KeyError: 'graph'") as caught:
        retrain()
    assert caught.value.payload is not None
    assert (caught.value.payload["verdict"], caught.value.payload["exit_code"]) == ("failed", 1)
    assert "KeyError" in caplog.text
    with memory(settings) as journal:
        (row,) = journal.history("digits")
        assert (row.state, row.exit_code) == (RunState.FAILED, 1)


def test_a_changed_engine_file_is_never_measured_against(retrain: Retrain, walk: Walk, settings: Settings) -> None:
    retrain()
    (engine,) = settings.memory.glob("runs/digits/00001-*/engine-*/model.bin")
    engine.write_bytes(b"\x02" * 1000)
    walk.arrived = 14
    with pytest.raises(ArtifactTampered) as caught:
        retrain()
    assert caught.value.exit_code is ExitCode.BUILD_FAILED
    assert str(engine) in caught.value.message
    assert walk.calls["fit"] == 1


def test_a_retrain_that_finds_every_device_at_work_is_busy_at_once_and_leaves_no_row(
    retrain: Retrain, walk: Walk, settings: Settings
) -> None:
    with device_lock(settings.memory / "locks", 1), pytest.raises(Busy, match="as this project has devices, 1"):
        retrain()
    assert walk.calls == {}
    with memory(settings) as journal:
        assert journal.history("digits") == []


def test_a_pipeline_whose_lock_is_held_is_busy_at_once_and_leaves_no_row(
    retrain: Retrain, walk: Walk, settings: Settings
) -> None:
    with pipeline_lock(settings.memory / "locks", "digits", "digits"), pytest.raises(Busy):
        retrain()
    assert walk.calls == {}
    with memory(settings) as journal:
        assert journal.history("digits") == []


def test_an_outage_of_the_tracker_costs_nothing_and_sync_catches_up(
    retrain: Retrain, walk: Walk, store: Store, settings: Settings
) -> None:
    store.fail_with = TrackingUnavailable("connection refused")
    first = retrain()
    assert (first["verdict"], first["exit_code"]) == ("baseline", 0)
    assert first["mlflow"]["run_id"] is None
    assert first["mlflow"]["spooled"] == "connection refused"
    store.fail_with, walk.arrived = None, 14
    second = retrain()
    assert second["mlflow"]["run_id"] == f"memory-{second['run']['uid']}"
    assert list(store.plans) == [first["run"]["uid"], second["run"]["uid"]]
    with memory(settings) as journal:
        assert journal.pending() == []


# ---- interrupted and resumed ---------------------------------------------------------------------------------------
def test_an_interrupted_run_waits_and_is_not_a_failure(retrain: Retrain, walk: Walk, settings: Settings) -> None:
    walk.errors = {"build": Interrupted(15)}
    with pytest.raises(Interrupted) as caught:
        retrain()
    assert int(caught.value.exit_code) == 143
    assert caught.value.next_step == "continue it with: plaster-ops retrain digits --resume 1"
    with memory(settings) as journal:
        (row,) = journal.history("digits")
        assert (row.state, row.verdict) == (RunState.INTERRUPTED, None)
        assert journal.pending() == []


def test_a_fit_that_lacks_a_node_waits_for_the_next_plain_retrain(retrain: Retrain, walk: Walk) -> None:
    walk.errors = {"fit": Postponed("node 1 did not come within 8 s", "start it there")}
    with pytest.raises(Postponed) as caught:
        retrain()
    assert (caught.value.exit_code, caught.value.payload["exit_code"]) == (10, 10)
    assert caught.value.payload["reasons"] == ["node 1 did not come within 8 s"]
    assert caught.value.next_step.startswith("start it there; then continue it with: ")
    walk.errors = {}
    told = retrain()
    assert (told["run"]["index"], told["verdict"], walk.calls["prepare"]) == (1, "baseline", 1)


def test_an_interrupted_run_tells_what_it_knows_already(retrain: Retrain, walk: Walk) -> None:
    walk.errors = {"measure": Interrupted(2)}
    with pytest.raises(Interrupted) as caught:
        retrain(measure=True, trigger="cron")
    told: Any = caught.value.payload
    json.dumps(told, allow_nan=False)
    assert (told["pipeline"], told["verdict"], told["exit_code"]) == ("digits", "failed", 130)
    assert (told["run"]["index"], told["run"]["trigger"]) == (1, "cron")
    assert (told["data"]["to"], told["data"]["train_samples"]) == (10, 8)
    assert told["phases"]["fit_s"] == pytest.approx(FIT_S)
    assert told["phases"]["measure_s"] == pytest.approx(0.0)


def test_a_run_that_is_interrupted_on_its_way_to_the_tracker_has_ended(
    retrain: Retrain, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any) -> Any:
        raise Interrupted(2)

    monkeypatch.setattr(session, "publish", stopped)
    with pytest.raises(Interrupted) as caught:
        retrain()
    told: Any = caught.value.payload
    assert (told["verdict"], told["exit_code"], told["run"]["index"]) == ("baseline", 130, 1)
    assert "--resume" not in caught.value.next_step
    assert "plaster-ops sync" in caught.value.next_step
    with memory(settings) as journal:
        assert journal.find_run("digits", "1").state is RunState.FINISHED


def test_a_pipeline_that_is_not_declared_is_resumed_by_its_reference(
    retrain: Retrain, walk: Walk, settings: Settings
) -> None:
    walk.errors = {"fit": Interrupted(2)}
    with pytest.raises(Interrupted) as caught:
        retrain(project=settings.model_copy(update={"pipelines": {}, "default": "other:pipeline"}))
    assert "plaster-ops retrain other:pipeline --resume 1" in caught.value.next_step


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"compare": "99"}, "has no run '99'"),
        ({"compare": "1"}, "is unfinished"),
        ({"launcher": "kubernetes"}, "unknown launcher 'kubernetes'"),
        ({"launcher": "local", "part": Part(nodes=2)}, "on one node, and train.nodes = 2"),
        ({"compare": "99", "resume": "last"}, "has no run '99'"),
    ],
)
def test_a_mistake_on_the_command_line_costs_no_run(
    retrain: Retrain, walk: Walk, settings: Settings, asked: dict[str, Any], words: str
) -> None:
    walk.errors = {"fit": Interrupted(2)}
    with pytest.raises(Interrupted):
        retrain()
    with memory(settings) as journal:
        before = journal.history()
    with pytest.raises(UsageError, match=words):
        retrain(**asked)
    with memory(settings) as journal:
        assert journal.history() == before
    walk.errors = {}
    assert retrain(resume="last")["run"]["index"] == 1


def test_devices_that_are_not_here_cost_no_run(
    retrain: Retrain, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plaster_ops.training.devices.visible_gpus", lambda _environment: ("GPU-0",))
    with pytest.raises(UsageError, match="1 GPUs are visible here"):
        retrain(devices=2)
    with memory(settings) as journal:
        assert journal.history() == []


def test_a_resumed_run_does_only_what_was_left_and_is_one_run(
    retrain: Retrain, walk: Walk, settings: Settings, store: Store, clock: SteppedClock
) -> None:
    walk.errors = {"build": Interrupted(15)}
    with pytest.raises(Interrupted):
        retrain()
    clock.step(3600.0)
    walk.errors = {}
    told = retrain(resume="last")
    assert (told["verdict"], told["run"]["index"]) == ("baseline", 1)
    assert (walk.calls["prepare"], walk.calls["fit"], walk.calls["export"], walk.calls["build"]) == (1, 1, 1, 2)
    assert len(store.plans) == 1
    with memory(settings) as journal:
        assert len(journal.history("digits")) == 1


def test_a_resumed_run_keeps_the_seconds_of_each_phase(retrain: Retrain, walk: Walk, clock: SteppedClock) -> None:
    walk.errors = {"build": Interrupted(15)}
    with pytest.raises(Interrupted):
        retrain()
    clock.step(3600.0)
    walk.errors = {}
    phases = retrain(resume="last")["phases"]
    assert phases["launch_s"] == pytest.approx(LAUNCH_S)
    assert phases["fit_s"] == pytest.approx(FIT_S)
    assert phases["wait_s"] == pytest.approx(2 * 0.5)
    cycle_s = phases.pop("cycle_s")
    assert sum(phases.values()) == pytest.approx(cycle_s)
    assert cycle_s < 60


def test_a_resumed_run_is_compared_with_what_it_was_started_against(
    retrain: Retrain, walk: Walk, settings: Settings
) -> None:
    """Run 2 is promoted by hand while run 3 lies interrupted; run 3, which was to replace run 1, stays held."""
    retrain()
    walk.arrived = 14
    retrain(promote=False)
    walk.arrived, walk.errors = 18, {"export": Interrupted(2)}
    with pytest.raises(Interrupted):
        retrain()
    with memory(settings) as journal:
        first, second = journal.find_run("digits", "1"), journal.find_run("digits", "2")
        assert journal.promote("digits", second.uid, expected=first.uid, by="someone", reason="by hand")
    walk.errors = {}
    told = retrain(resume="3")
    assert {row["label"] for row in walk.specs["evaluate"]["engines"]} == {"now", "run1", "run2"}
    assert (told["baseline"]["index"], told["baseline"]["which"]) == (2, "last")
    assert told["verdict"] == "held"
    assert "another run became champion" in told["reasons"][0]


def test_a_resumed_run_keeps_the_settings_it_was_started_with(retrain: Retrain, walk: Walk, settings: Settings) -> None:
    walk.errors = {"fit": Interrupted(2)}
    with pytest.raises(Interrupted):
        retrain(scratch=True)
    walk.errors = {}
    retrain(resume="last", project=changed(settings, train={"max_epochs": 99}))
    assert walk.specs["fit"]["max_epochs"] == 20


def test_a_dead_run_is_closed_by_the_next_one_which_starts_anew(
    retrain: Retrain, walk: Walk, settings: Settings
) -> None:
    walk.errors = {"fit": Interrupted(2)}
    with pytest.raises(Interrupted):
        retrain()
    walk.errors = {}
    told = retrain()
    assert told["run"]["index"] == 2
    with memory(settings) as journal:
        dead, _ = journal.history("digits")
        assert dead.state is RunState.FAILED
        assert dead.reasons[-1] == "a new retrain was started instead of resuming it: it was stopped by hand"


def test_a_killed_run_is_continued_by_the_next_plain_retrain(
    retrain: Retrain, walk: Walk, settings: Settings, events: list[dict[str, Any]]
) -> None:
    cut_off(retrain, walk)
    told = retrain(trigger="cron")
    assert (told["run"]["index"], told["verdict"]) == (1, "baseline")
    assert (walk.calls["prepare"], walk.calls["fit"]) == (1, 2)
    assert "run #1 of digits was cut off: continuing it" in [event.get("text") for event in events]
    rows = {row["key"]: row["value"] for row in told["card"]}
    assert rows["learning/resumes_count"] == 1
    with memory(settings) as journal:
        assert [row.state for row in journal.history("digits")] == [RunState.FINISHED]


@pytest.mark.parametrize(("golden", "verdict"), [(5, "held"), (None, "promoted")])
def test_without_a_golden_set_only_the_accuracy_gate_looks_at_the_score(
    retrain: Retrain, walk: Walk, settings: Settings, golden: int | None, verdict: str
) -> None:
    wide = changed(settings, gates={"accuracy": {"max_drop": 0.1}})
    walk.golden = golden
    retrain(project=wide)
    walk.arrived, walk.score_drop = 14, 0.06
    assert retrain(project=wide)["verdict"] == verdict


def test_a_killed_run_of_other_settings_is_not_continued(retrain: Retrain, walk: Walk, settings: Settings) -> None:
    cut_off(retrain, walk)
    told = retrain(project=changed(settings, train={"max_epochs": 99}))
    assert reason_of_the_first(told, settings).endswith("its settings were others")


def test_a_killed_run_is_continued_in_its_own_window_and_what_arrived_since_is_for_the_next(
    retrain: Retrain, walk: Walk
) -> None:
    cut_off(retrain, walk)
    before, walk.arrived = walk.arrived, 14
    told = retrain()
    assert (told["run"]["index"], told["data"]["to"]) == (1, before)
    assert retrain()["data"]["to"] == 14


def test_a_killed_run_without_a_source_is_not_continued_once_other_data_is_there(
    retrain: Retrain, walk: Walk, settings: Settings
) -> None:
    cut_off(retrain, walk)
    with memory(settings) as journal:
        run = journal.history("digits")[-1]
        kept = journal.stages(run.uid)["prepare"]
        journal.stage_done(run.uid, "prepare", {**kept, "window": {**kept["window"], "end": None}}, 0.0)
    walk.arrived = 14
    told = retrain()
    assert reason_of_the_first(told, settings).endswith("other data is there now")
    assert told["data"]["to"] == 14


def test_a_killed_run_is_not_continued_a_day_later(
    retrain: Retrain, walk: Walk, settings: Settings, clock: SteppedClock
) -> None:
    cut_off(retrain, walk)
    clock.epoch = time.time() + 25 * 3600
    assert reason_of_the_first(retrain(), settings).endswith("it was stopped over a day ago")


def test_a_killed_run_is_not_continued_under_another_champion(retrain: Retrain, walk: Walk, settings: Settings) -> None:
    retrain(promote=False)
    walk.arrived = 14
    cut_off(retrain, walk)
    with memory(settings) as journal:
        journal.promote("digits", journal.find_run("digits", "1").uid, expected=None, by="someone", reason="by hand")
    retrain()
    with memory(settings) as journal:
        second = journal.find_run("digits", "2")
        assert second.reasons[-1].endswith("the champion is another one since")


def test_a_run_that_is_killed_again_and_again_is_given_up_after_max_resumes(
    retrain: Retrain, walk: Walk, settings: Settings
) -> None:
    for _ in range(4):
        cut_off(retrain, walk)
    told = retrain()
    assert told["run"]["index"] == 2
    assert reason_of_the_first(told, settings).endswith("it was continued 3 times already (train.max_resumes)")


def cut_off(retrain: Retrain, walk: Walk) -> None:
    walk.errors = {"fit": Interrupted(15)}
    with pytest.raises(Interrupted):
        retrain()
    walk.errors = {}


def reason_of_the_first(told: dict[str, Any], settings: Settings) -> str:
    assert told["run"]["index"] == 2
    with memory(settings) as journal:
        dead = journal.find_run("digits", "1")
        assert dead.state is RunState.FAILED
        return dead.reasons[-1]


def test_there_must_be_something_to_resume(retrain: Retrain) -> None:
    with pytest.raises(UsageError, match="no unfinished retrain of 'digits'"):
        retrain(resume="last")
    retrain()
    with pytest.raises(UsageError, match="only an unfinished run can be resumed"):
        retrain(resume="1")


# ---- what lies on disk ---------------------------------------------------------------------------------------------
def test_the_artifacts_of_a_run_are_written_beside_it(retrain: Retrain, settings: Settings) -> None:
    told = retrain(measure=True)
    (folder,) = settings.memory.glob("runs/digits/00001-*/artifacts")
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"compare.json", "timeline.json", "parity.json", "manifest.json", "gates.json", "record.json"} <= names
    assert {f"samples/p{n}/raw.npz" for n in range(3)} <= names
    record = json.loads((folder / "record.json").read_text())
    assert record["verdict"] == told["verdict"]
    assert record["phases"] == told["phases"]


def test_a_retrain_writes_nowhere_but_into_mlruns(retrain: Retrain, settings: Settings, tmp_path: Path) -> None:
    retrain()
    assert [path.name for path in settings.project.iterdir()] == ["mlruns"]
    assert [path.name for path in tmp_path.iterdir()] == ["project"]
    assert Phase.LOG.value in json.loads(next(settings.memory.rglob("timeline.json")).read_text())["phases"]

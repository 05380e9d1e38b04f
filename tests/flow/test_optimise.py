"""From trained weights to an engine: when the ladder runs, who wins it, and what becomes of the last winner."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plaster_ops.errors import BuildFailed, ChildFailed, Interrupted, MemoryLimit, TimedOut
from plaster_ops.flow import decide
from plaster_ops.processes.gang import Limits
from plaster_ops.settings import Settings
from tests.conftest import SteppedClock
from tests.flow.conftest import Retrain
from tests.flow.walk import AGAIN_S, BACKEND, SECONDS, Walk

CRASH = ChildFailed("trial", "was killed by SIGSEGV", "", kind="signal")
DAY_S = 86_400.0


@pytest.fixture
def wide(settings: Settings) -> Callable[..., Settings]:
    """The project with engine settings of its own."""

    def with_engine(**changes: Any) -> Settings:
        pipeline = settings.pipelines["digits"]
        engine = pipeline.engine.model_copy(update={"precisions": ("int8", "fp32"), **changes})
        return settings.model_copy(update={"pipelines": {"digits": pipeline.model_copy(update={"engine": engine})}})

    return with_engine


def rows(told: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["precision"] if row["backend"] == BACKEND else "eager": row for row in told["engine"]["tried"]}


def value(told: dict[str, Any], key: str) -> float | None:
    found: float | None = next(row["value"] for row in told["card"] if row["key"] == key)
    return found


# ---- the ladder ----------------------------------------------------------------------------------------------------
def test_every_candidate_is_built_tried_and_raced_and_the_fastest_is_taken(
    retrain: Retrain, walk: Walk, wide: Callable[..., Settings]
) -> None:
    walk.speeds = {"int8": 0.5, "fp32": 0.8}
    told = retrain(project=wide())
    assert (told["engine"]["precision"], told["engine"]["decision"]) == ("int8", "build")
    assert told["engine"]["why"] == "the first engine of this pipeline"
    assert told["engine"]["chosen"] == f"latency: {BACKEND.replace(':', '.')}-int8: best p50"
    once = ("prepare", "fit", "export", "trial", "measure", "evaluate", "page")
    assert walk.calls == {"build": 2, **dict.fromkeys(once, 1)}
    found = rows(told)
    assert (found["int8"]["chosen"], found["int8"]["place"], found["fp32"]["place"]) == (True, 1, 2)
    assert found["int8"]["p50_ms"] == pytest.approx(0.5, rel=0.01)
    assert found["fp32"]["samples_per_s"] == pytest.approx(10_000.0)
    assert found["eager"]["reason"] == "the last resort: not needed"
    assert value(told, "programmability/precisions_passed_count") == 2
    assert value(told, "programmability/backends_passed_count") == 1


def test_a_candidate_that_fails_parity_gives_way_to_the_next(
    retrain: Retrain, walk: Walk, wide: Callable[..., Settings]
) -> None:
    walk.refused, walk.speeds = ("int8",), {"int8": 0.1}
    told = retrain(project=wide())
    assert told["engine"]["precision"] == "fp32"
    assert [row["ok"] for row in rows(told).values()] == [False, True, False]
    assert "parity with eager failed" in rows(told)["int8"]["reason"]


@pytest.mark.parametrize(
    "error", [CRASH, TimedOut("trial: heard nothing for 5 s"), MemoryLimit("trial: took 9.0 GB of memory")]
)
def test_a_candidate_that_kills_hangs_or_fills_its_trial_costs_one_row_and_not_the_others(
    retrain: Retrain, walk: Walk, wide: Callable[..., Settings], error: BaseException
) -> None:
    label = f"{BACKEND.replace(':', '.')}-int8"
    walk.deadly = {label: error}
    told = retrain(project=wide())
    assert (told["verdict"], told["engine"]["precision"]) == ("baseline", "fp32")
    assert str(error.message) in rows(told)["int8"]["reason"]  # type: ignore[attr-defined]
    assert rows(told)["fp32"]["ok"]
    assert walk.calls["trial"] == 2
    assert [row["label"] for row in walk.specs["trial"]["candidates"]] == [label.replace("int8", "fp32")]


def test_a_build_is_given_its_seconds_a_trial_its_silence_and_both_their_memory(
    retrain: Retrain, walk: Walk, wide: Callable[..., Settings]
) -> None:
    retrain(project=wide(timeout_s=7.0, memory_bytes=3_000_000_000))
    assert walk.limits["build"] == Limits(timeout_s=7.0, idle_s=None, memory_bytes=3_000_000_000)
    assert walk.limits["trial"] == Limits(timeout_s=None, idle_s=7.0, memory_bytes=3_000_000_000)


def test_a_build_that_dies_is_a_row_and_eager_is_the_last_resort(
    retrain: Retrain, walk: Walk, wide: Callable[..., Settings]
) -> None:
    walk.errors = {"build": ChildFailed("build", "was killed by SIGKILL", "", kind="signal")}
    told = retrain(project=wide())
    assert (told["engine"]["backend"], told["engine"]["precision"]) == ("eager", "fp32")
    assert "was killed by SIGKILL" in rows(told)["int8"]["reason"]
    assert value(told, "programmability/precisions_built_count") == 1


def test_without_any_engine_every_reason_is_told_and_the_champion_stays(
    retrain: Retrain, walk: Walk, wide: Callable[..., Settings]
) -> None:
    first = retrain(project=wide())
    walk.arrived, walk.refused = 14, ("int8", "fp32", "eager")
    with pytest.raises(BuildFailed) as caught:
        retrain(project=wide(), ladder=True)
    assert f"{BACKEND} int8: parity with eager failed" in caught.value.message
    assert "eager fp32: parity with eager failed" in caught.value.message
    assert first["verdict"] == "baseline"


def test_a_race_that_ends_badly_is_run_by_each_alone(
    retrain: Retrain, walk: Walk, wide: Callable[..., Settings]
) -> None:
    walk.speeds = {"int8": 0.5}
    walk.errors = {"measure": CRASH}
    walk.before["measure"] = lambda: walk.errors.pop("measure") if walk.calls["measure"] == 2 else None
    told = retrain(project=wide())
    assert walk.calls["measure"] == 3
    assert told["engine"]["precision"] == "int8"


def test_an_engine_that_nobody_comes_near_has_no_numbers_of_a_race(
    retrain: Retrain, walk: Walk, wide: Callable[..., Settings]
) -> None:
    walk.speeds = {"int8": 0.2}
    told = retrain(project=wide())
    assert walk.calls["measure"] == 0
    assert told["engine"]["chosen"].endswith("no other came near it")
    (chosen,) = (row for row in told["engine"]["tried"] if row.get("chosen"))
    assert (chosen["precision"], chosen["rough_ms"]) == ("int8", 0.2)
    assert chosen.keys().isdisjoint({"p50_ms", "samples_per_s", "slo_samples_per_s", "cpu_time_per_inference_s"})


def test_the_smallest_is_taken_without_a_race(retrain: Retrain, walk: Walk, wide: Callable[..., Settings]) -> None:
    walk.speeds = {"int8": 2.0}
    told = retrain(project=wide(objective="size"))
    assert walk.calls["measure"] == 0
    assert told["engine"]["chosen"].startswith("size: ")
    assert told["engine"]["precision"] == "fp32"


def test_an_old_engine_that_ends_the_scoring_is_left_out_of_it(retrain: Retrain, walk: Walk) -> None:
    retrain()
    walk.arrived = 14

    def crash_beside_others() -> None:
        if len(walk.specs["evaluate"]["engines"]) > 1:
            raise CRASH

    walk.before["evaluate"] = crash_beside_others
    told = retrain()
    assert told["verdict"] == "promoted"
    assert told["baseline"]["how"] == "stored"
    assert len(walk.specs["evaluate"]["engines"]) == 1


# ---- the last winner once more -------------------------------------------------------------------------------------
def test_an_unchanged_architecture_is_built_once_and_then_refitted(retrain: Retrain, walk: Walk) -> None:
    told = [retrain()]
    for arrived in (14, 18, 22):
        walk.arrived = arrived
        told.append(retrain())
    assert [run["engine"]["decision"] for run in told] == ["build", "refit", "refit", "refit"]
    assert [run["engine"]["refits_since_build"] for run in told] == [0, 1, 2, 3]
    assert (walk.calls["build"], walk.calls["trial"]) == (1, 1)
    last = told[-1]
    assert last["engine"]["refit_s"] == 0.001
    assert value(last, "programmability/refit_s") == 0.001
    assert value(last, "learning/refit_used_count") == 1
    assert value(last, "learning/refit_saved_s") == pytest.approx(SECONDS["build"] - AGAIN_S)
    assert value(last, "programmability/build_cold_s") is None
    assert last["phases"]["build_s"] == pytest.approx(AGAIN_S)
    assert last["engine"]["ladder_at"] == told[0]["engine"]["ladder_at"]


def test_equal_weights_reuse_the_engine(retrain: Retrain, walk: Walk) -> None:
    retrain()
    walk.arrived, walk.again = 14, "reuse"
    told = retrain()
    assert told["engine"]["decision"] == "reuse"
    assert value(told, "learning/refit_used_count") == 0
    assert value(told, "learning/refit_saved_s") == pytest.approx(SECONDS["build"] - AGAIN_S)


def test_after_as_many_refits_as_the_settings_say_comes_a_full_build(
    retrain: Retrain, walk: Walk, wide: Callable[..., Settings]
) -> None:
    project = wide(precisions=("fp32",), rebuild_every=2)
    decisions, whys = [], []
    for arrived in (10, 14, 18, 22, 26):
        walk.arrived = arrived
        told = retrain(project=project)
        decisions.append(told["engine"]["decision"])
        whys.append(told["engine"]["why"])
    assert decisions == ["build", "refit", "refit", "build", "refit"]
    assert whys[3] == "2 refits since the last full build, engine.rebuild_every is 2"


def test_refitting_can_be_switched_off(retrain: Retrain, walk: Walk, wide: Callable[..., Settings]) -> None:
    project = wide(precisions=("fp32",), refit=False)
    retrain(project=project)
    walk.arrived = 14
    told = retrain(project=project)
    assert (told["engine"]["decision"], told["engine"]["why"]) == ("build", "engine.refit is off")


def test_a_refit_that_scoring_refuses_becomes_a_build_and_says_so(
    retrain: Retrain, walk: Walk, events: list[dict[str, Any]]
) -> None:
    retrain()
    walk.arrived, walk.refused = 14, ("again",)
    told = retrain()
    assert told["engine"]["decision"] == "build"
    assert told["engine"]["why"].startswith("refit refused: parity with eager failed")
    assert any("building anew" in str(event.get("text")) for event in events)
    assert told["engine"]["refits_since_build"] == 0


def test_a_refit_that_kills_its_process_costs_one_export_and_the_engine_is_built(retrain: Retrain, walk: Walk) -> None:
    retrain()
    walk.arrived = 14

    def crash_with_a_refit() -> None:
        if walk.specs["export"]["previous"]:
            raise ChildFailed("export", "was killed by SIGSEGV", "", kind="signal")

    walk.before["export"] = crash_with_a_refit
    told = retrain()
    assert told["engine"]["decision"] == "build"
    assert "the refit ended its process: export: was killed by SIGSEGV" in told["engine"]["why"]


def test_a_last_winner_that_cannot_be_used_any_more_calls_for_a_ladder(
    retrain: Retrain, walk: Walk, wide: Callable[..., Settings]
) -> None:
    walk.speeds = {"int8": 0.5}
    assert retrain(project=wide())["engine"]["precision"] == "int8"
    walk.arrived, walk.again, walk.refused = 14, "rebuild", ("int8",)
    told = retrain(project=wide())
    assert told["engine"]["precision"] == "fp32"
    assert told["engine"]["why"].startswith("the winner of #1 cannot be used: parity")
    assert rows(told)["int8"]["reason"].startswith("parity with eager failed")


# ---- when a ladder is due ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda _walk, clock: clock.step(7 * DAY_S), "the last ladder was 7.0 days ago"),
        (lambda walk, _clock: setattr(walk, "again", "ladder"), "ladder it is"),
    ],
)
def test_a_week_or_another_graph_calls_for_a_ladder(
    retrain: Retrain, walk: Walk, clock: SteppedClock, change: Callable[..., None], why: str
) -> None:
    retrain()
    walk.arrived = 14
    change(walk, clock)
    told = retrain()
    assert walk.calls["trial"] == 2
    assert why in told["engine"]["why"]


def test_asked_for_by_hand_it_runs_and_the_export_is_not_asked_to_refit(retrain: Retrain, walk: Walk) -> None:
    retrain()
    walk.arrived = 14
    assert retrain(ladder=True)["engine"]["why"] == "--ladder"
    assert walk.specs["export"]["previous"] is None


def test_another_version_of_any_configured_backend_calls_for_one(
    retrain: Retrain, walk: Walk, monkeypatch: pytest.MonkeyPatch
) -> None:
    retrain()
    walk.arrived = 14
    known = decide.stack
    monkeypatch.setattr(decide, "stack", lambda *given: {**known(*given), "openvino.openvino": "2027.1"})
    assert retrain()["engine"]["why"] == "the stack changed: openvino.openvino none -> 2027.1"


def test_other_settings_of_the_choice_call_for_one(retrain: Retrain, walk: Walk, wide: Callable[..., Settings]) -> None:
    retrain(project=wide())
    walk.arrived = 14
    told = retrain(project=wide(objective="throughput"))
    assert told["engine"]["why"] == "settings changed: engine.objective latency -> throughput"


def test_a_lost_engine_calls_for_one(retrain: Retrain, walk: Walk, settings: Settings) -> None:
    retrain()
    for engine in settings.memory.glob("runs/digits/00001-*/engine-*"):
        for file in engine.iterdir():
            file.unlink()
        engine.rmdir()
    walk.arrived = 14
    assert retrain()["engine"]["why"] == "the engine of #1 is gone"


# ---- what is on record ---------------------------------------------------------------------------------------------
def test_the_ladder_is_an_artifact_and_every_candidate_a_step_of_the_build_child(
    retrain: Retrain, walk: Walk, settings: Settings, store: Any, wide: Callable[..., Settings]
) -> None:
    walk.refused = ("int8",)
    told = retrain(project=wide())
    (artifacts,) = settings.memory.glob("runs/digits/00001-*/artifacts")
    kept = json.loads((Path(artifacts) / "ladder.json").read_text())
    assert [row["precision"] for row in kept["tried"]] == ["int8", "fp32", "fp32"]
    plan = store.plans[told["run"]["uid"]]
    build = next(child for child in plan.children if child.kind == "build")
    passed = {point.step: point.value for point in build.points if point.key == "build/passed_count"}
    assert passed == {1: 0.0, 2: 1.0, 3: 0.0}
    assert {point.key for point in build.points if point.step == 2} >= {"build/build_s", "build/engine_bytes"}


def test_a_resumed_run_keeps_its_decision_and_counts_the_hand_that_resumed_it(
    retrain: Retrain, walk: Walk, wide: Callable[..., Settings]
) -> None:
    retrain(project=wide())
    walk.arrived, walk.errors = 14, {"evaluate": Interrupted(15)}
    with pytest.raises(Interrupted):
        retrain(project=wide())
    walk.errors = {}
    told = retrain(project=wide(), resume="last", ladder=True)
    assert told["engine"]["decision"] == "refit"
    assert value(told, "programmability/human_interventions_count") == 1

"""The learning curve in a whole retrain: when it is scored, what the target's rows say, the baseline's beside it."""

import json
from typing import Any

import pytest

from plaster_ops.domain import metrics as m
from plaster_ops.errors import ChildFailed
from plaster_ops.settings import Settings
from tests.flow.conftest import Retrain
from tests.flow.test_learning import moments
from tests.flow.test_start import nights, row, with_settings
from tests.flow.walk import FIT_S, LAUNCH_S, SECONDS, Walk

CURVE = (0.5, 0.7, 0.9)


@pytest.fixture
def curved(settings: Settings, walk: Walk) -> Settings:
    walk.curve = CURVE
    return with_settings(settings, train={"snapshots": 5, "target_score": 0.8})


def document(settings: Settings, index: int = 1) -> dict[str, Any]:
    (file,) = settings.memory.glob(f"runs/digits/{index:05d}-*/artifacts/learning_curve.json")
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_the_curve_is_an_artifact_and_the_snapshots_are_gone(retrain: Retrain, walk: Walk, curved: Settings) -> None:
    retrain(project=curved)
    found = document(curved)
    assert [(one["epoch"], one["fit_s"], one["score"]) for one in found["points"]] == [
        (1, 3.0, 0.5),
        (2, 6.0, 0.7),
        (3, 9.0, 0.9),
    ]
    assert (found["reason"], found["n"], found["format"]) == ("", 500, 1)
    assert walk.specs["scores"]["snapshots"].endswith("/snapshots")
    assert not list(curved.memory.glob("runs/digits/*/snapshots*"))


def test_scoring_is_in_the_phase_eval_and_neither_in_the_fit_nor_in_train_to_engine(
    retrain: Retrain, curved: Settings
) -> None:
    with_curve = retrain(project=curved)
    phases = with_curve["phases"]
    assert phases["fit_s"] == FIT_S
    assert phases["eval_s"] == pytest.approx(SECONDS["evaluate"] + SECONDS["scores"] + SECONDS["trial"], abs=1.5)
    assert sum(seconds for name, seconds in phases.items() if name != "cycle_s") == pytest.approx(phases["cycle_s"])
    spent_s = sum(phases[name] for name in phases if name not in ("cycle_s", "log_s", "deploy_s", "measure_s"))
    assert row(with_curve, m.TRAIN_TO_ENGINE_S)["value"] == pytest.approx(spent_s - SECONDS["scores"], abs=0.01)


def test_the_first_snapshot_that_passes_gives_the_target_and_both_scores_are_told(
    retrain: Retrain, walk: Walk, curved: Settings
) -> None:
    walk.target_s = 4.0
    told = retrain(project=curved)
    found = row(told, m.TIME_TO_TARGET_S)
    assert found["value"] == 9.0
    assert found["reason"] == "by the pipeline's score of its snapshots; the logged val_score had it after 4.0 s"
    assert row(told, m.EPOCHS_TO_TARGET_COUNT)["value"] == 3
    assert row(told, m.SAMPLES_TO_TARGET_COUNT)["value"] == 240
    t_target = moments(curved)["moments"]["t_target"]["offset_s"]
    assert t_target == pytest.approx(moments(curved)["moments"]["t_train_start"]["offset_s"] + 9.0)


def test_a_target_that_no_snapshot_has_is_not_measured_whatever_was_logged(
    retrain: Retrain, walk: Walk, curved: Settings
) -> None:
    walk.target_s = 4.0
    walk.curve = (0.5, 0.6)
    told = retrain(project=curved)
    assert row(told, m.TIME_TO_TARGET_S)["value"] is None
    assert row(told, m.TIME_TO_TARGET_S)["reason"] == (
        "no snapshot's own score reached the target; the logged val_score had it after 4.0 s"
    )


def test_fits_are_held_against_those_whose_target_was_looked_for_alike(
    retrain: Retrain, walk: Walk, curved: Settings
) -> None:
    walk.target_s, walk.samples_to_target = 4.0, 160
    logged = with_settings(curved, train={"snapshots": 0, "target_score": 0.8}, start="scratch")
    nights(retrain, walk, logged, 6)
    told = nights(retrain, walk, with_settings(curved, start="scratch"), 1)[0]
    assert "0 earlier fits alike" in row(told, m.SAMPLES_TO_TARGET_COUNT)["reason"]
    again = nights(retrain, walk, logged, 1)[0]
    assert "as usual" in row(again, m.SAMPLES_TO_TARGET_COUNT)["reason"]


def test_two_curves_are_compared_from_as_many_samples(retrain: Retrain, walk: Walk, curved: Settings) -> None:
    first = retrain(project=curved)
    walk.arrived += 4
    walk.curve = (0.6, 0.9, 0.95)
    told = retrain(project=curved)
    reasons = {row(first, metric)["reason"] for metric in (m.SAMPLES_TO_COMMON_RATIO, m.SECONDS_TO_COMMON_RATIO)}
    assert reasons == {"the first retrain: there is no earlier curve"}
    assert row(told, m.DELTA_AT_EQUAL_SAMPLES_SCORE)["value"] == pytest.approx(0.05)
    assert row(told, m.SAMPLES_TO_COMMON_RATIO)["value"] == pytest.approx(160 / 240)
    assert row(told, m.SECONDS_TO_COMMON_RATIO)["value"] == pytest.approx(6 / 9)
    assert told["curve"]["against"]["run"] == 1


def test_a_baseline_without_a_curve_is_named(
    retrain: Retrain, walk: Walk, curved: Settings, settings: Settings
) -> None:
    retrain(project=with_settings(settings, train={"snapshots": 0}))
    walk.arrived += 4
    told = retrain(project=curved)
    assert row(told, m.SAMPLES_TO_COMMON_RATIO)["reason"] == "the snapshots of run #1 were not scored"
    assert told["curve"] == {
        "points": 3,
        "reason": "",
        "why_none": "the snapshots of run #1 were not scored",
        "against": None,
    }


def test_a_scoring_that_fails_costs_the_curve_and_not_the_retrain(
    retrain: Retrain, walk: Walk, curved: Settings
) -> None:
    walk.errors["scores"] = ChildFailed("scores", "was killed by SIGKILL", "", kind="signal")
    told = retrain(project=curved)
    assert told["verdict"] == "baseline"
    assert told["curve"]["reason"].startswith("the snapshots could not be scored: ")
    assert document(curved)["points"] == []


def test_under_auto_a_curve_is_scored_only_where_that_is_cheap_beside_the_training(
    retrain: Retrain, walk: Walk, settings: Settings
) -> None:
    """Reading the data took 1 s: two per cent of 50 s."""
    walk.curve = CURVE
    walk.start_s = {"scratch": 46.0, "warm": 48.0}
    dear, cheap = nights(retrain, walk, settings, 2)
    assert dear["curve"]["points"] == 0
    assert dear["curve"]["reason"] == (
        "a child that reads this data takes 1.0 s, over 2% of the 49.0 s of training:"
        " train.snapshots = 20 scores them all the same"
    )
    assert cheap["curve"]["points"] == 3
    assert LAUNCH_S + 48.0 > 50.0
    assert not list(settings.memory.glob("runs/digits/*/snapshots*"))


def test_the_champion_that_could_have_stayed_is_told(retrain: Retrain, walk: Walk) -> None:
    first = retrain()
    walk.arrived += 4
    told = retrain()
    assert first["start"]["needed"] is None
    assert told["start"]["needed"] is False
    assert told["start"]["champion_score"] == 0.9
    assert row(told, m.NEEDLESS_COUNT)["value"] == 1

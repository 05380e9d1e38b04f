"""The plan of a record: edges that the stores do not show."""

import math

from plaster_ops.tracking.layout import plan_record
from plaster_ops.tracking.notes import describe_run
from tests.tracking.samples import make_record

UID = "a" * 32


def test_the_same_record_gives_the_same_plan() -> None:
    assert plan_record(make_record(UID)) == plan_record(make_record(UID))


def test_children_without_content_are_not_made() -> None:
    plan = plan_record(make_record(UID, curves=(), engine={}, card=()))
    assert plan.children == ()
    assert plan.cadence is None
    assert plan.model is None


def test_curve_points_that_are_no_numbers_are_left_out_and_counted() -> None:
    curves = tuple(
        {"key": "loss", "step": s, "value": v, "timestamp_ms": s} for s, v in enumerate((1.0, math.nan, None))
    )
    (train,) = [child for child in plan_record(make_record(UID, curves=curves)).children if child.kind == "train"]
    assert [point.value for point in train.points] == [1.0]
    assert "2 points were not finite" in train.tags["mlflow.note.content"]


def test_a_curve_point_that_was_sent_twice_is_logged_once() -> None:
    point = {"key": "loss", "step": 1, "value": 1.0, "timestamp_ms": 5}
    (train, *_) = plan_record(make_record(UID, curves=(point, dict(point)))).children
    assert len(train.points) == 1


def test_an_estimate_is_logged_as_one_and_stays_off_the_cadence_run() -> None:
    card = [dict(row) for row in make_record(UID).card if row["headline"]]
    for row in card:
        if row["key"] == "latency/e2e_p50_ms":
            row["status"] = "estimated"
    plan = plan_record(make_record(UID, card=tuple(card)))
    keys = {point.key for point in plan.parent.points}
    assert "latency/est_e2e_p50_ms" in keys
    assert "latency/est_e2e_p50_ci95lo_ms" in keys
    assert "latency/e2e_p50_ms" not in keys
    assert plan.cadence is not None
    assert "latency/e2e_p50_ms" not in {point.key for point in plan.cadence.points}


def test_the_cadence_run_also_shows_a_model_growing_old() -> None:
    ageing = ("accuracy/rolling_score", "learning/data_staleness_s", "learning/staleness_p95_s")
    card = [{**dict(row), "key": key, "headline": False, "value": 7.0, "status": "measured"} for key, row in zip(
        (*ageing, "learning/epochs_count"), make_record(UID).card, strict=False
    )]  # fmt: skip
    plan = plan_record(make_record(UID, card=(*make_record(UID).card, *card)))
    assert plan.cadence is not None
    keys = {point.key for point in plan.cadence.points}
    assert keys >= set(ageing)
    assert "learning/epochs_count" not in keys


def test_one_dataset_in_two_roles_keeps_both() -> None:
    rows = tuple({"name": "d", "context": c, "digest": "x", "source": "s", "samples": 1} for c in ("eval", "golden"))
    assert [d.name for d in plan_record(make_record(UID, datasets=rows)).datasets] == ["d", "d (golden)"]


def test_engine_files_that_are_gone_leave_a_record_without_a_model() -> None:
    assert plan_record(make_record(UID, engine_folder="/nowhere/at/all", artifacts="/nowhere")).model is None


def test_a_users_tag_cannot_take_the_place_of_ours() -> None:
    tags = plan_record(make_record(UID, tags={"plaster.uid": "x", "mlflow.parentRunId": "y", "mine": "z"})).parent.tags
    assert (tags["plaster.uid"], tags.get("mlflow.parentRunId"), tags["mine"]) == (UID, None, "z")


def test_the_note_has_seven_rows_and_says_what_was_not_measured() -> None:
    note = describe_run(make_record(UID, 2))
    rows = [line for line in note.splitlines() if line.startswith("| **")]
    assert "".join(row[4] for row in rows) == "PLASTER"
    assert "not measured" in rows[5]
    assert "no NVML, no RAPL" in rows[5]
    assert "Compared with #1 (remeasured)." in note

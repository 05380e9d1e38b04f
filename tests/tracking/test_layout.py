"""The plan of a record: edges that the stores do not show."""

import math

import pytest

from plaster_ops.tracking.layout import plan_record
from plaster_ops.tracking.plans import to_ms
from plaster_ops.tracking.run_note import describe_run, describe_version, with_links
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
    assert "Compared with #1: measured again" in note


ALARM = {
    "letter": "L", "key": "latency/e2e_p50_ms", "unit": "ms", "index": 9, "shape": "step", "before": 1.0,
    "after": 1.2, "change_ratio": 0.2, "worse": True,
}  # fmt: skip


def test_the_note_says_now_then_change_verdict_and_what_differs() -> None:
    (row,) = [row for row in make_record(UID).card if row["letter"] == "L" and row["headline"]]
    compared = {**row, "now": 1.2, "then": 1.0, "change_ratio": 0.2, "verdict": "worse", "reason": None}
    told = {
        "changed": [{"kind": "environment", "name": "driver", "then": "580.65", "now": "580.82"}],
        "alarms": [ALARM],
        "tradeoff": "faster, less accurate",
    }
    note = describe_run(make_record(UID, 9, card=(row,), comparison=(compared,), assessment=told))
    assert "| now #9 | 95 % interval | then #8 | change | verdict |\n|---|---|---|---|---|---|---|\n" in note
    assert "| 1 | +20.0 % | worse |" in note
    assert "- environment: driver 580.65 → 580.82" in note
    assert "- **L** `latency/e2e_p50_ms`: step since #9, 1 to 1.2 ms, +20.0 %, worse" in note
    assert "Trade-off: faster, less accurate" in note


def test_links_stay_whole_however_long_the_note_is() -> None:
    note = with_links(f"**Held.**\n{'x' * 9000}", ["[report](#/a)", "[cadence run](#/b)"])
    assert note.startswith("**Held.**\n\n[report](#/a) · [cadence run](#/b)\n\nx")
    assert len(note) == 8000


def test_foreign_words_in_a_note_are_shown_and_never_obeyed() -> None:
    evil = "<img src=x> | **b** [c](javascript:x) ![p](http://e.example/p.png)\n# head `k`"
    (row,) = [row for row in make_record(UID).card if row["letter"] == "E" and row["headline"]]
    record = make_record(UID, reasons=(evil, "1. one"), card=({**row, "reason": evil},), engine={"backend": evil})
    for note in (describe_run(record), describe_version(record)):
        assert "<" not in note
        assert "[c]" not in note
        assert "# head" not in note.replace("\\# head", "")
        assert "1\\. one" in note
    (line,) = [line for line in describe_run(record).splitlines() if line.startswith("| **E")]
    assert line.replace("\\|", "").count("|") == 8


def test_how_it_ended_and_its_alarms_stand_on_the_cadence_run_at_the_slots_time() -> None:
    plan = plan_record(make_record(UID, 9, slot="2026-11-19T02:00:00+00:00", assessment={"alarms": [ALARM, ALARM]}))
    assert plan.cadence is not None
    marks = {point.key: point.value for point in plan.cadence.points if point.key.startswith(("alarm/", "verdict/"))}
    assert (marks["verdict/code"], marks["alarm/latency_count"], marks["alarm/energy_count"]) == (1.0, 2.0, 0.0)
    assert len(marks) == 8
    assert {point.timestamp_ms for point in plan.cadence.points} == {to_ms("2026-11-19T02:00:00")}


def test_where_nobody_looked_for_alarms_no_line_says_that_there_were_none() -> None:
    plan = plan_record(make_record(UID))
    assert plan.cadence is not None
    assert not [point for point in plan.cadence.points if point.key.startswith("alarm/")]


def test_a_failed_retrain_is_seen_on_the_line_of_verdicts_alone() -> None:
    plan = plan_record(make_record(UID, verdict="failed"))
    assert plan.cadence is not None
    assert [(point.key, point.value) for point in plan.cadence.points] == [("verdict/code", -1.0)]
    assert plan_record(make_record(UID, verdict="failed", fingerprint={})).cadence is None


@pytest.mark.parametrize(("verdict", "code"), [("baseline", 2.0), ("promoted", 1.0), ("held", 0.0)])
def test_each_verdict_has_its_height_on_the_line(verdict: str, code: float) -> None:
    plan = plan_record(make_record(UID, verdict=verdict))
    assert plan.cadence is not None
    assert [point.value for point in plan.cadence.points if point.key == "verdict/code"] == [code]


def test_a_slot_that_is_no_date_leaves_the_instant_of_the_start(caplog: pytest.LogCaptureFixture) -> None:
    plan = plan_record(make_record(UID, 9, slot="whenever"))
    assert plan.cadence is not None
    assert {point.timestamp_ms for point in plan.cadence.points} == {to_ms("2026-11-10T02:00:00.000+00:00")}
    assert caplog.records == []

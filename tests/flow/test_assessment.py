"""What a retrain concludes beside its rows: whose a change is, what changed, what was traded."""

from typing import Any

import pytest

from plaster_ops.settings import Settings
from plaster_ops.tracking.journal import Journal
from tests.flow.conftest import Retrain
from tests.flow.walk import Walk


def with_threads(settings: Settings, threads: int) -> Settings:
    pipeline = settings.pipelines["digits"]
    engine = pipeline.engine.model_copy(update={"threads": threads})
    changed = pipeline.model_copy(update={"engine": engine, "start": "scratch"})
    return settings.model_copy(update={"pipelines": {"digits": changed}})


def test_fewer_threads_that_slow_both_engines_are_the_environments_and_are_named(
    retrain: Retrain, walk: Walk, settings: Settings
) -> None:
    retrain(measure=True, project=with_threads(settings, 2))
    walk.arrived, walk.pace = 14, 1.8
    told = retrain(measure=True, project=with_threads(settings, 1))
    environment = told["assessment"]["environment"]
    assert environment["cause"] == "environment"
    assert environment["sentence"].startswith("the engine of run #1 is 80% slower than it was logged")
    assert "that is the environment's (threads 2 -> 1" in environment["sentence"]
    assert {"kind": "environment", "name": "threads", "then": "2", "now": "1"} in told["assessment"]["changed"]
    p50 = next(row for row in told["comparison"] if row["key"] == "latency/e2e_p50_ms")
    assert p50["verdict"] == "same", "side by side nothing changed"
    measured = {label: row["threads"] for label, row in [("both", walk.specs["measure"])]}
    assert measured == {"both": 1}


def test_a_machine_that_slowed_both_engines_by_half_is_told_from_a_slower_model(retrain: Retrain, walk: Walk) -> None:
    retrain(measure=True)
    causes: list[Any] = []
    for arrived, pace, slower in ((14, 1.5, 0.0), (18, 1.5, 0.5), (22, 3.0, 0.5)):
        walk.arrived, walk.pace, walk.slower = arrived, pace, slower
        told = retrain(measure=True, compare="1")
        causes.append(told["assessment"]["environment"]["cause"])
    assert causes == ["environment", "both", "both"]


def test_a_run_that_was_not_measured_leaves_it_unknown_and_still_says_what_changed(
    retrain: Retrain, walk: Walk
) -> None:
    first = retrain()
    assert first["assessment"] is None or set(first["assessment"]) <= {"alarms"}
    walk.arrived = 14
    found = retrain()["assessment"]
    assert found["environment"] == {
        "cause": "unknown",
        "sentence": "the engine of run #1 was not measured again",
        "rows": [],
    }
    assert found["overall"] in ("better", "worse", "same", "inconclusive")


def test_the_record_keeps_the_assessment(retrain: Retrain, walk: Walk, settings: Settings) -> None:
    retrain()
    walk.arrived = 14
    told = retrain()
    with Journal.open(settings.memory) as journal:
        record = journal.record(told["run"]["uid"])
    assert record is not None
    assert record.assessment == told["assessment"]


@pytest.mark.parametrize("tag", ["plaster.code_digest", "plaster.git"])
def test_code_tags_are_empty_where_nothing_is_known(retrain: Retrain, walk: Walk, settings: Settings, tag: str) -> None:
    del walk
    told = retrain()
    with Journal.open(settings.memory) as journal:
        record = journal.record(told["run"]["uid"])
    assert record is not None
    assert record.tags[tag] == ""

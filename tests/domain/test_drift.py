"""What a record says of drift, by the words of `trigger.on_drift`."""

from typing import Any

import pytest

from plaster_ops.domain.alarm import AlarmState
from plaster_ops.domain.drift import DRIFT_WORDS, alarm_signs, drift_of
from plaster_ops.domain.judgement import Comparison, Judgement
from plaster_ops.domain.metrics import CATALOGUE
from plaster_ops.domain.run import RunRecord
from tests.domain.alarms import alarm

WORST = {"feature": "price", "kind": "number", "distance": 0.312, "p_value": 1e-9, "p_adjusted": 1e-8, "drifted": True}
DATA = {"drift": {"against": {"last": {"index": 11, "reason": "", "tested": 8, "drifted": 3, "worst": [WORST]}}}}


def row(key: str, judgement: Judgement, **given: Any) -> dict[str, Any]:
    return Comparison(metric=CATALOGUE[key], judgement=judgement, **given).to_json()


def record(**given: Any) -> RunRecord:
    plain = {"uid": "u", "pipeline": "p", "index": 12, "trigger": "cron", "started_at": "a", "ended_at": "b"}
    return RunRecord(**plain, verdict="held", exit_code=3, baseline={"index": 11}, **given)


SLOWER = row("latency/e2e_p50_ms", Judgement.WORSE, now=1.1, then=1.0, change=0.1, limit=0.05)
WORSE = row("accuracy/rolling_score", Judgement.WORSE, now=0.9, then=0.95, change=-0.05, limit=0.005)


def test_a_metric_that_is_worse_is_drift_of_its_letter_alone() -> None:
    found = record(comparison=(SLOWER, WORSE))
    assert drift_of(found, ["latency"]) == ["latency/e2e_p50_ms is worse than #11: 1 -> 1.1 ms (+10.0%, margin 5.0%)"]
    assert drift_of(found, ["accuracy", "energy"]) == [
        f"accuracy/rolling_score is worse than #11: 0.95 -> 0.9{_unit('accuracy/rolling_score')} (-0.05, margin 0.005)"
    ]
    assert len(drift_of(found, DRIFT_WORDS)) == 2


def _unit(key: str) -> str:
    unit = CATALOGUE[key].unit
    return "" if unit == "ratio" else f" {unit}"


@pytest.mark.parametrize(
    "judgement", [Judgement.SAME, Judgement.BETTER, Judgement.INCONCLUSIVE, Judgement.NOT_COMPARABLE]
)
def test_any_other_verdict_is_no_drift(judgement: Judgement) -> None:
    found = record(comparison=(row("latency/e2e_p50_ms", judgement, now=1.1, then=1.0, change=0.1, limit=0.05),))
    assert drift_of(found, DRIFT_WORDS) == []


def test_inputs_and_labels_drift_by_themselves() -> None:
    last = DATA["drift"]["against"]["last"]
    labels = {"tested": 1, "drifted": 1, "worst": [{**WORST, "feature": "label", "distance": 0.2}]}
    found = record(data={"drift": {"against": {"last": {**last, "labels": labels}}}})
    assert drift_of(found, ["inputs"]) == ["3 of 8 input features drifted since #11, worst price by 0.31"]
    assert drift_of(found, ["labels"]) == ["1 of 1 labels shifted since #11, worst label by 0.20"]
    assert drift_of(record(data=DATA), ["labels", "accuracy"]) == []


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"drift": None},
        {"drift": {"against": {}}},
        {"drift": {"against": {"last": {"index": 3, "reason": "its data_sketch.json cannot be read"}}}},
        {
            "drift": {
                "against": {"last": {"index": 3, "reason": "", "tested": 8, "drifted": 0, "worst": [], "labels": {}}}
            }
        },
    ],
)
def test_a_record_that_held_nothing_against_another_tells_of_no_drift(data: dict[str, Any]) -> None:
    assert drift_of(record(data=data), DRIFT_WORDS) == []


def test_a_first_retrain_has_no_drift() -> None:
    plain = {"uid": "u", "pipeline": "p", "index": 1, "trigger": "cron", "started_at": "a", "ended_at": "b"}
    assert drift_of(RunRecord(**plain, verdict="baseline", exit_code=0), DRIFT_WORDS) == []


def test_an_open_alarm_is_drift_of_its_letter() -> None:
    assert alarm_signs([alarm()], ["latency"]) == [
        "latency/e2e_p50_ms left its level at #4: 1 -> 1.2 ms (+20.0%, step)"
    ]
    assert alarm_signs([alarm()], ["accuracy", "inputs"]) == []


@pytest.mark.parametrize(
    "changed", [{"worse": False}, {"state": AlarmState.ACKNOWLEDGED}, {"state": AlarmState.RESOLVED}]
)
def test_an_alarm_for_the_better_or_one_that_was_answered_is_none(changed: dict[str, Any]) -> None:
    assert alarm_signs([alarm(**changed)], DRIFT_WORDS) == []


def test_what_a_record_keeps_of_its_alarms_decides_nothing() -> None:
    assert drift_of(record(assessment={"alarms": [alarm().to_json()]}), DRIFT_WORDS) == []

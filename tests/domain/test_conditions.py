"""Which conditions hold, from plain facts: each in its words and numbers, and left alone where nothing is known."""

from dataclasses import replace
from typing import Any

import pytest

from plaster_ops.domain.alarm import AlarmState
from plaster_ops.domain.conditions import Condition, Ended, Facts, Spent, find_conditions
from plaster_ops.domain.gates import Gate, apply_gates, holds_back
from plaster_ops.domain.metrics import ROLLING_SCORE
from plaster_ops.domain.schedule import iso
from plaster_ops.domain.slots import Cause, Slot, SlotState
from tests.domain.alarms import alarm

NOW_S = 1_795_000_000.0
DUE_S = NOW_S - 1_000.0
GOOD = Ended(
    uid="u12",
    index=12,
    verdict="promoted",
    exit_code=0,
    ended_s=NOW_S - 50,
    reasons=("no gate failed",),
    baseline={"index": 11, "which": "last"},
    drift={"against": {"last": {"index": 11, "reason": "", "drifted": 0, "labels": {"drifted": 0}}}},
)
GATE = "accuracy gate failed: accuracy/rolling_score -0.0800 (95 % CI -0.0900 to -0.0700), allowed 0.01"


def row(key: str, change: float, *, how: str = "remeasured", headline: bool = True, **more: Any) -> dict[str, Any]:
    plain = {"key": key, "verdict": "worse", "headline": headline, "how": how, "change_ratio": change}
    return plain | {"change_difference": None, "ci95": [change - 0.01, change + 0.01]} | more


def told(condition: Condition, run: Ended | None = GOOD, **facts: Any) -> tuple[bool, str] | None:
    known = {"finished": run, "ended": run} | facts
    finding = find_conditions(Facts(now_s=NOW_S, **known)).get(condition)
    return None if finding is None else (finding.holds, finding.reason)


def holds(condition: Condition, run: Ended | None = GOOD, **facts: Any) -> bool:
    found = told(condition, run, **facts)
    assert found is not None
    return found[0]


def slot(state: SlotState = SlotState.RAN, **more: Any) -> Slot:
    return Slot(**{"pipeline": "digits", "planned_s": DUE_S, "due_s": DUE_S, "state": state, **more})


def test_nothing_is_said_of_a_pipeline_without_a_retrain_but_that_nothing_is_overdue() -> None:
    found = find_conditions(Facts(now_s=NOW_S))
    assert {condition: finding.holds for condition, finding in found.items()} == {
        Condition.LATE: False,
        Condition.OVER_BUDGET: False,
    }


def test_a_good_retrain_is_in_order_and_each_finding_names_it() -> None:
    found = find_conditions(Facts(now_s=NOW_S, finished=GOOD, ended=GOOD, budget_s=60.0))
    assert not any(finding.holds for finding in found.values())
    assert told(Condition.REGRESSED) == (False, "#12 was promoted: no gate failed")
    assert {found[each].run for each in (Condition.REGRESSED, Condition.DRIFTING, Condition.FAILING)} == {"u12"}


# ---- regressed -----------------------------------------------------------------------------------------------------
def test_a_retrain_that_a_gate_held_is_a_regression_with_the_gates_sentence() -> None:
    held = replace(GOOD, verdict="held", exit_code=3, reasons=(GATE,))
    assert told(Condition.REGRESSED, held) == (True, f"#12 was held: {GATE}")


def test_the_sentences_of_gates_are_known_by_what_they_say() -> None:
    required = Gate(name="accuracy", metric=ROLLING_SCORE, limit=0.01, required=True)
    assert [holds_back(each.sentence) for each in apply_gates([required], [])] == [True]
    assert [holds_back(each.sentence) for each in apply_gates([replace(required, required=False)], [])] == [False]
    assert holds_back(GATE)
    assert not holds_back("accuracy gate passed: accuracy/rolling_score +0.0010")


def test_an_engine_that_is_worse_is_a_regression_though_it_was_promoted() -> None:
    worse = replace(GOOD, comparison=(row("size/engine_bytes", 0.12), row("latency/other_ms", 9.0, headline=False)))
    assert told(Condition.REGRESSED, worse) == (
        True,
        "#12 is worse than #11: size/engine_bytes +12.0 % (95 % CI +11.0 % to +13.0 %)",
    )
    score = row("accuracy/engine_score", -0.04, change_ratio=None, change_difference=-0.04, ci95=None)
    assert told(Condition.REGRESSED, replace(GOOD, comparison=(score,))) == (
        True,
        "#12 is worse than #11: accuracy/engine_score -0.0400",
    )


def test_worse_than_a_run_that_somebody_chose_is_no_regression() -> None:
    chosen = replace(GOOD, comparison=(row("size/engine_bytes", 0.12),), baseline={"index": 3, "which": "best"})
    assert told(Condition.REGRESSED, chosen) == (False, "#12 was promoted: no gate failed")


def test_a_retrain_that_a_person_held_is_no_regression_and_one_that_could_not_be_decided_is_unknown() -> None:
    by_hand = replace(GOOD, verdict="held", reasons=("held by --no-promote", "no gate failed"))
    assert told(Condition.REGRESSED, by_hand) == (False, "#12 was held: held by --no-promote")
    undecided = replace(GOOD, verdict="held", reasons=("accuracy gate undecided: too_noisy",))
    assert told(Condition.REGRESSED, undecided) is None


def test_a_failure_after_a_regression_says_nothing_of_it() -> None:
    held = replace(GOOD, verdict="held", exit_code=3, reasons=(GATE,))
    failed = replace(GOOD, uid="u13", index=13, verdict="failed", exit_code=10, reasons=("loss is nan",), drift=None)
    assert told(Condition.REGRESSED, held, ended=failed) == (True, f"#12 was held: {GATE}")


# ---- drifting ------------------------------------------------------------------------------------------------------
def drifted(which: str = "last", **more: Any) -> dict[str, Any]:
    worst = [{"feature": "pressure", "distance": 0.4, "drifted": True}]
    found = {"index": 11, "reason": "", "drifted": 3, "tested": 12, "worst": worst, "labels": {"drifted": 0}}
    return {"against": {which: found | more}}


@pytest.mark.parametrize("which", ["last", "champion"])
def test_inputs_that_drifted_are_told_with_how_many_and_the_worst(which: str) -> None:
    assert told(Condition.DRIFTING, replace(GOOD, drift=drifted(which))) == (
        True,
        "#12: inputs drifted since #11: 3 of 12, worst pressure by 0.40",
    )


def test_labels_that_shifted_are_drift_too() -> None:
    worst = [{"feature": "label", "distance": 0.25, "drifted": True}]
    labels = {"drifted": 1, "tested": 1, "worst": worst}
    assert told(Condition.DRIFTING, replace(GOOD, drift=drifted(drifted=0, labels=labels))) == (
        True,
        "#12: labels drifted since #11: 1 of 1, worst label by 0.25",
    )


def test_a_metric_that_is_worse_than_in_earlier_retrains_twice_running_is_drift_and_no_regression() -> None:
    slow = replace(GOOD, comparison=(row("learning/train_to_engine_s", 0.6, how="history"),))
    assert told(Condition.DRIFTING, slow, before=replace(slow, uid="u11", index=11)) == (
        True,
        "#12: learning/train_to_engine_s +60.0 % (95 % CI +59.0 % to +61.0 %), against earlier retrains",
    )
    assert told(Condition.REGRESSED, slow) == (False, "#12 was promoted: no gate failed")


def test_one_night_of_more_work_is_no_drift() -> None:
    slow = replace(GOOD, comparison=(row("learning/train_to_engine_s", 0.6, how="history"),))
    assert not holds(Condition.DRIFTING, slow)
    assert not holds(Condition.DRIFTING, slow, before=GOOD)
    assert not holds(Condition.DRIFTING, GOOD, before=slow)


def test_a_metric_that_left_its_level_is_drift_at_the_retrain_that_told_it_and_until_somebody_answers() -> None:
    quiet = replace(GOOD, drift=None, alarms=[])
    assert told(Condition.DRIFTING, replace(quiet, alarms=[alarm()])) == (
        True,
        "#12: latency/e2e_p50_ms left its level at #4: 1 -> 1.2 ms (+20.0%, step)",
    )
    assert told(Condition.DRIFTING, quiet) == (False, "#12: neither its data nor a metric drifted")
    assert not holds(Condition.DRIFTING, replace(quiet, alarms=[alarm(state=AlarmState.ACKNOWLEDGED)]))
    assert not holds(Condition.DRIFTING, replace(quiet, alarms=[alarm(worse=False)]))


def test_data_that_was_not_looked_at_or_could_not_be_compared_says_nothing() -> None:
    assert told(Condition.DRIFTING, replace(GOOD, drift=None)) is None
    assert told(Condition.DRIFTING, replace(GOOD, drift={"against": {}})) is None
    assert told(Condition.DRIFTING, replace(GOOD, drift=drifted(reason="its data_sketch.json cannot be read"))) is None
    assert told(Condition.DRIFTING) == (False, "#12: neither its data nor a metric drifted")


def test_a_retrain_that_failed_after_it_saw_the_data_still_tells_of_drift() -> None:
    failed = replace(GOOD, uid="u13", index=13, verdict="failed", exit_code=10, drift=drifted())
    assert told(Condition.DRIFTING, GOOD, ended=failed) == (
        True,
        "#13: inputs drifted since #11: 3 of 12, worst pressure by 0.40",
    )


# ---- late ----------------------------------------------------------------------------------------------------------
def test_a_slot_that_waits_longer_than_allowed_is_late_in_words_that_stay_the_same() -> None:
    waiting = slot(SlotState.DUE, reason="the queue is full")
    late = f"the slot of {iso(DUE_S)} had not started 900 s after it was due: the queue is full"
    assert told(Condition.LATE, open=[waiting], due=waiting) == (True, late)
    later = find_conditions(Facts(now_s=NOW_S + 77, open=[waiting], due=waiting))[Condition.LATE]
    assert (later.holds, later.reason) == (True, late)
    assert told(Condition.LATE, open=[waiting], due=waiting, check_s=1_000.0) == (
        False,
        f"the slot of {iso(DUE_S)} is waiting: the queue is full",
    )


def test_a_slot_that_was_missed_is_late_until_the_next_one_begins() -> None:
    missed = slot(SlotState.MISSED, reason="dropped, as missed slots of this pipeline are")
    found = told(Condition.LATE, due=missed)
    assert found is not None
    assert found[0]
    assert "was missed: dropped" in found[1]
    later = slot(SlotState.RUNNING, planned_s=NOW_S, due_s=NOW_S, started_s=NOW_S + 1)
    assert not holds(Condition.LATE, due=later)


def test_a_slot_that_began_too_late_is_late_until_it_is_over() -> None:
    caught_up = slot(SlotState.RUNNING, started_s=NOW_S, was_missed=True)
    found = told(Condition.LATE, due=caught_up)
    assert found is not None
    assert found[0]
    assert found[1].endswith("started 1000 s after it was due")
    assert not holds(Condition.LATE, due=replace(caught_up, state=SlotState.RAN))
    assert not holds(Condition.LATE, due=replace(caught_up, started_s=DUE_S + 900))


def test_a_slot_that_waits_for_its_next_attempt_has_begun() -> None:
    again = slot(SlotState.DUE, started_s=DUE_S + 1, attempts=1)
    assert not holds(Condition.LATE, due=again, open=[again])


def test_a_slot_that_nobody_saw_is_late_once_it_is_overdue() -> None:
    found = told(Condition.LATE, unaccounted_s=NOW_S - 901)
    assert found is not None
    assert found[0]
    assert "no scheduler and no cron saw that slot" in found[1]
    assert told(Condition.LATE, unaccounted_s=NOW_S - 900) == (False, "no slot is overdue")
    assert told(Condition.LATE, unaccounted_s=NOW_S + 60) == (False, "no slot is overdue")


def test_a_pipeline_that_is_paused_is_never_late() -> None:
    waiting = slot(SlotState.DUE)
    assert told(Condition.LATE, open=[waiting], due=waiting, paused="paused by ada: holidays") == (
        False,
        "paused by ada: holidays",
    )


# ---- failing -------------------------------------------------------------------------------------------------------
FAILED = replace(GOOD, uid="u13", index=13, verdict="failed", exit_code=10, reasons=("loss is nan",))


def test_a_retrain_that_failed_is_told_with_its_exit_code() -> None:
    assert told(Condition.FAILING, GOOD, ended=FAILED) == (True, "#13 failed with exit code 10: loss is nan")
    assert told(Condition.FAILING) == (False, "#12 was promoted: no gate failed")


@pytest.mark.parametrize(
    ("state", "words"),
    [(SlotState.FAILED, "failed with exit code 2: no such module"), (SlotState.TIMED_OUT, "timed out")],
)
def test_a_slot_that_failed_is_told_though_no_retrain_was_recorded(state: SlotState, words: str) -> None:
    ended = slot(state, ended_s=NOW_S, started_s=NOW_S - 5, exit_code=2, reason="no such module")
    found = told(Condition.FAILING, slot=ended)
    assert found is not None
    assert found[0]
    assert words in found[1]
    assert "#12" not in found[1]


def test_what_ended_last_counts() -> None:
    failed = slot(SlotState.FAILED, ended_s=NOW_S - 100, started_s=NOW_S - 200, exit_code=10)
    assert told(Condition.FAILING, slot=failed) == (False, "#12 was promoted: no gate failed")
    ran = slot(SlotState.RAN, ended_s=NOW_S, started_s=NOW_S - 60, verdict="promoted")
    assert not holds(Condition.FAILING, FAILED, slot=ran)
    last = replace(failed, ended_s=NOW_S - 49)
    finding = find_conditions(Facts(now_s=NOW_S, ended=FAILED, slot=last))[Condition.FAILING]
    assert (finding.holds, finding.run) == (True, "u13")
    assert finding.reason.endswith("(#13)")


# ---- over budget ---------------------------------------------------------------------------------------------------
def test_a_promotion_that_took_too_long_is_over_budget() -> None:
    slow = replace(GOOD, data_to_deploy_s=400.4)
    words = "#12 was deployed 400 s after its newest data arrived, budget 300 s"
    assert told(Condition.OVER_BUDGET, slow, budget_s=300.0) == (True, words)
    assert not holds(Condition.OVER_BUDGET, slow, budget_s=400.4)
    assert told(Condition.OVER_BUDGET, slow) == (False, "no budget is set")
    assert told(Condition.OVER_BUDGET, GOOD, budget_s=300.0) is None


def test_a_reason_has_an_end() -> None:
    long = replace(GOOD, verdict="held", exit_code=3, reasons=(GATE * 100,))
    found = told(Condition.REGRESSED, long)
    assert found is not None
    assert len(found[1]) == 1000


def test_slots_of_any_cause_may_be_late() -> None:
    asked = slot(SlotState.DUE, cause=Cause.DATA)
    assert holds(Condition.LATE, open=[asked])


def test_milliseconds_bytes_and_joules_have_budgets_too_and_all_that_is_over_is_named() -> None:
    p99 = Spent(told="a p99 of 8.1 ms", value=8.1, limit=7.0)
    size = Spent(told="engine files of 900 bytes", value=900.0, limit=1000.0)
    assert told(Condition.OVER_BUDGET, spent=(p99, size)) == (True, "#12 has a p99 of 8.1 ms, budget 7")
    within = "#12 has engine files of 900 bytes, budget 1000"
    assert told(Condition.OVER_BUDGET, spent=(size,)) == (False, within)
    slow = replace(GOOD, data_to_deploy_s=400.4)
    both = told(Condition.OVER_BUDGET, slow, budget_s=300.0, spent=(p99,))
    assert both is not None
    assert both[1].count("budget") == 2

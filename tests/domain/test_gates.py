"""A gate answers in one sentence: passed, failed, waived or undecided."""

import pytest

from plaster_ops.domain.card import Card, Reading, Status, Unmeasured
from plaster_ops.domain.gates import (
    GATE_METRICS,
    Gate,
    GateOutcome,
    GateState,
    apply_gates,
    describe_change,
    holds_back,
)
from plaster_ops.domain.judgement import Comparison, Judgement
from plaster_ops.domain.metrics import (
    E2E_P50_MS,
    ENGINE_BYTES,
    INFERENCES_PER_J,
    ROLLING_SCORE,
    SLO_SAMPLES_PER_S,
    Better,
    Letter,
    Metric,
)

LATENCY = Gate(name="latency", metric=E2E_P50_MS, limit=0.05)
ACCURACY = Gate(name="accuracy", metric=ROLLING_SCORE, limit=0.01)


def compared(
    metric: Metric,
    judgement: Judgement,
    change: float | None = None,
    half95: float | None = 0.01,
    *,
    p_adjusted: float | None = 0.001,
    reason: str | None = None,
) -> Comparison:
    interval = None if change is None or half95 is None else (change - half95, change + half95)
    better = Better.HIGHER if metric.better is Better.DECLARED else metric.better
    return Comparison(
        metric=metric,
        judgement=judgement,
        now=1.0,
        then=1.0,
        change=change,
        ci95=interval,
        p_adjusted=p_adjusted,
        reason=reason,
        better=better,
    )


def answer(gate: Gate, *rows: Comparison) -> GateOutcome:
    (outcome,) = apply_gates([gate], rows)
    return outcome


def test_slower_than_allowed_fails_with_the_figures_in_words() -> None:
    outcome = answer(LATENCY, compared(E2E_P50_MS, Judgement.WORSE, 0.09, 0.03))
    assert outcome.state is GateState.FAILED
    assert outcome.sentence == (
        "latency gate failed: latency/e2e_p50_ms +9.0 % (95 % CI +6.0 % to +12.0 %), allowed 5 %"
    )


@pytest.mark.parametrize("change", [-0.5, 0.0, 0.04])
def test_faster_or_hardly_slower_passes(change: float) -> None:
    assert answer(LATENCY, compared(E2E_P50_MS, Judgement.SAME, change)).state is GateState.PASSED


def test_a_gate_knows_which_way_is_better() -> None:
    gate = Gate(name="throughput", metric=SLO_SAMPLES_PER_S, limit=0.05)
    assert answer(gate, compared(SLO_SAMPLES_PER_S, Judgement.WORSE, -0.2)).state is GateState.FAILED
    assert answer(gate, compared(SLO_SAMPLES_PER_S, Judgement.BETTER, +0.2)).state is GateState.PASSED


def test_a_score_is_held_by_its_difference_and_shown_as_one() -> None:
    outcome = answer(ACCURACY, compared(ROLLING_SCORE, Judgement.WORSE, -0.03, 0.01))
    assert outcome.state is GateState.FAILED
    assert outcome.sentence == (
        "accuracy gate failed: accuracy/rolling_score -0.0300 (95 % CI -0.0400 to -0.0200), allowed 0.01"
    )


def test_what_is_counted_fails_without_an_interval() -> None:
    gate = Gate(name="size", metric=ENGINE_BYTES, limit=0.01)
    row = compared(ENGINE_BYTES, Judgement.WORSE, 0.2, None, p_adjusted=None)
    assert answer(gate, row).state is GateState.FAILED


@pytest.mark.parametrize(
    ("half95", "p_adjusted"), [(0.2, 0.001), (0.01, 0.2), (0.01, None)], ids=["over zero", "by chance", "untested"]
)
def test_a_loss_that_may_be_chance_does_not_fail_but_is_undecided(half95: float, p_adjusted: float | None) -> None:
    row = compared(E2E_P50_MS, Judgement.INCONCLUSIVE, 0.09, half95, p_adjusted=p_adjusted, reason="too_noisy: so")
    outcome = answer(LATENCY, row)
    assert outcome.state is GateState.UNDECIDED
    assert outcome.sentence == "latency gate undecided: too_noisy: so"


def test_an_undecided_change_whose_worst_case_is_allowed_passes() -> None:
    row = compared(E2E_P50_MS, Judgement.INCONCLUSIVE, 0.02, 0.02, reason="beyond_zero_within_margin")
    assert answer(LATENCY, row).state is GateState.PASSED


def test_a_letter_that_could_not_be_measured_waives_its_gate_and_says_why() -> None:
    gate = Gate(name="energy", metric=INFERENCES_PER_J, limit=0.05)
    row = compared(INFERENCES_PER_J, Judgement.NOT_COMPARABLE, reason="not measured now: no NVML, no RAPL")
    outcome = answer(gate, row)
    assert outcome.state is GateState.WAIVED
    assert outcome.sentence == "energy gate waived: not measured now: no NVML, no RAPL"
    assert answer(gate).sentence == "energy gate waived: not measured"


def test_a_required_gate_says_that_it_was_required() -> None:
    gate = Gate(name="energy", metric=INFERENCES_PER_J, limit=0.05, required=True)
    assert answer(gate).sentence == "energy gate required, but not measured"
    assert answer(gate).to_json()["required"] is True


def test_there_is_a_gate_for_each_letter() -> None:
    assert {metric.letter for metric in GATE_METRICS.values()} == set(Letter)
    assert GATE_METRICS["accuracy"] is ROLLING_SCORE


def test_a_row_without_a_change_is_described_by_its_verdict() -> None:
    assert describe_change(compared(E2E_P50_MS, Judgement.INCONCLUSIVE)) == "latency/e2e_p50_ms inconclusive"


# ---- floors and ceilings -------------------------------------------------------------------------------------------
FLOOR = Gate(name="accuracy", metric=ROLLING_SCORE, limit=0.01, floor=0.9)
CEILING = Gate(name="latency", metric=E2E_P50_MS, ceiling=7.0)


def card(metric: Metric, value: float | None, status: Status = Status.MEASURED) -> Card:
    better = Better.HIGHER if metric.better is Better.DECLARED else None
    if value is None:
        return Card.of([Unmeasured(metric=metric, reason="no clock", better=better)])
    return Card.of([Reading(metric=metric, value=value, status=status, better=better)])


@pytest.mark.parametrize(
    ("value", "state"), [(0.9, GateState.PASSED), (0.95, GateState.PASSED), (0.8999, GateState.FAILED)]
)
def test_a_value_below_its_floor_fails_though_it_is_no_worse_than_the_champion(value: float, state: GateState) -> None:
    (outcome,) = apply_gates([FLOOR], [compared(ROLLING_SCORE, Judgement.SAME, 0.0)], card(ROLLING_SCORE, value))
    assert outcome.state is state


def test_what_failed_and_nothing_else_is_said_of_a_gate_with_both() -> None:
    worse = compared(ROLLING_SCORE, Judgement.WORSE, -0.2)
    (outcome,) = apply_gates([FLOOR], [worse], card(ROLLING_SCORE, 0.7))
    assert outcome.sentence.startswith("accuracy gate failed: accuracy/rolling_score 0.7 is below its floor 0.9; accu")
    (outcome,) = apply_gates([FLOOR], [worse], card(ROLLING_SCORE, 0.91))
    assert outcome.sentence.startswith("accuracy gate failed: accuracy/rolling_score -0.2000")
    assert "floor" not in outcome.sentence


def test_a_ceiling_is_asked_of_the_first_engine_too() -> None:
    (outcome,) = apply_gates([CEILING], None, card(E2E_P50_MS, 7.25))
    assert (outcome.state, outcome.sentence) == (
        GateState.FAILED,
        "latency gate failed: latency/e2e_p50_ms 7.25 is above its ceiling 7",
    )
    (outcome,) = apply_gates([CEILING], None, card(E2E_P50_MS, 7.0))
    assert outcome.sentence == "latency gate passed: latency/e2e_p50_ms 7, ceiling 7"


def test_without_a_champion_a_limit_has_nothing_to_be_held_against() -> None:
    (outcome,) = apply_gates([LATENCY], None, card(E2E_P50_MS, 1.0))
    assert (outcome.state, outcome.sentence) == (
        GateState.NO_CHAMPION,
        "latency gate: there is no champion to be held against yet",
    )


@pytest.mark.parametrize("status", [Status.ESTIMATED, Status.SUSPECT])
def test_a_guess_decides_no_bound(status: Status) -> None:
    (outcome,) = apply_gates([CEILING], None, card(E2E_P50_MS, 9.0, status))
    assert (outcome.state, outcome.sentence) == (GateState.WAIVED, f"latency gate waived: {status.value}")


def test_what_was_not_measured_waives_a_bound_and_a_required_one_is_told_so() -> None:
    (outcome,) = apply_gates([CEILING], None, card(E2E_P50_MS, None))
    assert (outcome.state, outcome.sentence) == (GateState.WAIVED, "latency gate waived: no clock")
    required = Gate(name="latency", metric=E2E_P50_MS, ceiling=7.0, required=True)
    (outcome,) = apply_gates([required], None, None)
    assert outcome.sentence == "latency gate required, but not measured"


def test_a_gate_in_words() -> None:
    assert FLOOR.words == "may get worse by 0.01, and not be below 0.9"
    assert CEILING.words == "may not be above 7"


def test_exactly_the_limit_is_allowed() -> None:
    gate = Gate(name="size", metric=ENGINE_BYTES, limit=0.25)
    row = compared(ENGINE_BYTES, Judgement.WORSE, 0.25, None, p_adjusted=None)
    assert answer(gate, row).state is GateState.PASSED


def test_a_limit_that_is_broken_fails_though_the_floor_could_not_be_looked_at() -> None:
    worse = compared(ROLLING_SCORE, Judgement.WORSE, -0.2)
    (outcome,) = apply_gates([FLOOR], [worse], card(ROLLING_SCORE, None))
    assert outcome.state is GateState.FAILED
    assert outcome.sentence.startswith("accuracy gate failed: ")


def test_what_holds_back_is_told_by_its_sentence() -> None:
    required = Gate(name="energy", metric=INFERENCES_PER_J, limit=0.05, required=True)
    optional = Gate(name="energy", metric=INFERENCES_PER_J, limit=0.05)
    failed = answer(LATENCY, compared(E2E_P50_MS, Judgement.WORSE, 0.09, 0.03))
    told = [each.sentence for each in (failed, answer(required), answer(optional))]
    assert [holds_back(sentence) for sentence in told] == [True, True, False]

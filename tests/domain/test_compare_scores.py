"""Scores on few samples, and architectures that changed."""

import math
from dataclasses import replace

import pytest

from plaster_ops.domain.compare import samples_needed
from plaster_ops.domain.gates import Gate, GateState, apply_gates
from plaster_ops.domain.judgement import Judgement
from plaster_ops.domain.metrics import ENGINE_BYTES, LAYERS_COUNT, PARAMS_COUNT, ROLLING_SCORE, SAMPLE_MACS
from plaster_ops.domain.sample import PairedDifference
from tests.domain.cards import evidence, judge, reading


def paired(delta: float, half95: float, n: int, method: str = "mcnemar_midp") -> PairedDifference:
    half90 = half95 * 0.84
    return PairedDifference(
        key=ROLLING_SCORE.key,
        delta=delta,
        ci95=(delta - half95, delta + half95),
        ci90=(delta - half90, delta + half90),
        p_value=0.3,
        method=method,
        n=n,
    )


def test_a_set_that_is_too_small_for_the_gate_is_undetermined_and_says_how_many_would_do() -> None:
    row = judge(reading(ROLLING_SCORE, 0.95), reading(ROLLING_SCORE, 0.952), evidence(paired(-0.002, 0.02, 100)))
    needed = math.ceil(100 * (0.02 * 0.84 / 0.003) ** 2)
    assert row.judgement is Judgement.INCONCLUSIVE
    assert str(row.reason).endswith(f"undetermined with 100 samples, about {needed} would tell")
    gate = Gate(name="accuracy", metric=ROLLING_SCORE, limit=0.005)
    (outcome,) = apply_gates([gate], [row])
    assert outcome.state is GateState.UNDECIDED
    assert f"about {needed} would tell" in outcome.sentence


def test_a_loss_beyond_the_margin_needs_samples_until_its_interval_excludes_0() -> None:
    assert samples_needed(paired(-0.02, 0.03, 100), 0.005) == 225
    assert samples_needed(paired(0.005, 0.03, 100), 0.005) is None


def test_with_as_many_samples_as_it_asked_for_it_is_settled() -> None:
    few = paired(0.001, 0.02, 100)
    needed = samples_needed(few, 0.005)
    assert needed is not None
    half95 = 0.02 * math.sqrt(100 / needed)
    row = judge(reading(ROLLING_SCORE), reading(ROLLING_SCORE), evidence(paired(0.001, half95, needed)))
    assert row.judgement is Judgement.SAME


@pytest.mark.parametrize("n", [1, 5])
def test_a_handful_of_resampled_samples_decides_nothing(n: int) -> None:
    certain = paired(0.3, 0.0, n, "paired_bootstrap")
    row = judge(reading(ROLLING_SCORE), reading(ROLLING_SCORE), evidence(certain))
    assert row.judgement is Judgement.INCONCLUSIVE
    assert str(row.reason).startswith(f"undetermined with {n} samples")


def test_one_sample_says_that_it_is_one() -> None:
    alone = replace(paired(0.3, 0.0, 1, "unresampled"), ci95=None, ci90=None, p_value=None)
    row = judge(reading(ROLLING_SCORE), reading(ROLLING_SCORE), evidence(alone))
    assert row.reason == "undetermined with 1 sample: one says nothing of the spread"


@pytest.mark.parametrize("metric", [PARAMS_COUNT, LAYERS_COUNT, SAMPLE_MACS])
def test_another_architecture_is_flagged_and_the_same_one_is_not(metric: object) -> None:
    row = judge(reading(metric, 120.0), reading(metric, 100.0))  # type: ignore[arg-type]
    assert (row.judgement, row.reason, row.change) == (Judgement.WORSE, "architecture_changed", pytest.approx(0.2))
    assert judge(reading(metric, 100.0), reading(metric, 100.0)).reason == "exact"  # type: ignore[arg-type]


def test_bytes_that_differ_are_no_other_architecture() -> None:
    assert judge(reading(ENGINE_BYTES, 120.0), reading(ENGINE_BYTES, 100.0)).reason == "exact"


def test_six_resampled_samples_are_enough_to_be_judged() -> None:
    row = judge(reading(ROLLING_SCORE), reading(ROLLING_SCORE), evidence(paired(0.0, 0.001, 6, "paired_t")))
    assert row.judgement is Judgement.SAME

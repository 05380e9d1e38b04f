"""The noise of a machine: what two copies of one engine may seem to differ by."""

import math

import numpy as np
import pytest

from plaster_ops.domain.gates import Gate, GateState, apply_gates
from plaster_ops.domain.judgement import Judgement
from plaster_ops.domain.metrics import E2E_P50_MS
from plaster_ops.domain.sample import PairedRatios
from plaster_ops.plaster.noise import half_width
from tests.domain.cards import evidence, judge, ratios, reading


def copies(*per_process: float, error: float = 0.0) -> PairedRatios:
    count = len(per_process)
    return PairedRatios(key=E2E_P50_MS.key, per_process=per_process, within_se=(error,) * count, pairs=(100,) * count)


def test_copies_that_agree_leave_the_prior_alone() -> None:
    """Three processes, all zero: S2 = 4 s0^2 / 7 with s0 = log(1.05) / 4, times t(0.975, 7) / sqrt(3)."""
    expected = math.expm1(2.364624 * math.sqrt(4 / 7) * math.log(1.05) / 4 / math.sqrt(3))
    assert half_width([copies(0.0, 0.0, 0.0)], 0.05) == pytest.approx(expected, rel=1e-5)


def test_it_grows_with_what_the_processes_show_and_with_a_lasting_difference() -> None:
    scattered = half_width([copies(0.10, -0.10, 0.05)], 0.05)
    lasting = half_width([copies(0.10, 0.10, 0.10)], 0.05)
    assert scattered > 0.05
    assert lasting > scattered


def test_noise_inside_the_processes_counts_where_these_happen_to_agree() -> None:
    assert half_width([copies(0.0, 0.0, 0.0, error=0.2)], 0.05) > 0.1


def test_half_the_variance_is_a_narrower_comparison() -> None:
    whole, half = (half_width([copies(0.02, -0.02, 0.01)], 0.05, share=share) for share in (1.0, 0.5))
    assert math.log1p(half) == pytest.approx(math.log1p(whole) * math.sqrt(0.5))


def test_ten_comparisons_cover_what_the_next_one_shows() -> None:
    """Process effects of 3 %: the half-width from ten comparisons of three holds 95 % of further ones."""
    generator = np.random.default_rng(7)
    inside = 0
    for _ in range(400):
        seen = generator.normal(0.0, 0.03, (10, 3))
        width = half_width([copies(*map(float, row)) for row in seen], 0.05)
        inside += abs(math.expm1(float(generator.normal(0.0, 0.03, 3).mean()))) <= width
    assert 0.92 <= inside / 400 <= 0.98


def test_nothing_was_compared() -> None:
    with pytest.raises(ValueError, match="no comparison"):
        half_width([], 0.05)


@pytest.mark.parametrize("shift", [math.log(1.0505), math.log(0.9495)])
def test_a_change_inside_the_noise_is_judged_by_nobody_and_fails_no_gate_though_it_is_beyond_the_margin(
    shift: float,
) -> None:
    """The figure is told, and neither verdict nor gate rests on it."""
    seen = evidence(ratios(E2E_P50_MS, shift, shift, shift), noise={E2E_P50_MS.key: 0.0512})
    row = judge(reading(E2E_P50_MS), reading(E2E_P50_MS), seen)
    assert row.judgement is Judgement.INCONCLUSIVE
    assert row.reason == "too_noisy: two copies of one engine differ by up to 5.1% here, more than the margin 5.0%"
    (outcome,) = apply_gates([Gate(name="latency", metric=E2E_P50_MS, limit=0.05)], [row])
    assert outcome.state in (GateState.UNDECIDED, GateState.PASSED)
    assert (outcome.state is GateState.PASSED) == (shift < 0)


@pytest.mark.parametrize(
    ("shift", "judgement", "state"),
    [(math.log(1.5), Judgement.WORSE, GateState.FAILED), (math.log(0.5), Judgement.BETTER, GateState.PASSED)],
)
def test_a_change_far_beyond_the_noise_is_judged_on_a_noisy_machine_too(
    shift: float, judgement: Judgement, state: GateState
) -> None:
    seen = evidence(ratios(E2E_P50_MS, shift, shift, shift), noise={E2E_P50_MS.key: 0.0512})
    row = judge(reading(E2E_P50_MS), reading(E2E_P50_MS), seen)
    assert row.judgement is judgement
    (outcome,) = apply_gates([Gate(name="latency", metric=E2E_P50_MS, limit=0.05)], [row])
    assert outcome.state is state

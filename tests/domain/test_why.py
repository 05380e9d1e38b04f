"""Why a verdict is what it is, and what would have changed it."""

import math
from typing import Any

import pytest

from plaster_ops.domain.compare import interval_of_processes
from plaster_ops.domain.metrics import E2E_P50_MS, ENGINE_BYTES, ROLLING_SCORE
from plaster_ops.domain.sample import PairedDifference, PairedRatios
from plaster_ops.domain.why import (
    change_of,
    difference_arithmetic,
    history_arithmetic,
    ratio_arithmetic,
    what_would_change,
)


def row(verdict: str, change: float | None, ci95: tuple[float, float] | None = None, **more: Any) -> dict[str, Any]:
    plain = {"key": E2E_P50_MS.key, "verdict": verdict, "change_ratio": change, "change_difference": None}
    return {**plain, "ci95": ci95, "limit": 0.05, "p_value": 0.01, "p_adjusted": 0.02, **more}


def test_the_steps_lead_to_the_interval_that_was_judged() -> None:
    paired = PairedRatios(
        key=E2E_P50_MS.key, per_process=(0.08, 0.10, 0.06), within_se=(0.01, 0.01, 0.02), pairs=(20, 20, 20)
    )
    steps = ratio_arithmetic(paired, row("worse", 0.08))
    judged = interval_of_processes(paired, 0.05)
    assert steps["estimate_log_ratio"] == judged.value
    half = (judged.ci95[1] - judged.ci95[0]) / 2
    quantile = {6: 2.446911851144969}[steps["degrees_of_freedom"]]
    assert quantile * steps["standard_error"] == pytest.approx(half)


def test_earlier_retrains_give_a_level_and_a_spread() -> None:
    steps = history_arithmetic([1.0, 1.1, 0.9, -1.0], row("same", 0.0))
    assert steps is not None
    assert (steps["earlier"], steps["degrees_of_freedom"]) == (3, 6)
    assert steps["level"] == pytest.approx((1.0 * 1.1 * 0.9) ** (1 / 3))
    assert history_arithmetic([1.0], row("same", 0.0)) is None
    many = history_arithmetic([1.0 + i / 100 for i in range(30)], row("same", 0.0))
    assert many is not None
    assert (many["earlier"], many["prior_sd"], many["degrees_of_freedom"]) == (20, None, 19)


def test_samples_are_counted() -> None:
    paired = PairedDifference(
        key=ROLLING_SCORE.key,
        delta=-0.01,
        ci95=(-0.02, 0.0),
        ci90=(-0.018, -0.002),
        p_value=0.04,
        method="mcnemar_midp",
        n=500,
        gained=3,
        lost=8,
    )
    steps = difference_arithmetic(paired)
    assert (steps["n"], steps["gained"], steps["lost"], steps["estimate"]) == (500, 3, 8, -0.01)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (row("not_comparable", None), "nothing was compared"),
        (row("inconclusive", 0.1), "two recorded numbers"),
        (row("inconclusive", 0.1, reason_code="too_few_samples"), "more samples in the set that is scored"),
        (row("worse", 0.09, (0.04, 0.14)), "4 % clear of no change, and the estimate is 4 % beyond the margin"),
        (row("worse", 0.09, (0.04, 0.14)), "undone it above 0.05; it is 0.02"),
        (row("same", 0.01, (-0.02, 0.04)), "larger by about 4 %"),
        (row("inconclusive", 0.03, (0.01, 0.05)), "a margin below 3 %"),
        (row("inconclusive", 0.08, (0.01, 0.15), p_adjusted=0.2), "among all metrics p is 0.2"),
        (row("inconclusive", 0.01, (-0.09, 0.11)), "a change of 10 % or more"),
        (row("inconclusive", 0.01, (-0.09, 0.11)), "about 7 times the evidence"),
        (row("same", 0.0, key=ENGINE_BYTES.key), "both are equal"),
        (row("same", 0.005, key=ENGINE_BYTES.key), "inside the margin 5 %"),
        (row("worse", 0.5, key=ENGINE_BYTES.key), "a margin of 50 % or more"),
        (
            row("inconclusive", None, (-0.02, 0.01), key=ROLLING_SCORE.key, change_difference=-0.005, limit=0.005),
            "0.0150 or more",
        ),
    ],
)
def test_what_the_verdict_hung_on_is_said(told: dict[str, Any], words: str) -> None:
    assert words in " ".join(what_would_change(told))


def test_the_change_is_the_one_of_the_metric_s_scale() -> None:
    assert change_of(row("same", 0.01)) == 0.01
    assert change_of(row("same", None, change_difference=0.2)) == 0.2
    assert change_of(row("same", None)) is None
    assert math.isfinite(change_of(row("same", 0)) or 0.0)

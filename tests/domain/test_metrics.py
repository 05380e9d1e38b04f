"""The catalogue says of each metric what it is, and says it once."""

import re

import pytest

from plaster_ops.domain import metrics
from plaster_ops.domain.metrics import CATALOGUE, HEADLINES, Better, Letter, Metric, Scale, find_metric
from plaster_ops.domain.metrics.declare import declare

AXES = {
    "P": "programmability",
    "L": "latency",
    "A": "accuracy",
    "S": "size",
    "T": "throughput",
    "E": "energy",
    "R": "learning",
}
EVERY = pytest.mark.parametrize("metric", CATALOGUE.values(), ids=CATALOGUE)


@EVERY
def test_a_key_begins_with_its_axis_and_ends_with_its_unit(metric: Metric) -> None:
    axis, _, name = metric.key.partition("/")
    assert axis in (AXES[metric.letter], "env")
    assert name.endswith(f"_{metric.unit}")
    assert re.fullmatch(r"[a-z0-9_]+", name)


@EVERY
def test_a_method_id_has_a_version_and_a_meaning_is_given(metric: Metric) -> None:
    assert re.fullmatch(r"[a-z0-9_]+\.[a-z0-9_]+\.v\d+", metric.method)
    assert len(metric.meaning.split()) >= 2


@EVERY
def test_what_is_judged_has_a_direction(metric: Metric) -> None:
    if metric.margin is not None:
        assert metric.better is not Better.NEITHER
        assert metric.margin >= 0


@EVERY
def test_only_the_pipelines_own_score_leaves_its_direction_open(metric: Metric) -> None:
    assert (metric.better is Better.DECLARED) == (
        metric in (metrics.ENGINE_SCORE, metrics.ROLLING_SCORE, metrics.WORST_SLICE_SCORE)
    )


def test_the_seven_headlines_are_those_of_the_design_in_the_order_of_the_letters() -> None:
    assert [m.key for m in HEADLINES] == [
        "programmability/engine_flops_ratio",
        "latency/e2e_p50_ms",
        "accuracy/engine_score",
        "size/engine_bytes",
        "throughput/slo_samples_per_s",
        "energy/inferences_per_j",
        "learning/train_to_engine_s",
    ]
    assert "".join(m.letter for m in HEADLINES) == "PLASTER" == "".join(Letter)


def test_default_margins_are_those_of_the_design() -> None:
    given = {m.key: m.margin for m in CATALOGUE.values() if m.margin is not None}
    assert given["latency/e2e_p50_ms"] == given["throughput/slo_samples_per_s"] == given["energy/inferences_per_j"]
    assert given["latency/e2e_p50_ms"] == 0.05
    assert given["latency/e2e_p90_ms"] == given["learning/train_to_engine_s"] == 0.10
    assert given["accuracy/engine_score"] == given["accuracy/rolling_score"] == 0.005
    assert given["size/engine_bytes"] == 0.01
    assert given["programmability/engine_flops_ratio"] == 0.0


def test_p99_is_shown_and_never_judged() -> None:
    assert metrics.E2E_P99_MS.margin is None


def test_a_score_is_compared_as_a_difference_because_it_can_be_zero() -> None:
    assert metrics.ENGINE_SCORE.scale is metrics.ROLLING_SCORE.scale is Scale.DIFFERENCE


def test_a_key_that_nobody_declared_is_named() -> None:
    assert find_metric("latency/e2e_p50_ms") is metrics.E2E_P50_MS
    with pytest.raises(KeyError, match="latency/speed"):
        find_metric("latency/speed")


def test_a_metric_cannot_be_declared_twice() -> None:
    with pytest.raises(ValueError, match="latency/e2e_p50_ms is declared twice"):
        declare(Letter.LATENCY, "latency/e2e_p50_ms", "ms", Better.LOWER, "latency.other.v1", "again")

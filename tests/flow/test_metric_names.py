"""What a person types finds the metric, or the nearest one is told."""

import pytest

from plaster_ops.domain.metrics import E2E_P50_MS, E2E_P99_MS, ENGINE_BYTES, INFERENCES_PER_J, Metric
from plaster_ops.errors import UsageError
from plaster_ops.flow.metric_names import meant_metric


@pytest.mark.parametrize(
    ("text", "metric"),
    [
        (E2E_P50_MS.key, E2E_P50_MS),
        (" Latency/E2E_p50_ms ", E2E_P50_MS),
        ("e2e_p50", E2E_P50_MS),
        ("engine_bytes", ENGINE_BYTES),
        ("energy/inferences", INFERENCES_PER_J),
    ],
)
def test_a_key_or_the_only_end_that_fits_is_meant(text: str, metric: Metric) -> None:
    assert meant_metric(text, [INFERENCES_PER_J.key]) is metric


def test_of_several_ends_the_one_that_was_measured_is_meant_or_the_headline() -> None:
    assert meant_metric("p99", [E2E_P99_MS.key]) is E2E_P99_MS
    assert meant_metric("p50") is E2E_P50_MS
    with pytest.raises(UsageError, match=r"may be any of: .*e2e_p99_ms.*gpu_compute_p99_ms"):
        meant_metric("p99")


@pytest.mark.parametrize(
    ("typo", "key"),
    [
        ("latency/e2e_p50ms", "e2e_p50_ms"),
        ("engin_bytes", "engine_bytes"),
        ("cpu_time", "energy/cpu_time_per"),
        ("", ""),
    ],
)
def test_a_typo_is_told_the_nearest(typo: str, key: str) -> None:
    with pytest.raises(UsageError, match="no metric is called") as caught:
        meant_metric(typo)
    assert key in caught.value.next_step

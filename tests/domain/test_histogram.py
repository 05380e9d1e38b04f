"""A log histogram gives every quantile within half a bin, and the rest exactly."""

import math
import random

import pytest

from plaster_ops.domain.histogram import BIN_RATIO, LARGEST_ERROR_RATIO, LogHistogram
from plaster_ops.plaster.percentiles import percentile

LAWS = {
    "heavy tail": lambda r: round(80_000 * math.exp(r.gauss(0, 0.15)) * (1 + 9 * (r.random() < 0.03))),
    "two modes": lambda r: round(r.choice((100_000, 101_990)) * math.exp(r.gauss(0, 1e-4))),
    "one value": lambda _: 12_345,
    "nanoseconds": lambda r: r.randint(1, 40),
    "seconds": lambda r: round(r.uniform(1e9, 30e9)),
}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("n", [1, 7, 5000])
def test_every_quantile_is_within_half_a_bin_of_that_of_the_samples(law: str, n: int) -> None:
    source = random.Random(f"{law} {n}")
    samples = [LAWS[law](source) for _ in range(n)]
    found, ordered = LogHistogram.of(samples), sorted(samples)
    for quantile in (0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0):
        assert found.quantile_ns(quantile) == pytest.approx(percentile(ordered, quantile), rel=LARGEST_ERROR_RATIO)
    assert (found.n, found.min_ns, found.max_ns, found.sum_ns) == (n, ordered[0], ordered[-1], sum(ordered))


def test_half_a_bin_is_less_than_seven_in_a_thousand() -> None:
    assert LARGEST_ERROR_RATIO < 0.007
    assert math.isclose((1 + LARGEST_ERROR_RATIO) ** 2, BIN_RATIO)


def test_histograms_put_together_are_that_of_all_samples() -> None:
    parts = [[10, 20, 30], [20, 2000], [7]]
    whole = [sample for part in parts for sample in part]
    assert LogHistogram.merged(map(LogHistogram.of, parts)) == LogHistogram.of(whole)


def test_it_comes_back_as_it_was_written() -> None:
    found = LogHistogram.of([3, 3, 900, 10**9])
    assert LogHistogram.from_json(found.to_json()) == found


@pytest.mark.parametrize("fields", [{"bins": 3, "counts": []}, {"bins": [1], "counts": [1, 2], "min": 0}])
def test_fields_of_another_shape_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        LogHistogram.from_json(fields)


def test_nothing_has_no_histogram() -> None:
    with pytest.raises(ValueError, match=r"."):
        LogHistogram.of([])


def test_the_smallest_and_the_largest_are_exact() -> None:
    found = LogHistogram.of([101, 102, 103, 5_003, 5_007])
    assert (found.quantile_ns(0.01), found.quantile_ns(1.0)) == (101.0, 5_007.0)


def test_no_quantile_lies_outside_what_was_measured() -> None:
    """The middle of a bin may be on either side of the one value that is in it."""
    for value in (12_345, 12_399, 12_450, 12_500):
        assert LogHistogram.of([value] * 3).quantile_ns(0.5) == value

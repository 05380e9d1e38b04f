"""Numbers as a person reads them."""

import pytest

from plaster_ops.domain.metrics import CATALOGUE, E2E_P50_MS, ENGINE_BYTES, ENGINE_SCORE
from plaster_ops.report.numbers import show_change, show_interval, show_limit, show_value


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "ms", "n/a"),
        (1.92345, "ms", "1.923 ms"),
        (0.0, "ms", "0 ms"),
        (12345.6, "ms", "12 346 ms"),
        (97_725, "bytes", "97.7 kB"),
        (48_700_000, "bytes", "48.7 MB"),
        (1.5e9, "bytes", "1.5 GB"),
        (999, "bytes", "999 B"),
        (0, "bytes", "0 B"),
        (21_578, "count", "21 578"),
        (315_904, "macs", "315 904 MAC"),
        (1.0, "ratio", "1.000"),
        (0.97314, "score", "0.9731"),
        (8214.2, "per_s", "8 214 /s"),
        (3.14159, "per_s", "3.14 /s"),
        (12.3456, "per_j", "12.35 /J"),
        (0.00012, "s", "120 us"),
        (0.25, "s", "250 ms"),
        (12.34, "s", "12.3 s"),
        (754.4, "s", "12 min 34 s"),
        (-5.0, "s", "-5.0 s"),
    ],
)
def test_a_value_is_shown_with_its_unit(value: float | None, unit: str, text: str) -> None:
    assert show_value(value, unit) == text


def test_every_unit_of_the_catalogue_can_be_shown() -> None:
    for unit in {metric.unit for metric in CATALOGUE.values()}:
        assert show_value(12.0, unit) != ""


def test_a_change_of_a_score_is_a_difference_and_of_anything_else_a_percentage() -> None:
    assert show_change(0.0912, E2E_P50_MS) == "+9.1 %"
    assert show_change(-0.0042, ENGINE_SCORE) == "-0.0042"
    assert show_change(None, E2E_P50_MS) == ""


def test_an_interval_is_in_the_unit_of_its_change() -> None:
    assert show_interval((0.042, 0.143), E2E_P50_MS) == "[+4.2 %, +14.3 %]"
    assert show_interval([-0.02, 0.01], ENGINE_SCORE) == "[-0.0200, +0.0100]"
    assert show_interval(None, E2E_P50_MS) == ""
    assert show_interval(None, ENGINE_BYTES) == "exact"


def test_a_limit_is_in_the_unit_of_its_change() -> None:
    assert show_limit(0.05, E2E_P50_MS) == "5 %"
    assert show_limit(0.005, ENGINE_SCORE) == "0.005"
    assert show_limit(None, E2E_P50_MS) == ""

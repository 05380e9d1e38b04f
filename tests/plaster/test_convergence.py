"""False alarms and power of the check of convergence, by simulation with fixed seeds."""

import numpy as np
import pytest

from plaster_ops.plaster.convergence import check

EPOCH = 100


def history(draw: np.random.Generator, retrains: int, spread: float, usual: float) -> list[int]:
    """Samples to target of fits alike, rounded up to whole epochs."""
    found = np.exp(draw.normal(np.log(usual), spread, retrains))
    return [int(np.ceil(value / EPOCH)) * EPOCH for value in found]


def flags(draw: np.random.Generator, spread: float, usual: float) -> list[str]:
    """The flags of 40 retrains in a row, each held against all before it."""
    values = history(draw, 40, spread, usual)
    found = [check(value, values[:place], value // EPOCH).flag for place, value in enumerate(values)]
    assert found[:5] == [""] * 5
    return found[5:]


@pytest.mark.parametrize(("spread", "usual"), [(0.05, 20_000), (0.3, 20_000), (0.3, 700), (0.1, 250), (0.0, 300)])
def test_fits_alike_are_flagged_no_more_often_than_promised(spread: float, usual: float) -> None:
    draw = np.random.default_rng(7)
    found = [flag for _ in range(60) for flag in flags(draw, spread, usual)]
    n = len(found)
    most = n * 0.05 + 3 * (n * 0.05 * 0.95) ** 0.5
    assert found.count("too_fast") <= most
    assert found.count("too_slow") <= most


def test_where_epochs_are_many_the_test_is_as_sharp_as_it_says() -> None:
    draw = np.random.default_rng(8)
    found = [flag for _ in range(60) for flag in flags(draw, 0.3, 2_000_000)]
    assert 0.035 <= found.count("too_fast") / len(found) <= 0.065
    assert 0.035 <= found.count("too_slow") / len(found) <= 0.065


@pytest.mark.parametrize(("factor", "flag"), [(0.2, "too_fast"), (5.0, "too_slow")])
def test_a_leak_and_a_drift_are_seen(factor: float, flag: str) -> None:
    draw = np.random.default_rng(9)
    seen = 0
    for _ in range(100):
        values = history(draw, 10, 0.25, 2000)
        changed = max(EPOCH, int(values[-1] * factor) // EPOCH * EPOCH)
        seen += check(changed, values[:-1], changed // EPOCH).flag == flag
    assert seen >= 95


def test_one_epoch_more_is_no_evidence_where_all_others_were_equal() -> None:
    assert check(400, [300] * 9, 4).flag == ""
    assert check(200, [300] * 9, 2).flag == ""
    assert check(1200, [300] * 9, 12).flag == "too_slow"


def test_below_five_points_nothing_is_flagged_and_the_number_is_said() -> None:
    found = check(1, [1000.0] * 4, 1)
    assert (found.flag, found.p_value) == ("", None)
    assert found.note == "convergence not checked: 4 earlier fits alike, 5 needed"


def test_the_t_is_that_of_one_new_observation() -> None:
    """Logs 0 to 4 have mean 2 and variance 2.5; 8 is (8 - 2) / sqrt(2.5 * 1.2) = 3.464 away, one-sided p 0.0129."""
    found = check(round(np.exp(8)), [float(np.exp(k)) for k in range(5)], 10**9)
    assert found.p_value == pytest.approx(0.0129, abs=0.0002)
    assert found.flag == "too_slow"

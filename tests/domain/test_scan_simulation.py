"""False alarms and power of the scan, by simulation; all of it: benchmarks/drift_detectors.py."""

from collections.abc import Callable

import numpy as np
import pytest

from plaster_ops.domain.metric import Scale
from tests.domain.histories import Numbers, alike, noise, step, told_online, values

REPEATS, LONG = 12, 100
RNG = np.random.default_rng


def _two_modes(rng: np.random.Generator, n: int) -> Numbers:
    return noise(rng, n, 0.01) + np.where(rng.random(n) < 0.5, 0.05, -0.05)


def _spikes(rng: np.random.Generator, n: int) -> Numbers:
    return noise(rng, n, 0.03) + np.where(rng.random(n) < 0.05, np.log(rng.uniform(1.3, 2.0, n)), 0.0)


NULLS: dict[str, Callable[[np.random.Generator, int], Numbers]] = {
    "3 %": lambda rng, n: noise(rng, n, 0.03),
    "15 %": lambda rng, n: noise(rng, n, 0.15),
    "spikes": _spikes,
    "neighbours alike": lambda rng, n: alike(rng, n, 0.03),
    "two modes": _two_modes,
    "heavy tails": lambda rng, n: 0.02 * rng.standard_t(3, n),
    "weekly": lambda rng, n: noise(rng, n, 0.02) + 0.03 * np.sin(2 * np.pi * np.arange(n) / 7),
}


def test_clean_histories_raise_at_most_a_quarter_of_an_alarm_in_a_hundred_runs() -> None:
    rates = {}
    for seed, (name, null) in enumerate(NULLS.items()):
        rng = RNG(900 + seed)
        found = sum(len(told_online(values(null(rng, LONG)))) for _ in range(REPEATS // 2))
        rates[name] = 100 * found / (REPEATS // 2 * LONG)
    assert sum(rates.values()) / len(rates) <= 0.25, rates
    assert max(rates.values()) <= 0.80, rates


STRONG: dict[str, Callable[[np.random.Generator], Numbers]] = {
    "5 % at 1 %": lambda rng: step(noise(rng, 80, 0.01), 40, 0.05),
    "20 % at 8 %": lambda rng: step(noise(rng, 80, 0.08), 40, 0.2),
    "early": lambda rng: step(noise(rng, 24, 0.03), 8, 0.1),
    "late": lambda rng: step(noise(rng, 110, 0.03), 90, 0.1),
    "two modes": lambda rng: step(_two_modes(rng, 80), 40, 0.2),
    "neighbours alike": lambda rng: step(alike(rng, 80, 0.03), 40, 0.15),
}


def test_strong_steps_are_found_soon() -> None:
    delays: list[int] = []
    for seed, make in enumerate(STRONG.values()):
        rng = RNG(700 + seed)
        for _ in range(REPEATS):
            series = values(make(rng))
            at = {24: 8, 80: 40, 110: 90}[len(series)]
            told = [(c.at, newest) for c, newest in told_online(series) if abs(c.at - at) <= 10 and newest >= at]
            delays.append(told[0][1] - at + 1 if told else 999)
    assert np.mean(np.array(delays) <= 20) >= 0.97
    assert np.median(delays) <= 3


@pytest.mark.parametrize("scale", [Scale.RATIO, Scale.DIFFERENCE])
def test_a_ramp_is_found_before_ten_runs_after_its_end(scale: Scale) -> None:
    for seed in range(REPEATS):
        logs = noise(RNG(500 + seed), 90, 0.02) + 0.18 * np.clip((np.arange(90) - 40) / 30, 0, 1)
        series = values(logs) if scale is Scale.RATIO else list(0.9 + logs)
        assert any(40 <= newest <= 80 for _, newest in told_online(series, scale=scale))

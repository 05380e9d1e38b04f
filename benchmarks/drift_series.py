"""Simulated histories of metrics over retrains: nothing changes, a step, or a ramp. Every one by its seed."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Noise = Callable[[np.random.Generator, int], Numbers]

LEVEL, SCORE, BYTES, EXAMPLES = 10.0, 0.93, 1_000_000.0, 2000
STEP_LENGTH, STEP_AT, NULL_LENGTH, RAMP_LENGTH = 80, 40, 150, 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """`kind`: `null`, `strong` (two standard deviations or more), `weak` (one to two), `tiny` (below), `ramp`.

    `at`: place of the first changed value, -1 for none. `metric`: `latency`, `accuracy` or `bytes`.
    """

    name: str
    kind: str
    metric: str
    at: int
    make: Callable[[np.random.Generator], Numbers]

    def series(self, seed: int, repeat: int) -> list[float]:
        """The values of one history."""
        rng = np.random.default_rng([seed, repeat, zlib.crc32(self.name.encode())])
        return [float(value) for value in self.make(rng)]


def normal(sd: float) -> Noise:
    return lambda rng, n: rng.normal(0.0, sd, n)


def spiky(sd: float) -> Noise:
    def make(rng: np.random.Generator, n: int) -> Numbers:
        spikes = np.where(rng.random(n) < 0.05, np.log(rng.uniform(1.3, 2.0, n)), 0.0)
        return rng.normal(0.0, sd, n) + spikes

    return make


def alike(sd: float, phi: float = 0.5) -> Noise:
    def make(rng: np.random.Generator, n: int) -> Numbers:
        found = rng.normal(0.0, sd, n)
        for i in range(1, n):
            found[i] = phi * found[i - 1] + np.sqrt(1 - phi**2) * found[i]
        return found

    return make


def two_modes(apart: float, share: float) -> Noise:
    return lambda rng, n: rng.normal(0.0, 0.01, n) + np.where(rng.random(n) < share, apart, 0.0)


def heavy(sd: float) -> Noise:
    return lambda rng, n: sd / np.sqrt(3.0) * rng.standard_t(3, n)


def weekly(swing: float) -> Noise:
    return lambda rng, n: rng.normal(0.0, 0.02, n) + swing * np.sin(2 * np.pi * np.arange(n) / 7)


def latency(noise: Noise, n: int, shift: Numbers) -> Callable[[np.random.Generator], Numbers]:
    return lambda rng: LEVEL * np.exp(noise(rng, n) + shift)


def accuracy(n: int, shift: Numbers) -> Callable[[np.random.Generator], Numbers]:
    """The share of right answers among 2,000 examples."""
    return lambda rng: rng.binomial(EXAMPLES, np.clip(SCORE + shift, 0, 1), n) / EXAMPLES


def flat(n: int) -> Numbers:
    return np.zeros(n)


def stepped(ratio: float, n: int = STEP_LENGTH, at: int = STEP_AT) -> Numbers:
    return np.where(np.arange(n) >= at, np.log1p(ratio), 0.0)


def ramped(total: float, n: int = 90, at: int = STEP_AT) -> Numbers:
    return total * np.clip((np.arange(n) - at) / RAMP_LENGTH, 0, 1)


def _null(name: str, noise: Noise, n: int = NULL_LENGTH) -> Scenario:
    return Scenario(name=name, kind="null", metric="latency", at=-1, make=latency(noise, n, flat(n)))


def _step(kind: str, name: str, ratio: float, noise: Noise, n: int = STEP_LENGTH, at: int = STEP_AT) -> Scenario:
    return Scenario(name=name, kind=kind, metric="latency", at=at, make=latency(noise, n, stepped(ratio, n, at)))


def _score(kind: str, name: str, points: float) -> Scenario:
    shift = np.where(np.arange(STEP_LENGTH) >= STEP_AT, points, 0.0)
    return Scenario(name=name, kind=kind, metric="accuracy", at=STEP_AT, make=accuracy(STEP_LENGTH, shift))


def _bytes(rng: np.random.Generator) -> Numbers:
    del rng
    return BYTES * np.where(np.arange(STEP_LENGTH) >= STEP_AT, 1.01, 1.0)


SCENARIOS: tuple[Scenario, ...] = (
    _null("3 % noise", normal(0.03)),
    _null("15 % noise", normal(0.15)),
    _null("spikes 5 %", spiky(0.03)),
    _null("AR(1) .5", alike(0.03)),
    _null("two modes +-5 %", two_modes(0.10, 0.5)),
    _null("one in ten +10 %", two_modes(0.10, 0.1)),
    _null("t3 tails", heavy(0.05)),
    _null("weekly 3 %", weekly(0.03)),
    _null("400 runs", normal(0.03), 400),
    Scenario(name="accuracy", kind="null", metric="accuracy", at=-1, make=accuracy(NULL_LENGTH, flat(NULL_LENGTH))),
    _null("constant", lambda _, n: flat(n)),
    _step("strong", "5 % at 1 %", 0.05, normal(0.01)),
    _step("strong", "10 % at 3 %", 0.10, normal(0.03)),
    _step("strong", "10 % at 4 %", 0.10, normal(0.04)),
    _step("strong", "20 % at 8 %", 0.20, normal(0.08)),
    _step("strong", "10 % at 3 %, spikes", 0.10, spiky(0.03)),
    _step("strong", "10 % at 3 %, AR(1) .5", 0.10, alike(0.03)),
    _step("strong", "20 %, two modes +-5 %", 0.20, two_modes(0.10, 0.5)),
    _step("strong", "10 % at 3 %, run 8 of 24", 0.10, normal(0.03), 24, 8),
    _step("strong", "10 % at 3 %, run 90 of 110", 0.10, normal(0.03), 110, 90),
    _score("strong", "accuracy -3 points", -0.03),
    Scenario(name="bytes +1 %", kind="strong", metric="bytes", at=STEP_AT, make=_bytes),
    _step("weak", "5 % at 3 %", 0.05, normal(0.03)),
    _step("weak", "1.2 % at 1 %", 0.012, normal(0.01)),
    _score("weak", "accuracy -1 point", -0.01),
    _step("tiny", "2 % at 5 %", 0.02, normal(0.05)),
    _step("tiny", "0.3 % at 1 %", 0.003, normal(0.01)),
    _score("tiny", "accuracy -0.2 points", -0.002),
    Scenario(
        name="+20 % in 30", kind="ramp", metric="latency", at=40, make=latency(normal(0.03), 90, ramped(np.log(1.2)))
    ),
    Scenario(
        name="+5 % in 30", kind="ramp", metric="latency", at=40, make=latency(normal(0.01), 90, ramped(np.log(1.05)))
    ),
    Scenario(name="accuracy -3 in 30", kind="ramp", metric="accuracy", at=40, make=accuracy(90, ramped(-0.03))),
)


def noisier(seed: int, repeat: int, times: float) -> list[float]:
    """2 % noise, from the 40th of 80 values on so many times as wide, around one level."""
    rng = np.random.default_rng([seed, repeat, 1])
    logs = rng.normal(0.0, 0.02, STEP_LENGTH) * np.where(np.arange(STEP_LENGTH) >= STEP_AT, times, 1.0)
    return [float(value) for value in LEVEL * np.exp(logs)]


def for_a_while(seed: int, repeat: int) -> list[float]:
    """3 % noise, and 20 % more for eight of 80 values."""
    rng = np.random.default_rng([seed, repeat, 2])
    places = np.arange(STEP_LENGTH)
    is_up = (places >= STEP_AT) & (places < STEP_AT + 8)
    logs = rng.normal(0.0, 0.03, STEP_LENGTH) + np.where(is_up, np.log(1.2), 0.0)
    return [float(value) for value in LEVEL * np.exp(logs)]

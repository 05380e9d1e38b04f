"""Queues whose answers are known: a server on a clock that only it moves, and what theory says of it.

A service takes 1 ms in the mean: fixed (M/D/1) or exponential (M/M/1).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext

import numpy as np
import numpy.typing as npt

from plaster_ops.plaster.clustering import judge_tail
from plaster_ops.plaster.rate_search import LONGER, FoundRate, Trial, find_rate
from plaster_ops.plaster.server import Batcher, Served, poisson_arrivals_ns, serve

MS = 1_000_000
CAPACITY_PER_S = 1000.0
Services = npt.NDArray[np.int64]
Law = Callable[[np.random.Generator, int], Services]


def exponential(generator: np.random.Generator, count: int) -> Services:
    return np.asarray(generator.exponential(MS, count), dtype=np.int64)


def fixed(_generator: np.random.Generator, count: int) -> Services:
    return np.full(count, MS, dtype=np.int64)


LAWS: dict[str, Law] = {"M/M/1": exponential, "M/D/1": fixed}


@dataclass(slots=True)
class OwnClock:
    """Nanoseconds that pass by answering and by waiting."""

    now_ns: int = 0

    def __call__(self) -> int:
        return self.now_ns

    def wait(self, until_ns: int) -> None:
        self.now_ns = until_ns


def simulate(law: str, load: float, count: int, seed: Sequence[int], patience_ns: int | None = None) -> Served:
    """`count` customers of a queue, served by the server that serves engines."""
    clock = OwnClock()
    services = LAWS[law](np.random.default_rng([*seed, 1]), count).tolist()

    def answer(_numbers: Sequence[int], head: int, _size: int) -> None:
        clock.now_ns += services[head]

    due_ns = poisson_arrivals_ns(CAPACITY_PER_S * load, count, [*seed, 0])
    given = {} if patience_ns is None else {"patience_ns": patience_ns}
    return serve(answer, due_ns, Batcher(), clock_ns=clock, wait_until=clock.wait, **given)


def lindley_ns(due_ns: Services, services: Services) -> Services:
    """Waiting times of the single server by Lindley's recursion W' = max(0, W + service - gap)."""
    steps = np.concatenate(([0], services[:-1] - np.diff(due_ns)))
    walk = np.cumsum(steps)
    return np.asarray(walk - np.minimum.accumulate(walk), dtype=np.int64)


def mean_wait_ms(law: str, load: float) -> float:
    """Pollaczek-Khinchine."""
    return load / (1 - load) * (1.0 if law == "M/M/1" else 0.5)


def is_over_ms(law: str, load: float, limit_ms: float) -> float:
    """Probability that a query takes longer than the limit, waiting and service together."""
    if law == "M/M/1":
        return math.exp(-(1 - load) * limit_ms)
    with localcontext() as context:  # Crommelin's sum alternates and cancels
        context.prec = 150
        rate, wait = Decimal(load), Decimal(limit_ms) - 1
        terms = [
            (rate * (k - wait)) ** k / math.factorial(k) * (-rate * (k - wait)).exp() for k in range(int(wait) + 1)
        ]
        return float(1 - (1 - rate) * sum(terms))


def limit_ms(law: str, load: float) -> float:
    """The limit that p99 meets exactly at that load."""
    low, high = 1.0, 150.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if is_over_ms(law, load, middle) > 0.01 else (low, middle)
    return high


def recursed_ns(law: str, load: float, count: int, seed: Sequence[int]) -> tuple[Services, Services]:
    """When the customers of `simulate` were due and how long they took, by the recursion: the same, and sooner."""
    due_ns = poisson_arrivals_ns(CAPACITY_PER_S * load, count, [*seed, 0])
    services = LAWS[law](np.random.default_rng([*seed, 1]), count)
    return due_ns, lindley_ns(due_ns, services) + services


def certified_load(law: str, slo_ms: float, queries: int, seed: int, *, by_recursion: bool = False) -> FoundRate:
    """What the search certifies of such a queue with `queries` a run; loads are its rates / 1000."""
    trials = 0

    def try_rate(rate_per_s: float, certifies: bool) -> Trial:
        nonlocal trials
        trials += 1
        count = queries * (LONGER if certifies else 1)
        load = rate_per_s / CAPACITY_PER_S
        if by_recursion:
            due_ns, latencies_ns = recursed_ns(law, load, count, [seed, trials])
        else:
            served = simulate(law, load, count, [seed, trials], round(slo_ms * MS))
            due_ns, latencies_ns = served.due_ns, served.latencies_ns
        tail = judge_tail(due_ns, latencies_ns, slo_ms * MS)
        return Trial(number=trials, rate_per_s=rate_per_s, certifies=certifies, tail=tail, p99_ms=slo_ms)

    return find_rate(try_rate, capacity_per_s=CAPACITY_PER_S, is_search_over=lambda: False, is_time_up=lambda: False)

"""The largest rate of Poisson arrivals whose p99 is certified within the limit: bisection, then fresh arrivals, twice.

The search only proposes. A rate is certified by two runs of arrivals that no decision has seen, each of which passes
by itself; one that does not is given up for a slightly lower rate.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from plaster_ops.plaster.clustering import Tail
from plaster_ops.plaster.percentiles import fewest_to_pass, most_to_pass

_NEAR = 1.01
_LOWEST_SHARE = 1 / 64
_WIDER = 1.25
_MOST_TIMES = 4.0
LONGER = 4
"""How many times as long a run that certifies is."""

_STEP = 0.01
_GROWTH = 1.4
_LIKELY = 1.28
"""Standard deviations of a count that nine in ten stay below."""
_EDGE_SHARES = (0.001, 0.1)
_LEAST_LIKELY = 0.8
_LARGEST_CUT = 0.4
"""Where not even a run without a slow query would pass, the rate is cut: at a lower load more are independent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One run of Poisson arrivals at one rate. `number` counts the runs of an engine; each has arrivals of its own."""

    number: int
    rate_per_s: float
    certifies: bool
    tail: Tail
    p99_ms: float


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundRate:
    """`rate_per_s` is None where nothing was certified; `best_p99_ms` then says what the slowest rate reached."""

    trials: tuple[Trial, ...]
    rate_per_s: float | None
    best_p99_ms: float | None


TryRate = Callable[[float, bool], Trial]
"""`(rate_per_s, certifies)`: runs fresh arrivals; those that certify run `LONGER` times as long."""


def find_rate(
    try_rate: TryRate, *, capacity_per_s: float, is_search_over: Callable[[], bool], is_time_up: Callable[[], bool]
) -> FoundRate:
    """The search from `capacity_per_s`, a guess that may be exceeded fourfold, down to 1/64 of it, to 1 %.

    `is_search_over` ends the bisection, `is_time_up` all of it; at least one run is made, and one that certifies where
    any rate seems possible.
    """
    trials: list[Trial] = []
    low, high, is_bounded = 0.0, capacity_per_s, False
    while not trials or not is_search_over():
        if low and high <= _NEAR * low:
            if is_bounded or high > _MOST_TIMES * capacity_per_s:
                break
            high *= _WIDER
        rate = (low + high) / 2
        if rate < _LOWEST_SHARE * capacity_per_s:
            break
        trials.append(try_rate(rate, False))
        if seems_possible(trials[-1]):
            low = rate
        else:
            high, is_bounded = rate, True
    found = _certify(try_rate, low, trials, is_time_up) if low else None
    best = min((trial.p99_ms for trial in trials), default=None)
    return FoundRate(trials=tuple(trials), rate_per_s=found, best_p99_ms=best)


def seems_possible(trial: Trial) -> bool:
    """Whether a run that certifies would pass if it went on like this one."""
    tail = trial.tail
    return replace(tail, queries=LONGER * tail.queries, over=LONGER * tail.over).passes()


def _certify(try_rate: TryRate, rate: float, trials: list[Trial], is_time_up: Callable[[], bool]) -> float | None:
    lowest = _LOWEST_SHARE * rate
    step, attempts = _STEP, 0
    nearest = min(trials, key=lambda trial: abs(trial.rate_per_s - rate))
    rate = _likely_rate(trials, rate, LONGER * nearest.tail.effective[0])
    while rate >= lowest and not (attempts and is_time_up()):
        attempts += 1
        for _ in range(2):
            trials.append(try_rate(rate, True))
            if not trials[-1].tail.passes():
                break
        else:
            return rate
        if trials[-1].tail.queries < fewest_to_pass(0):
            return None
        if replace(trials[-1].tail, over=0).passes():
            rate = min(rate * (1.0 - step), _likely_rate(trials, rate, trials[-1].tail.effective[0]))
            step *= _GROWTH
        else:
            rate *= max(_LARGEST_CUT, math.sqrt(trials[-1].tail.effective[0] / fewest_to_pass(0)))
    return None


def _likely_rate(trials: Sequence[Trial], rate: float, independent: int) -> float:
    """The largest rate up to `rate` at which a run worth that many independent queries passes nine times in ten.

    By a straight line through the logarithm of the share that was too slow against the rate, as it is for M/M/1, over
    the trials near the edge. `rate` itself where they tell no line; never less than four fifths of it.
    """
    seen = [trial for trial in trials if _EDGE_SHARES[0] <= trial.tail.over / trial.tail.queries <= _EDGE_SHARES[1]]
    allowed = most_to_pass(independent)
    if len({trial.rate_per_s for trial in seen}) < 2 or allowed < 1:
        return rate
    rates = [trial.rate_per_s for trial in seen]
    slope, base = statistics.linear_regression(rates, [math.log(t.tail.over / t.tail.queries) for t in seen])
    if slope <= 0.0:
        return rate
    wanted = max(0.5, allowed - _LIKELY * math.sqrt(allowed)) / independent
    return min(rate, max(_LEAST_LIKELY * rate, (math.log(wanted) - base) / slope))

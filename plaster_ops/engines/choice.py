"""Which of the engines that keep the score is taken: by objective, ties by the next best reason. No I/O, no torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

MARGIN = 0.03
"""Engines within this of the best count as equally good: a short race on a busy machine tells no less."""
_FINALISTS = 4
_HOPELESS = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Raced:
    """What the race, or the trial before it, found out about one engine. None: not measured.

    `p50_ms` at batch 1; `slo_samples_per_s` the best rate inside the latency limit, `samples_per_s` the best of all;
    `inferences_per_j` from a counter; `cpu_s` per inference.
    """

    label: str
    engine_bytes: int
    p50_ms: float | None = None
    slo_samples_per_s: float | None = None
    samples_per_s: float | None = None
    inferences_per_j: float | None = None
    cpu_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Labels from the best to the last, and one sentence why the first is first."""

    order: tuple[str, ...]
    sentence: str


_Cost = Callable[[Raced], float | None]


def choose(raced: Sequence[Raced], objective: str, *, of: int | None = None) -> Choice:
    """Ranks by the objective; those within `MARGIN` of the best by the next criterion, and so on, then as given.

    `of`: how many engines there were before the race, where some were left out of it for their rough numbers. Raises
    `ValueError` where there is nothing to choose from.
    """
    if not raced:
        raise ValueError("there is no engine to choose from")
    if len(raced) == 1:
        why = "the only one that keeps the score" if of == 1 else "no other came near it"
        return Choice(order=(raced[0].label,), sentence=f"{raced[0].label}: {why}")
    criteria = _criteria(objective, raced)
    left = list(raced)
    order: list[Raced] = []
    reasons: list[str] = []
    while left:
        best, why = _best(left, criteria)
        reasons.append(why)
        order.append(best)
        left.remove(best)
    return Choice(order=tuple(engine.label for engine in order), sentence=f"{order[0].label}: {reasons[0]}")


def finalists(tried: Sequence[Raced], objective: str) -> list[Raced]:
    """Those worth a race: the best four by the trial's rough numbers, none more than twice behind the best."""
    cost: _Cost = _by_rate if objective == "throughput" else _by_latency
    known = [(value, engine) for engine in tried if (value := cost(engine)) is not None]
    if not known:
        return list(tried)
    best = min(value for value, _ in known)
    kept = sorted((pair for pair in known if pair[0] <= _HOPELESS * best), key=lambda pair: pair[0])[:_FINALISTS]
    chosen = {engine.label for _, engine in kept}
    return [engine for engine in tried if engine.label in chosen]


def _criteria(objective: str, raced: Sequence[Raced]) -> list[tuple[str, _Cost]]:
    latency, rate = ("p50", _by_latency), ("samples/s", _by_rate)
    counted = all(engine.inferences_per_j is not None for engine in raced)
    energy = ("inferences/J", _by_energy) if counted else ("CPU time (no energy counter)", _by_cpu_time)
    first: dict[str, list[tuple[str, _Cost]]] = {
        "latency": [latency, rate],
        "throughput": [("samples/s inside the limit", _by_bounded_rate), latency],
        "energy": [energy, latency],
        "size": [("bytes", _by_bytes), latency],
    }
    return [*first[objective], ("bytes", _by_bytes)]


def _best(left: Sequence[Raced], criteria: Sequence[tuple[str, _Cost]]) -> tuple[Raced, str]:
    tied = list(left)
    told: list[str] = []
    for name, cost in criteria:
        known = [(value, engine) for engine in tied if (value := cost(engine)) is not None]
        if not known:
            continue
        least = min(value for value, _ in known)
        narrowed = [engine for value, engine in known if value <= least * (1.0 + MARGIN)]
        told.append(f"best {name}" if len(narrowed) < len(tied) else f"equal {name}")
        tied = narrowed
        if len(tied) == 1:
            break
    if len(tied) > 1:
        told.append("first in the settings")
    return tied[0], ", then ".join(told) or "the only one"


def _by_latency(engine: Raced) -> float | None:
    return engine.p50_ms


def _by_rate(engine: Raced) -> float | None:
    return None if not engine.samples_per_s else 1.0 / engine.samples_per_s


def _by_bounded_rate(engine: Raced) -> float | None:
    """Without any rate inside the limit: behind all that have one, by the best rate of all."""
    if engine.slo_samples_per_s:
        return 1.0 / engine.slo_samples_per_s
    return None if not engine.samples_per_s else 1e6 / engine.samples_per_s


def _by_energy(engine: Raced) -> float | None:
    return None if not engine.inferences_per_j else 1.0 / engine.inferences_per_j


def _by_cpu_time(engine: Raced) -> float | None:
    return engine.cpu_s


def _by_bytes(engine: Raced) -> float | None:
    return float(engine.engine_bytes)

"""Doubles of this room: a clock that only engines move, engines with known latencies, evidence out of thin air."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from plaster_ops.domain.card import Reading, Row
from plaster_ops.domain.metrics import Metric
from plaster_ops.plaster.evidence import Evidence, MeasuredBlock
from plaster_ops.plaster.meter import EnergyWindow


@dataclass
class HandClock:
    """Nanoseconds that pass only when told to."""

    now_ns: int = 0

    def __call__(self) -> int:
        return self.now_ns

    def cpu_s(self) -> float:
        return self.now_ns * 1e-9


@dataclass
class KnownEngine:
    """Takes `latency_ns(batch, call)` of the hand clock; refuses batches above `largest`."""

    clock: HandClock
    latency_ns: Callable[[int, int], int]
    largest: int = 10_000
    seen: list[Any] = field(default_factory=list)

    def run(self, batch: Sequence[int]) -> tuple[int, ...]:
        if len(batch) > self.largest:
            raise RuntimeError(f"batch {len(batch)} is out of memory")
        self.seen.append(batch)
        self.clock.now_ns += self.latency_ns(len(batch), len(self.seen))
        return tuple(batch)


@dataclass
class NumberedInputs:
    """Queries that are lists of sample numbers."""

    count: int = 12
    forgotten: list[int] = field(default_factory=list)

    def queries(self, batch: int) -> list[tuple[Any, ...]]:
        return [([(start + i) % self.count for i in range(batch)],) for start in range(0, self.count, batch)]

    def forget(self, batch: int) -> None:
        self.forgotten.append(batch)

    def shape_key(self, query: tuple[Any, ...]) -> int:
        return len(query)

    def join(self, queries: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
        return ([number for query in queries for number in query[0]],)


def block(
    label: str,
    index: int,
    latencies_ns: Iterable[int],
    *,
    process: int = 0,
    kind: str = "single",
    batch: int = 1,
    cpu_s: float | None = None,
    energy: EnergyWindow | None = None,
) -> MeasuredBlock:
    """A measured block whose window is the sum of its latencies."""
    taken = np.asarray(list(latencies_ns), dtype=np.int64)
    window_s = float(taken.sum()) * 1e-9
    return MeasuredBlock(
        process=process,
        kind=kind,
        label=label,
        index=index,
        batch=batch,
        window_s=window_s,
        cpu_s=window_s if cpu_s is None else cpu_s,
        latencies_ns=taken,
        energy=energy,
    )


def evidence(blocks: Sequence[MeasuredBlock], **changes: Any) -> Evidence:
    """Evidence of as many processes as the blocks speak of; `changes` go into every result."""
    labels = list(dict.fromkeys(found.label for found in blocks))
    base: dict[str, Any] = {
        "profile": "smoke",
        "slo_ms": 7.0,
        "engines": {label: {"load_s": 0.5, "first_inference_ms": 3.0} for label in labels},
        "search": None,
        "chosen_batches": dict.fromkeys(labels, 1),
        "energy": {"source": "none", "scope": "", "reason": "no counter here"},
        "machine": {"steal_ratio": 0.0, "other_load_ratio": 0.0, "notes": [], "suspect": ""},
        "peak_host_bytes": 1000,
    }
    count = max((found.process for found in blocks), default=0) + 1
    results: tuple[Mapping[str, Any], ...] = tuple(base | changes | {"process": number} for number in range(count))
    return Evidence(results=results, all_blocks=tuple(blocks))


def row_of(rows: list[Row], metric: Metric) -> Row:
    """The one row of that metric."""
    (found,) = [row for row in rows if row.metric.key == metric.key]
    return found


def value_of(rows: list[Row], metric: Metric) -> float:
    """Its value; it must have one."""
    row = row_of(rows, metric)
    assert isinstance(row, Reading), row
    return row.value

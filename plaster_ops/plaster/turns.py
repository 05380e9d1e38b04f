"""Taking turns: runs one block of one engine, keeps what it measured, and tells the parent how far it is."""

import math
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from plaster_ops.plaster.meter import EnergyWindow, Meter, NoMeter
from plaster_ops.plaster.timing import ClockNs, Query, RunQuery, Timed, Turn, process_cpu_s, time_queries

SINGLE, THROUGHPUT, OFFLINE, EAGER = "single", "throughput", "offline", "eager"
"""Kinds of blocks; `EAGER` is also the label of the eager engine that is measured beside the others."""

SINGLE_ENERGY, OFFLINE_ENERGY = "single_energy", "offline_energy"
"""Blocks taken for their joules: batch 1, and the fastest batch; see `energy_points`."""
_METERED = frozenset((THROUGHPUT, SINGLE_ENERGY, OFFLINE_ENERGY))

_MAX_COUNT = 100_000
_BLOCK_QUERIES = 10
_LONGEST = 10
_EMIT_EVERY_S = 0.1


class Inputs(Protocol):
    """Ready batches of real samples; `load.Samples` is one."""

    def queries(self, batch: int) -> list[Query]: ...

    def forget(self, batch: int) -> None: ...

    def shape_key(self, query: Query) -> Hashable: ...

    def join(self, queries: Sequence[Query]) -> Query: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """One engine's turn under the clock. Blocks of equal kind and `index` are compared with each other."""

    kind: str
    label: str
    index: int
    position: int
    batch: int
    timed: Timed
    energy: EnergyWindow | None = None


def ignore_event(event: Mapping[str, Any]) -> None:
    """Nobody listens."""


@dataclass(slots=True)
class Progress:
    """Tells how many of the planned seconds are spent: `done` and `total` of the event are seconds."""

    emit: Callable[[Mapping[str, Any]], None] = ignore_event
    total_s: float = 0.0
    began_ns: int = field(default=0, init=False)
    told_s: float = field(default=-math.inf, init=False)

    def begin(self, total_s: float, now_ns: int) -> None:
        """Starts the clock of a plan of `total_s`."""
        self.total_s, self.began_ns, self.told_s = total_s, now_ns, -math.inf

    def step(self, label: str, now_ns: int) -> None:
        """That engine's turn is over; told at most ten times a second."""
        spent_s = (now_ns - self.began_ns) * 1e-9
        if spent_s - self.told_s >= _EMIT_EVERY_S:
            self.told_s = spent_s
            self._tell(min(spent_s, self.total_s), label)

    def finish(self, label: str) -> None:
        """Everything is measured."""
        self._tell(self.total_s, label)

    def _tell(self, done_s: float, label: str) -> None:
        self.emit({"event": "measure", "done": round(done_s, 1), "total": round(self.total_s, 1), "label": label})


Parts = dict[str, list[float]]
SplitCalls = Callable[[Sequence[Query]], Parts | None]
"""Runs queries and tells per query, in ms, `h2d`, `compute`, `d2h` and `enqueue`; None where there are no copies."""


@dataclass(slots=True)
class Bench:
    """The engines (label -> callable), their inputs and clocks; `blocks` fills up as turns are taken.

    `splits` holds the engines that can tell where the time of a call goes.
    """

    runs: Mapping[str, RunQuery]
    inputs: Inputs
    progress: Progress = field(default_factory=Progress)
    meter: Meter = field(default_factory=NoMeter)
    clock_ns: ClockNs = time.perf_counter_ns
    cpu_s: Callable[[], float] = process_cpu_s
    blocks: list[Block] = field(default_factory=list)
    splits: Mapping[str, SplitCalls] = field(default_factory=dict)

    def take(self, kind: str, turn: Turn, *, batch: int, count: int, limit_s: float) -> None:
        """Times one block and keeps it; a fine counter meters all kinds. Equal indices start at the same sample."""
        metered = kind in _METERED or self.meter.is_fine
        if metered:
            self.meter.begin(limit_s)
        first = turn.index * count
        timed = self.time(self.runs[turn.label], self.inputs.queries(batch), first=first, count=count, limit_s=limit_s)
        energy = self.meter.end(timed, batch) if metered else None
        if metered:
            own_s = self.meter.load * timed.window_ns * 1e-9
            timed = replace(timed, cpu_s=max(0.0, timed.cpu_s - own_s))
        self.blocks.append(
            Block(
                kind=kind,
                label=turn.label,
                index=turn.index,
                position=turn.position,
                batch=batch,
                timed=timed,
                energy=energy,
            )
        )
        self.progress.step(turn.label, self.clock_ns())

    def time(self, run: RunQuery, queries: Sequence[Query], *, first: int, count: int, limit_s: float) -> Timed:
        """Times queries on this bench's clocks without keeping them."""
        return time_queries(
            run,
            queries,
            first=first,
            count=count,
            limit_ns=round(limit_s * 1e9),
            clock_ns=self.clock_ns,
            cpu_s=self.cpu_s,
        )


def block_count(block_s: float, query_s: float) -> int:
    """Queries of one block: `block_s` long, stretched up to tenfold so that it holds ten queries of a slow engine.

    Short blocks put the two engines close together in time: on a busy machine that is worth more than anything else.
    """
    return bounded_count(min(max(block_s, _BLOCK_QUERIES * query_s), _LONGEST * block_s) / query_s)


def bounded_count(count: float) -> int:
    """A number of queries for one block: at least one, at most 100 000."""
    return max(1, min(_MAX_COUNT, round(count)))

"""One measuring process from warm engines to raw evidence: single stream, batch search, latency-bounded throughput.

Holds engines as plain callables and real inputs as ready queries; knows nothing of files or of user code.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from plaster_ops.plaster.meter import EnergyWindow, Meter, NoMeter, TickMeter
from plaster_ops.plaster.percentiles import fewest_to_pass, is_clearly_over, passes
from plaster_ops.plaster.profiles import Profile
from plaster_ops.plaster.search import Fit, Found, Probe, judge_probe, search_batches, step_down
from plaster_ops.plaster.timing import (
    ClockNs,
    Query,
    RunQuery,
    Timed,
    Turn,
    interleave,
    no_garbage_collection,
    process_cpu_s,
    time_queries,
)
from plaster_ops.plaster.warmup import Warmth, warm_up

SINGLE, THROUGHPUT, EAGER = "single", "throughput", "eager"
_EAGER_BLOCKS = 4
_MAX_COUNT = 100_000
_TRIALS = 3
_SPARE = 1.15


class Inputs(Protocol):
    """Ready batches of real samples; `Samples` is one."""

    def queries(self, batch: int) -> list[Query]: ...

    def forget(self, batch: int) -> None: ...


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """What is measured how. `chosen_batches` is None in the process that searches for them."""

    profile: Profile
    slo_ms: float
    batches: tuple[int, ...]
    process: int = 0
    chosen_batches: Mapping[str, int] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Collected:
    """Everything one process found out."""

    blocks: tuple[Block, ...]
    warmths: Mapping[str, Warmth]
    found: Found | None
    chosen_batches: Mapping[str, int]


@dataclass(slots=True)
class Progress:
    """Counts blocks and tells the parent; `total` is what is planned and never less than what is done."""

    emit: Callable[[Mapping[str, Any]], None]
    total: int = 0
    done: int = field(default=0, init=False)

    def step(self, label: str) -> None:
        """One more block of that engine is done."""
        self.done += 1
        self.total = max(self.total, self.done)
        self.emit({"event": "measure", "done": self.done, "total": self.total, "label": label})


class Collector:
    """Measures the engines in `runs` (label -> callable), in that order and its reverse, turn by turn."""

    def __init__(
        self,
        runs: Mapping[str, RunQuery],
        inputs: Inputs,
        setup: Setup,
        *,
        eager: RunQuery | None = None,
        emit: Callable[[Mapping[str, Any]], None] = lambda event: None,
        meter: Meter | None = None,
        clock_ns: ClockNs = time.perf_counter_ns,
        cpu_s: Callable[[], float] = process_cpu_s,
    ) -> None:
        self._runs = dict(runs)
        self._labels = list(runs) if setup.process % 2 == 0 else list(reversed(list(runs)))
        self._inputs = inputs
        self._setup = setup
        self._profile = setup.profile
        self._eager = eager
        self._meter = meter or NoMeter()
        self._clock_ns = clock_ns
        self._cpu_s = cpu_s
        self._progress = Progress(emit=emit)
        self._blocks: list[Block] = []
        self._probes: dict[tuple[str, int], Probe] = {}

    def collect(self) -> Collected:
        """Runs every part in turn with the garbage collector off."""
        with no_garbage_collection():
            warmths = {label: self._warm(self._runs[label]) for label in self._labels}
            self._plan_progress()
            self._single_stream(warmths)
            self._eager_blocks()
            found = self._search() if self._setup.chosen_batches is None else None
            chosen = dict(found.chosen if found else self._setup.chosen_batches or {})
            chosen = self._throughput({label: chosen.get(label, 1) for label in self._labels}, found)
        return Collected(blocks=tuple(self._blocks), warmths=warmths, found=found, chosen_batches=chosen)

    def _warm(self, run: RunQuery) -> Warmth:
        return warm_up(
            run,
            self._inputs.queries(1),
            least_s=self._profile.warmup_s,
            limit_s=self._profile.warmup_limit_s,
            clock_ns=self._clock_ns,
            cpu_s=self._cpu_s,
        )

    def _plan_progress(self) -> None:
        profile, engines = self._profile, len(self._labels)
        per_engine = profile.single_s / profile.block_s + profile.throughput_s / self._throughput_block_s()
        searching = len(self._setup.batches) * engines if self._setup.chosen_batches is None else 0
        self._progress.total = round(engines * per_engine) + searching + _EAGER_BLOCKS * bool(self._eager)

    # ---- single stream, batch 1 ------------------------------------------------------------------------------------
    def _single_stream(self, warmths: Mapping[str, Warmth]) -> None:
        profile = self._profile
        count = _count(profile.block_s, warmths.values())
        round_s = 2 * sum(count * warmth.p50_ns * 1e-9 for warmth in warmths.values())
        rounds = max(2, round(profile.single_s * len(self._labels) / max(round_s, 1e-9)))
        stop_ns = self._clock_ns() + round(1.5e9 * profile.single_s * len(self._labels))
        for turn in interleave(self._labels, rounds):
            is_new_round = turn.position % (2 * len(self._labels)) == 0
            if is_new_round and turn.position and self._clock_ns() > stop_ns:
                break
            limit_s = max(4 * profile.block_s, 3e-9 * count * warmths[turn.label].p50_ns)
            self._take(SINGLE, turn, self._runs[turn.label], batch=1, count=count, limit_s=limit_s)

    def _eager_blocks(self) -> None:
        if self._eager is None:
            return
        warmth = self._warm(self._eager)
        block_s = self._profile.eager_s / _EAGER_BLOCKS
        for index in range(_EAGER_BLOCKS):
            turn = Turn(label=EAGER, index=index, position=index)
            self._take(EAGER, turn, self._eager, batch=1, count=_count(block_s, [warmth]), limit_s=4 * block_s)

    def _take(self, kind: str, turn: Turn, run: RunQuery, *, batch: int, count: int, limit_s: float) -> None:
        metered = kind == THROUGHPUT
        queries = self._inputs.queries(batch)
        if metered:
            self._meter.begin()
        timed = self._time(run, queries, first=turn.index * count, count=count, limit_s=limit_s)
        energy = self._meter.end(timed, batch) if metered else None
        self._blocks.append(
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
        self._progress.step(turn.label)

    def _time(self, run: RunQuery, queries: Sequence[Query], *, first: int, count: int, limit_s: float) -> Timed:
        return time_queries(
            run,
            queries,
            first=first,
            count=count,
            limit_ns=round(limit_s * 1e9),
            clock_ns=self._clock_ns,
            cpu_s=self._cpu_s,
        )

    # ---- which batch -----------------------------------------------------------------------------------------------
    def _search(self) -> Found:
        stop_ns = self._clock_ns() + round(self._profile.search_limit_s * 1e9)
        found = search_batches(self._labels, self._setup.batches, self._probe, lambda: self._clock_ns() > stop_ns)
        for batch in set(self._setup.batches) - set(found.chosen.values()) - {1}:
            self._inputs.forget(batch)
        return found

    def _probe(self, label: str, batch: int) -> Probe | None:
        """None where the engine cannot run that batch (out of memory, outside its profile); batch 1 must run."""
        queries = self._inputs.queries(batch)
        try:
            timed = self._time(self._runs[label], queries, first=0, count=4096, limit_s=self._profile.probe_s)
        except RuntimeError:
            if batch == 1:
                raise
            return None
        self._progress.step(label)
        self._probes[label, batch] = judge_probe(timed, batch, self._setup.slo_ms)
        return self._probes[label, batch]

    # ---- throughput at the chosen batch ----------------------------------------------------------------------------
    def _throughput(self, chosen: dict[str, int], found: Found | None) -> dict[str, int]:
        """Measures the chosen batches; the searching process first tries them and steps down where they are too slow."""
        start = len(self._blocks)
        for trial in range(_TRIALS if found else 0):
            rounds = self._rounds(chosen)
            self._throughput_rounds(chosen, 0, max(1, rounds // 4))
            lower = self._too_slow(chosen, self._blocks[start:])
            smaller = step_down(found.probes, lower) if found else {}
            if not smaller or trial == _TRIALS - 1:
                break
            del self._blocks[start:]
            chosen = chosen | smaller
        begun = len(self._blocks[start:]) // (2 * len(self._labels))
        self._throughput_rounds(chosen, begun, max(1, self._rounds(chosen) - begun))
        return chosen

    def _throughput_rounds(self, chosen: Mapping[str, int], first_round: int, rounds: int) -> None:
        counts = self._counts(chosen)
        per_round = 2 * len(self._labels)
        for turn in interleave(self._labels, first_round + rounds)[first_round * per_round :]:
            batch, count = chosen[turn.label], counts[turn.label]
            limit_s = max(4 * self._throughput_block_s(), 3 * count * self._query_s(turn.label, batch))
            self._take(THROUGHPUT, turn, self._runs[turn.label], batch=batch, count=count, limit_s=limit_s)

    def _too_slow(self, chosen: Mapping[str, int], blocks: Sequence[Block]) -> dict[str, int]:
        """Engines whose p99 is clearly over the limit; where they share a batch with one that is not certified, both."""
        limit_ns = self._setup.slo_ms * 1e6
        seen = {
            label: [latency for b in blocks if b.label == label for latency in b.timed.latencies_ns] for label in chosen
        }
        over = {label: sum(1 for latency_ns in seen[label] if latency_ns > limit_ns) for label in chosen}
        slow = {label for label in chosen if is_clearly_over(len(seen[label]), over[label])}
        shared = {chosen[label] for label in slow}
        slow |= {label for label in chosen if chosen[label] in shared and not passes(len(seen[label]), over[label])}
        return {label: chosen[label] for label in slow}

    def _throughput_block_s(self) -> float:
        return self._profile.energy_block_s if isinstance(self._meter, TickMeter) else self._profile.block_s

    def _query_s(self, label: str, batch: int) -> float:
        """Median seconds of one query at that batch, probed on first use, which also warms that batch up."""
        known = self._probes.get((label, batch)) or self._probe(label, batch)
        return known.batch / known.rate_per_s if known else self._throughput_block_s()

    def _counts(self, chosen: Mapping[str, int]) -> dict[str, int]:
        """Queries per block: the same for all engines at a common batch, so that they answer the same samples."""
        seconds = {label: self._query_s(label, batch) for label, batch in chosen.items()}
        block_s = self._throughput_block_s()
        if len(set(chosen.values())) == 1:
            mean_s = sum(seconds.values()) / len(seconds)
            return dict.fromkeys(chosen, _bounded(block_s / mean_s))
        return {label: _bounded(block_s / query_s) for label, query_s in seconds.items()}

    def _rounds(self, chosen: Mapping[str, int]) -> int:
        """Rounds for the profile's seconds, more where the limit needs them to be certified and time allows it."""
        profile, counts = self._profile, self._counts(chosen)
        seconds = {label: counts[label] * self._query_s(label, batch) for label, batch in chosen.items()}
        per_round_s = 2 * sum(seconds.values()) / len(seconds)
        rounds = max(1, round(profile.throughput_s / per_round_s))
        needed = math.ceil(_SPARE * fewest_to_pass(0) / profile.processes)
        wanted = max(math.ceil(needed / (2 * count)) for count in counts.values())
        is_hopeless = any(self._probes[label, batch].fit is Fit.OVER for label, batch in chosen.items())
        affordable = max(1, int(profile.certify_limit_s / per_round_s))
        return rounds if is_hopeless else max(rounds, min(wanted, affordable))


def _count(block_s: float, warmths: Sequence[Warmth] | Any) -> int:
    medians = [warmth.p50_ns for warmth in warmths]
    return _bounded(block_s * 1e9 * len(medians) / max(1.0, sum(medians)))


def _bounded(count: float) -> int:
    return max(1, min(_MAX_COUNT, round(count)))

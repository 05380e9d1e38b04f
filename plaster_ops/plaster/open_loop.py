"""Engines under queries that arrive by themselves: the largest certified rate, with every run of arrivals kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from plaster_ops.plaster.clustering import judge_tail
from plaster_ops.plaster.percentiles import percentile
from plaster_ops.plaster.profiles import Profile
from plaster_ops.plaster.rate_search import LONGER, FoundRate, Trial, find_rate
from plaster_ops.plaster.search import Found, Probe
from plaster_ops.plaster.server import Batcher, EngineAnswer, RealWait, Served, WaitUntil, poisson_arrivals_ns, serve
from plaster_ops.plaster.turns import SINGLE, Bench

_SEED = 20261
_RUNS = 16
_SEARCH_SHARE = 0.4
_LAST_START = 0.75
_MOST_QUERIES = 1_000_000
_SERVICE_SHARE = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """One run of arrivals on one engine, as it was."""

    label: str
    trial: Trial
    served: Served
    cpu_s: float

    def to_json(self) -> dict[str, Any]:
        """All but the single queries, which are written as raw columns."""
        return {
            "number": self.trial.number,
            "rate_per_s": self.trial.rate_per_s,
            "certifies": self.trial.certifies,
            "queries": len(self.served.due_ns),
            "answered": self.served.answered,
            "batches": len(self.served.sizes),
            "busy_s": self.served.busy_ns * 1e-9,
            "window_s": self.served.window_ns * 1e-9,
            "cpu_s": self.cpu_s,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """Where an engine is served: at `rate_per_s` (None: nothing was certified), in batches of `sizes`."""

    rate_per_s: float | None
    sizes: tuple[int, ...]
    max_queue_delay_ms: float

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        return {
            "rate_per_s": self.rate_per_s,
            "sizes": list(self.sizes),
            "max_queue_delay_ms": self.max_queue_delay_ms,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "Point":
        """What an earlier process found."""
        return cls(
            rate_per_s=row["rate_per_s"],
            sizes=tuple(int(size) for size in row["sizes"]),
            max_queue_delay_ms=float(row["max_queue_delay_ms"]),
        )


@dataclass(slots=True)
class OpenLoop:
    """The engines of one bench behind a server, one after the other; `slo_ms` is the limit on p99."""

    bench: Bench
    profile: Profile
    slo_ms: float
    max_queue_delay_ms: float
    process: int = 0
    wait_until: WaitUntil | None = None
    kept: list[Kept] = field(default_factory=list)

    def search(self, label: str, found: Found) -> Point:
        """Finds and certifies that engine's largest rate within `server_s` of the profile."""
        probes = usable_probes(found.probes[label], self.slo_ms)
        sizes = tuple(sorted({1, *(probe.batch for probe in probes)}))
        capacity = max((probe.total_per_s for probe in probes), default=0.0) or self._single_rate(label)
        answer = self._warm(label, sizes)
        batcher = Batcher(sizes=sizes, max_queue_delay_ms=self.max_queue_delay_ms)
        begin_ns, server_s = self.bench.clock_ns(), self.profile.server_s

        def is_past(share: float) -> bool:
            return (self.bench.clock_ns() - begin_ns) * 1e-9 > share * server_s

        rate: FoundRate = find_rate(
            lambda rate, certifies: self._run(label, answer, batcher, rate, certifies=certifies),
            capacity_per_s=capacity,
            is_search_over=lambda: is_past(_SEARCH_SHARE),
            is_time_up=lambda: is_past(_LAST_START),
        )
        return Point(rate_per_s=rate.rate_per_s, sizes=sizes, max_queue_delay_ms=self.max_queue_delay_ms)

    def confirm(self, label: str, point: Point) -> None:
        """One long run at a rate that another process certified; nothing where it certified none."""
        if point.rate_per_s is None:
            return
        answer = self._warm(label, point.sizes)
        batcher = Batcher(sizes=point.sizes, max_queue_delay_ms=point.max_queue_delay_ms)
        self._run(label, answer, batcher, point.rate_per_s, certifies=True)

    def _run(self, label: str, answer: EngineAnswer, batcher: Batcher, rate: float, *, certifies: bool) -> Trial:
        seconds = self.profile.server_s / _RUNS * (LONGER if certifies else 1)
        count = max(1, min(_MOST_QUERIES, round(rate * seconds)))
        number = sum(1 for kept in self.kept if kept.label == label)
        due_ns = poisson_arrivals_ns(rate, count, (_SEED, self.process, number))
        limit_ns = self.slo_ms * 1e6
        cpu_before_s = self.bench.cpu_s()
        served = serve(
            answer,
            due_ns,
            batcher,
            clock_ns=self.bench.clock_ns,
            wait_until=self.wait_until or RealWait(clock_ns=self.bench.clock_ns),
            lanes=answer.lanes(count),
            patience_ns=round(limit_ns),
        )
        trial = Trial(
            number=number,
            rate_per_s=rate,
            certifies=certifies,
            tail=judge_tail(served.due_ns, served.latencies_ns, limit_ns),
            p99_ms=percentile(sorted(served.latencies_ns.tolist()), 0.99) * 1e-6,
        )
        self.kept.append(Kept(label=label, trial=trial, served=served, cpu_s=self.bench.cpu_s() - cpu_before_s))
        self.bench.progress.step(label, self.bench.clock_ns())
        return trial

    def _warm(self, label: str, sizes: Sequence[int]) -> EngineAnswer:
        """The engine behind its queue, every batch answered twice before any clock runs."""
        answer = EngineAnswer(self.bench.runs[label], self.bench.inputs)
        lanes: Sequence[Sequence[int]] = answer.lanes(2 * sizes[-1]) or [range(sizes[-1])]
        for lane in lanes:
            for size in [size for size in sizes if size <= len(lane)] * 2:
                answer(lane, 0, size)
        return answer

    def _single_rate(self, label: str) -> float:
        blocks = [block.timed for block in self.bench.blocks if block.kind == SINGLE and block.label == label]
        window_ns = sum(timed.window_ns for timed in blocks)
        return sum(len(timed.latencies_ns) for timed in blocks) / max(window_ns * 1e-9, 1e-9)


def usable_probes(probes: Sequence[Probe], slo_ms: float) -> list[Probe]:
    """Batches the server may make: a query that just missed one waits for it and its own, so half the limit each."""
    return [probe for probe in probes if probe.p90_ms <= _SERVICE_SHARE * slo_ms]

"""The latency-bounded point: the batch with most samples per second inside the limit, found and measured at length."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from plaster_ops.plaster.meter import TickMeter
from plaster_ops.plaster.percentiles import fewest_to_pass, is_clearly_over, passes
from plaster_ops.plaster.profiles import Profile
from plaster_ops.plaster.search import Fit, Found, Probe, judge_probe, search_batches, step_down
from plaster_ops.plaster.timing import interleave
from plaster_ops.plaster.turns import THROUGHPUT, Bench, Block, bounded_count

_TRIALS = 3
_SPARE = 1.15
_PROBE_COUNT = 4096


@dataclass(slots=True)
class Sustained:
    """Throughput of the engines `labels` on one bench; `slo_ms` is the limit on p99."""

    bench: Bench
    labels: Sequence[str]
    profile: Profile
    slo_ms: float
    probes: dict[tuple[str, int], Probe] = field(default_factory=dict)

    def search(self, batches: Sequence[int]) -> Found:
        """Probes the batches upwards; see `search_batches`."""
        clock_ns = self.bench.clock_ns
        stop_ns = clock_ns() + round(self.profile.search_limit_s * 1e9)
        found = search_batches(self.labels, batches, self.probe, lambda: clock_ns() > stop_ns)
        for batch in set(batches) - set(found.chosen.values()) - {1}:
            self.bench.inputs.forget(batch)
        return found

    def probe(self, label: str, batch: int) -> Probe | None:
        """None where the engine cannot run that batch (out of memory, outside its range); batch 1 must run."""
        queries = self.bench.inputs.queries(batch)
        run, limit_s = self.bench.runs[label], self.profile.probe_s
        try:
            timed = self.bench.time(run, queries, first=0, count=_PROBE_COUNT, limit_s=limit_s)
        except RuntimeError:
            if batch == 1:
                raise
            return None
        self.bench.progress.step(label)
        self.probes[label, batch] = judge_probe(timed, batch, self.slo_ms)
        return self.probes[label, batch]

    def measure(self, chosen: Mapping[str, int], found: Found | None) -> dict[str, int]:
        """Measures the batches and returns them; after a search, those that prove too slow are first stepped down."""
        settled = dict(chosen)
        start = len(self.bench.blocks)
        for trial in range(_TRIALS if found else 0):
            self._take_rounds(settled, 0, max(1, self._rounds(settled) // 4))
            lower = self._too_slow(settled, self.bench.blocks[start:])
            smaller = step_down(found.probes, lower) if found else {}
            if not smaller or trial == _TRIALS - 1:
                break
            del self.bench.blocks[start:]
            settled |= smaller
        begun = len(self.bench.blocks[start:]) // (2 * len(self.labels))
        self._take_rounds(settled, begun, max(1, self._rounds(settled) - begun))
        return settled

    def block_s(self) -> float:
        """Seconds of one throughput block: longer where a slow energy counter must tick within it."""
        return self.profile.energy_block_s if isinstance(self.bench.meter, TickMeter) else self.profile.block_s

    def _take_rounds(self, chosen: Mapping[str, int], first_round: int, rounds: int) -> None:
        counts = self._counts(chosen)
        per_round = 2 * len(self.labels)
        for turn in interleave(self.labels, first_round + rounds)[first_round * per_round :]:
            batch, count = chosen[turn.label], counts[turn.label]
            limit_s = max(4 * self.block_s(), 3 * count * self._query_s(turn.label, batch))
            self.bench.take(THROUGHPUT, turn, batch=batch, count=count, limit_s=limit_s)

    def _too_slow(self, chosen: Mapping[str, int], blocks: Sequence[Block]) -> dict[str, int]:
        """Engines whose p99 is clearly over the limit, and those at the same batch that are not certified there."""
        limit_ns = self.slo_ms * 1e6
        seen = {
            label: [latency for b in blocks if b.label == label for latency in b.timed.latencies_ns] for label in chosen
        }
        over = {label: sum(1 for latency_ns in seen[label] if latency_ns > limit_ns) for label in chosen}
        slow = {label for label in chosen if is_clearly_over(len(seen[label]), over[label])}
        shared = {chosen[label] for label in slow}
        slow |= {label for label in chosen if chosen[label] in shared and not passes(len(seen[label]), over[label])}
        return {label: chosen[label] for label in slow}

    def _query_s(self, label: str, batch: int) -> float:
        """Median seconds of one query at that batch, probed on first use, which also warms that batch up."""
        known = self.probes.get((label, batch)) or self.probe(label, batch)
        return known.batch / known.rate_per_s if known else self.block_s()

    def _counts(self, chosen: Mapping[str, int]) -> dict[str, int]:
        """Queries per block: the same for all engines at a common batch, so that they answer the same samples."""
        seconds = {label: self._query_s(label, batch) for label, batch in chosen.items()}
        if len(set(chosen.values())) == 1:
            mean_s = sum(seconds.values()) / len(seconds)
            return dict.fromkeys(chosen, bounded_count(self.block_s() / mean_s))
        return {label: bounded_count(self.block_s() / query_s) for label, query_s in seconds.items()}

    def _rounds(self, chosen: Mapping[str, int]) -> int:
        """Rounds for the profile's seconds, more where certifying the limit needs them and time allows it."""
        counts = self._counts(chosen)
        seconds = {label: counts[label] * self._query_s(label, batch) for label, batch in chosen.items()}
        per_round_s = 2 * sum(seconds.values()) / len(seconds)
        rounds = max(1, round(self.profile.throughput_s / per_round_s))
        if any(self._is_over(label, batch) for label, batch in chosen.items()):
            return rounds
        needed = math.ceil(_SPARE * fewest_to_pass(0) / self.profile.processes)
        wanted = max(math.ceil(needed / (2 * count)) for count in counts.values())
        affordable = max(1, int(self.profile.certify_limit_s / per_round_s))
        return max(rounds, min(wanted, affordable))

    def _is_over(self, label: str, batch: int) -> bool:
        known = self.probes.get((label, batch))
        return known is not None and known.fit is Fit.OVER

"""The latency-bounded point: the batch with most samples per second inside the limit, found and measured at length."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from plaster_ops.plaster.meter import Meter, TickMeter
from plaster_ops.plaster.percentiles import fewest_to_pass, is_clearly_over, passes
from plaster_ops.plaster.profiles import Profile
from plaster_ops.plaster.search import Fit, Found, Probe, judge_probe, search_batches, step_down
from plaster_ops.plaster.timing import Timed, interleave
from plaster_ops.plaster.turns import OFFLINE, THROUGHPUT, Bench, Block, block_count

_PATIENCE = 10
_SPARE = 1.15
_PROBE_COUNT = 4096
_PROBE_TURNS = 4
_TRIAL_SHARE = 0.25
_TICKING_S = 0.5
"""Shorter blocks hold too few steps of a counter that moves ten times a second."""


def least_metered_s(profile: Profile, meter: Meter) -> float:
    """What an engine's throughput takes at the least where a slow energy counter is read: a trial and a round."""
    return 4 * min(profile.energy_block_s, _TICKING_S) if isinstance(meter, TickMeter) else 0.0


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
        for batch in set(batches) - set(found.chosen.values()) - set(found.fastest().values()) - {1}:
            self.bench.inputs.forget(batch)
        return found

    def probe(self, labels: Sequence[str], batch: int) -> dict[str, Probe | None]:
        """Tries one batch in short turns, side by side; None for an engine that cannot run it. Batch 1 must run."""
        bench, limit_s = self.bench, self.profile.probe_s / _PROBE_TURNS
        queries = bench.inputs.queries(batch)
        taken: dict[str, list[Timed]] = {label: [] for label in labels}
        failed: set[str] = set()
        for turn in (turn for number in range(_PROBE_TURNS // 2) for turn in interleave(labels, number)):
            if turn.label in failed:
                continue
            try:
                timed = bench.time(bench.runs[turn.label], queries, first=0, count=_PROBE_COUNT, limit_s=limit_s)
            except RuntimeError:
                if batch == 1:
                    raise
                failed.add(turn.label)
                continue
            taken[turn.label].append(timed)
            bench.progress.step(turn.label, bench.clock_ns())
        kept = {label: judge_probe(taken[label], batch, self.slo_ms) for label in labels if label not in failed}
        self.probes |= {(label, batch): probe for label, probe in kept.items()}
        return {label: kept.get(label) for label in labels}

    def measure(self, chosen: Mapping[str, int], found: Found | None) -> dict[str, int]:
        """Measures the batches and returns them; after a search, those that prove too slow are first stepped down."""
        settled = dict(chosen)
        start = len(self.bench.blocks)
        while found:
            self._take_rounds(THROUGHPUT, settled, 0, self.profile.throughput_s * _TRIAL_SHARE)
            smaller = step_down(found.probes, self._too_slow(settled, self.bench.blocks[start:]))
            if not smaller:
                break
            del self.bench.blocks[start:]
            settled |= smaller
        begun = len(self.bench.blocks[start:]) // (2 * len(self.labels))
        tried_s = self.profile.throughput_s * _TRIAL_SHARE if begun else 0.0
        seconds, certify_s = self.profile.throughput_s - tried_s, self.profile.certify_limit_s - tried_s
        self._take_rounds(THROUGHPUT, settled, begun, seconds, certify_s=certify_s)
        return settled

    def measure_offline(self, batches: Mapping[str, int]) -> None:
        """Measures these engines at their fastest batch, without regard to the limit."""
        if batches and self.profile.offline_s > 0:
            labels = [label for label in self.labels if label in batches]
            replace(self, labels=labels)._take_rounds(OFFLINE, batches, 0, self.profile.offline_s)

    def _block_s(self, kind: str, seconds: float) -> float:
        """One block: where a slow energy counter must tick within it, as long as whole rounds in `seconds` allow."""
        if kind != THROUGHPUT or not isinstance(self.bench.meter, TickMeter):
            return self.profile.block_s
        longest_s = self.profile.energy_block_s
        rounds = max(1, math.ceil(seconds / (2 * longest_s)))
        return min(longest_s, max(_TICKING_S, seconds / (2 * rounds)))

    def _take_rounds(
        self, kind: str, chosen: Mapping[str, int], number: int, seconds: float, *, certify_s: float = 0.0
    ) -> None:
        """Rounds for `seconds` per engine; up to `certify_s` where the limit needs more queries."""
        counts = self._counts(self._block_s(kind, seconds), chosen)
        begun_ns = self.bench.clock_ns()
        enough = 0 if not certify_s or self._is_hopeless(chosen) else self._queries_needed()
        last, taken = number, self._queries_taken(kind)
        while last == number or self._goes_on(begun_ns, last - number, seconds, certify_s * (enough > taken)):
            for turn in interleave(self.labels, last):
                batch, count = chosen[turn.label], counts[turn.label]
                limit_s = _PATIENCE * count * self._query_s(turn.label, batch)
                self.bench.take(kind, turn, batch=batch, count=count, limit_s=limit_s)
            last, taken = last + 1, taken + 2 * min(counts.values())

    def _queries_taken(self, kind: str) -> int:
        """Of the engine that has answered fewest."""
        blocks = [block for block in self.bench.blocks if block.kind == kind]
        return min(sum(len(b.timed.latencies_ns) for b in blocks if b.label == label) for label in self.labels)

    def _goes_on(self, begun_ns: int, rounds: int, seconds: float, certify_s: float) -> bool:
        """Whether one more round, as long as those before, ends nearer to `seconds`, or within `certify_s`."""
        spent_s = (self.bench.clock_ns() - begun_ns) * 1e-9 / len(self.labels)
        round_s = spent_s / rounds
        return spent_s + round_s / 2 < seconds or spent_s + round_s <= certify_s

    def _too_slow(self, chosen: Mapping[str, int], blocks: Sequence[Block]) -> dict[str, int]:
        """Engines that will not be certified if all processes go on like this trial: two slow queries at the least,
        or one where the probe was near the limit already.

        One that shares its batch with such an engine goes with it, so that equal engines stay together, unless it is
        certified while the other is clearly over.
        """
        limit_ns = self.slo_ms * 1e6
        seen = {
            label: [latency for b in blocks if b.label == label for latency in b.timed.latencies_ns] for label in chosen
        }
        over = {label: sum(1 for latency_ns in seen[label] if latency_ns > limit_ns) for label in chosen}
        scale = round(self.profile.processes / _TRIAL_SHARE)
        slow = {
            label
            for label, batch in chosen.items()
            if over[label] >= (1 if self._fit(label, batch) is Fit.NEAR else 2)
            and not passes(scale * len(seen[label]), scale * over[label])
        }
        leaves_alone = {chosen[label] for label in slow if is_clearly_over(len(seen[label]), over[label])}
        takes_along = {chosen[label] for label in slow} - leaves_alone
        for label, batch in chosen.items():
            is_certified = passes(len(seen[label]), over[label])
            if batch in takes_along or (batch in leaves_alone and not is_certified):
                slow.add(label)
        return {label: chosen[label] for label in slow}

    def _query_s(self, label: str, batch: int) -> float:
        """Median seconds of one query at that batch, probed on first use, which also warms that batch up."""
        known = self.probes.get((label, batch)) or self.probe([label], batch)[label]
        return known.batch / known.rate_per_s if known else self.profile.block_s

    def _counts(self, block_s: float, chosen: Mapping[str, int]) -> dict[str, int]:
        """Queries per block: the same for all engines at a common batch, so that they answer the same samples."""
        seconds = {label: self._query_s(label, batch) for label, batch in chosen.items()}
        if len(set(chosen.values())) == 1:
            mean_s = sum(seconds.values()) / len(seconds)
            return dict.fromkeys(chosen, block_count(block_s, mean_s))
        return {label: block_count(block_s, query_s) for label, query_s in seconds.items()}

    def _queries_needed(self) -> int:
        """This process's part of the queries that certify the limit, with some to spare."""
        return math.ceil(_SPARE * fewest_to_pass(0) / self.profile.processes)

    def _is_hopeless(self, chosen: Mapping[str, int]) -> bool:
        return any(self._fit(label, batch) is Fit.OVER for label, batch in chosen.items())

    def _fit(self, label: str, batch: int) -> Fit | None:
        probe = self.probes.get((label, batch))
        return probe.fit if probe else None

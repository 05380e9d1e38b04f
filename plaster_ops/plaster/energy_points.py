"""Blocks that are taken for their joules alone, and what the GPU draws at rest.

A counter that moves ten times a second says nothing of the short blocks in which engines take turns: batch 1 gets
longer ones. The batch of the unbounded maximum is measured where it is another than the one inside the latency limit.
"""

import time
from collections.abc import Callable, Mapping, Sequence

from plaster_ops.plaster.meter import EnergyWindow, Meter, NoMeter, TickMeter
from plaster_ops.plaster.profiles import Profile
from plaster_ops.plaster.search import Found
from plaster_ops.plaster.timing import Timed, interleave
from plaster_ops.plaster.turns import OFFLINE_ENERGY, SINGLE_ENERGY, Bench, bounded_count

_PATIENCE = 4
_LONGEST_IDLE_S = 30.0
_IDLE_SHARE = 0.1


def points_s(profile: Profile, meter: Meter, engines: int, *, searching: bool) -> float:
    """Seconds that `take_points` may take at most."""
    kinds = (not meter.is_fine) + searching
    return 0.0 if isinstance(meter, NoMeter) else 2 * _block_s(profile, meter) * kinds * engines


def take_points(
    bench: Bench,
    labels: Sequence[str],
    profile: Profile,
    p50_ns: Mapping[str, int],
    found: Found | None,
    settled: Mapping[str, int],
) -> None:
    """Meters batch 1 and, in the process that searched, the fastest batch: one round A B B A each.

    `labels` in the order of this process; `p50_ns`: median nanoseconds of one query of batch 1; `settled`: the batch
    that each engine was measured at inside the latency limit.
    """
    if isinstance(bench.meter, NoMeter):
        return
    block_s = _block_s(profile, bench.meter)
    if not bench.meter.is_fine:
        seconds = {label: p50_ns[label] * 1e-9 for label in labels}
        _take(bench, SINGLE_ENERGY, labels, dict.fromkeys(labels, 1), seconds, block_s)
    if found is not None:
        best = found.fastest()
        fastest = {label: best[label] for label in labels if best.get(label, settled[label]) != settled[label]}
        rates = {(label, probe.batch): probe.rate_per_s for label in fastest for probe in found.probes[label]}
        seconds = {label: batch / rates[label, batch] for label, batch in fastest.items()}
        _take(bench, OFFLINE_ENERGY, list(fastest), fastest, seconds, block_s)


def idle_s(profile: Profile, meter: Meter) -> float:
    """How long the GPU is watched at rest: a tenth of a process's budget, 30 s at most; 0 without a slow counter."""
    if not isinstance(meter, TickMeter):
        return 0.0
    return min(_LONGEST_IDLE_S, _IDLE_SHARE * profile.total_s / profile.processes)


def watch_idle(
    meter: Meter,
    seconds: float,
    *,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> EnergyWindow | None:
    """What is drawn while nothing is asked of the engines; None where the counter did not move twice."""
    if seconds <= 0:
        return None
    begin_ns = clock_ns()
    meter.begin()
    sleep(seconds)
    idle = Timed(latencies_ns=[], start_ns=begin_ns, window_ns=clock_ns() - begin_ns, cpu_s=0.0)
    return meter.end(idle, 0)


def _block_s(profile: Profile, meter: Meter) -> float:
    return (profile.throughput_s / 8) if meter.is_fine else profile.energy_block_s / 2


def _take(
    bench: Bench,
    kind: str,
    labels: Sequence[str],
    batches: Mapping[str, int],
    query_s: Mapping[str, float],
    block_s: float,
) -> None:
    for turn in interleave(labels, 0):
        count = bounded_count(block_s / query_s[turn.label])
        bench.take(kind, turn, batch=batches[turn.label], count=count, limit_s=_PATIENCE * block_s)

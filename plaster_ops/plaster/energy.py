"""E, energy efficiency: inferences per joule at the latency-bounded point, from hardware counters or not at all.

CPU time per inference is measured everywhere; it is the figure that drifts visibly where no counter exists. What a
retrain spent by phase is in `phase_energy`, guesses are in `energy_band`.
"""

from collections.abc import Callable, Sequence

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Reading, Row, Status, Unmeasured
from plaster_ops.domain.metrics import Metric
from plaster_ops.domain.sample import PairedRatios
from plaster_ops.plaster import gpu_rows, throughput
from plaster_ops.plaster.evidence import Evidence, MeasuredBlock
from plaster_ops.plaster.intervals import total_ratio
from plaster_ops.plaster.pairing import pair_blocks
from plaster_ops.plaster.trust import trust_of
from plaster_ops.plaster.turns import OFFLINE_ENERGY, SINGLE, SINGLE_ENERGY, THROUGHPUT

_FEWEST_UPDATES = 20
_JOULES = (
    m.INFERENCES_PER_J,
    m.GPU_ENERGY_PER_INFERENCE_J,
    m.CPU_ENERGY_PER_INFERENCE_J,
    m.DRAM_ENERGY_PER_INFERENCE_J,
    m.OFFLINE_INFERENCES_PER_J,
    m.SINGLESTREAM_ENERGY_PER_INFERENCE_J,
    m.ENERGY_WINDOW_S,
    m.COUNTER_UPDATES_COUNT,
    *gpu_rows.METRICS,
)
METRICS = (*_JOULES, m.CPU_TIME_PER_INFERENCE_S)
"""What `read` gives a row for, always."""


def read(evidence: Evidence, label: str) -> list[Row]:
    """All energy rows of one engine, gross; the headline's reason names what the counter covers."""
    blocks = evidence.blocks(THROUGHPUT, label)
    if not blocks:
        return unmeasured(f"engine {label!r} was not measured")
    reason = _why_no_joules(evidence, blocks)
    joules = _no_joules(evidence, reason) if reason else _joule_rows(evidence, label, blocks)
    return [*joules, _cpu_time_row(evidence, blocks)]


def unmeasured(reason: str) -> list[Row]:
    """A row with that reason for all that `read` knows."""
    return _all(METRICS, reason)


def paired_ratios(evidence: Evidence, now: str, then: str) -> tuple[PairedRatios, ...]:
    """log(now / then) of CPU time per inference and, where a counter was read, of inferences per joule."""
    found = (
        pair_blocks(evidence, m.CPU_TIME_PER_INFERENCE_S, THROUGHPUT, now, then, lambda b: b.cpu_s / b.samples),
        pair_blocks(evidence, m.INFERENCES_PER_J, THROUGHPUT, now, then, _inferences_per_j),
    )
    return tuple(ratios for ratios in found if ratios is not None)


def _why_no_joules(evidence: Evidence, blocks: Sequence[MeasuredBlock]) -> str:
    """Empty where there are joules. A counter that broke off in one process is believed in none."""
    counters = [result["energy"] for result in evidence.results]
    for counter in counters:
        if counter["reason"] or counter.get("lost"):
            return str(counter["reason"] or counter["lost"])
    if not _metered(blocks):
        return f"the {counters[0]['source']} counter did not move twice within a block"
    return ""


def _no_joules(evidence: Evidence, reason: str) -> list[Row]:
    """What is a GPU's own is not missing where the engine ran on the CPU."""
    of_gpu = (m.GPU_ENERGY_PER_INFERENCE_J, *gpu_rows.METRICS) if evidence.results[0].get("device") == "cpu" else ()
    return [*_all([x for x in _JOULES if x not in of_gpu], reason), *_all(of_gpu, "the engine ran on the CPU")]


def _joule_rows(evidence: Evidence, label: str, blocks: Sequence[MeasuredBlock]) -> list[Row]:
    source, metered = _source(evidence), _metered(blocks)
    own, other = m.GPU_ENERGY_PER_INFERENCE_J, m.CPU_ENERGY_PER_INFERENCE_J
    if source == "rapl":
        own, other = other, own
    status, note = _trust(evidence, metered)
    updates = sum(block.energy.updates for block in metered if block.energy)
    seconds = sum(block.energy.window_s for block in metered if block.energy)
    at_rest = "the engine ran on the CPU" if own is m.CPU_ENERGY_PER_INFERENCE_J else "the engine ran on the GPU"
    return [
        _per_joule(m.INFERENCES_PER_J, metered, status, note),
        _per_inference(own, metered, status, note),
        Unmeasured(metric=other, reason=f"{at_rest}, whose counter was read"),
        _dram_row(evidence, metered, status, note),
        _offline_row(evidence, label, metered),
        _single_row(evidence, label),
        Reading(metric=m.ENERGY_WINDOW_S, value=seconds, n=updates),
        Reading(metric=m.COUNTER_UPDATES_COUNT, value=updates),
        *gpu_rows.read(evidence, metered, status, note),
    ]


def _trust(evidence: Evidence, metered: Sequence[MeasuredBlock]) -> tuple[Status, str]:
    """How far these joules may be trusted, and the reason, which begins with their scope."""
    counter = evidence.results[0]["energy"]
    status, reason = evidence.trust()
    updates = sum(block.energy.updates for block in metered if block.energy)
    ratio = gpu_rows.integral_ratio(metered)
    if status is Status.MEASURED and updates < _FEWEST_UPDATES:
        status, reason = Status.SUSPECT, f"only {updates} steps of the counter, {_FEWEST_UPDATES} are needed"
    if status is Status.MEASURED and ratio is not None and not gpu_rows.agrees(ratio):
        status, reason = Status.SUSPECT, gpu_rows.why_suspect(ratio)
    if status is Status.MEASURED:
        status, reason = trust_of(evidence, metered)
    parts = [f"scope: {counter['scope']}", *([reason] if reason else []), *counter.get("notes", ())]
    return status, "; ".join(parts)


def _per_joule(metric: Metric, blocks: Sequence[MeasuredBlock], status: Status, note: str) -> Row:
    value, interval = total_ratio(blocks, _inferences, _joules)
    n = round(sum(map(_inferences, blocks)))
    return Reading(metric=metric, value=value, ci95=interval, n=n, status=status, reason=note)


def _per_inference(
    metric: Metric,
    blocks: Sequence[MeasuredBlock],
    status: Status,
    note: str,
    joules: Callable[[MeasuredBlock], float] | None = None,
) -> Row:
    value, interval = total_ratio(blocks, joules or _joules, _inferences)
    n = round(sum(map(_inferences, blocks)))
    return Reading(metric=metric, value=value, ci95=interval, n=n, status=status, reason=note)


def _dram_row(evidence: Evidence, metered: Sequence[MeasuredBlock], status: Status, note: str) -> Row:
    known = [block for block in metered if block.energy and block.energy.dram_j is not None]
    if len(known) < len(metered):
        reason = str(evidence.results[0]["energy"].get("dram_reason") or "the memory has no counter here")
        return Unmeasured(metric=m.DRAM_ENERGY_PER_INFERENCE_J, reason=reason)
    if not sum(map(_dram_j, known)) > 0:
        return Unmeasured(metric=m.DRAM_ENERGY_PER_INFERENCE_J, reason="the counter of the memory did not move")
    note = note.replace("scope: cpu package", "scope: dram", 1)
    return _per_inference(m.DRAM_ENERGY_PER_INFERENCE_J, known, status, note, _dram_j)


def _offline_row(evidence: Evidence, label: str, inside: Sequence[MeasuredBlock]) -> Row:
    """At the batch of the unbounded maximum: blocks of its own, or those of the latency-bounded point."""
    fastest, reason = throughput.offline_blocks(evidence, label)
    if not fastest:
        return Unmeasured(metric=m.OFFLINE_INFERENCES_PER_J, reason=reason)
    batch = fastest[0].batch
    blocks = list(inside) if batch == inside[0].batch else _metered(evidence.blocks(OFFLINE_ENERGY, label))
    if not blocks:
        reason = f"the counter did not move twice in a block of batch {batch}"
        return Unmeasured(metric=m.OFFLINE_INFERENCES_PER_J, reason=reason)
    status, note = _trust(evidence, blocks)
    return _per_joule(m.OFFLINE_INFERENCES_PER_J, blocks, status, f"{note}; batch {blocks[0].batch}")


def _single_row(evidence: Evidence, label: str) -> Row:
    """Batch 1, one query at a time: the timed blocks themselves under a fine counter, longer ones under a slow one."""
    blocks = _metered(evidence.blocks(SINGLE_ENERGY, label)) or _metered(evidence.blocks(SINGLE, label))
    if not blocks:
        reason = "no block of batch 1 was long enough for the counter to move twice"
        return Unmeasured(metric=m.SINGLESTREAM_ENERGY_PER_INFERENCE_J, reason=reason)
    status, note = _trust(evidence, blocks)
    return _per_inference(m.SINGLESTREAM_ENERGY_PER_INFERENCE_J, blocks, status, note)


def _cpu_time_row(evidence: Evidence, blocks: Sequence[MeasuredBlock]) -> Row:
    value, interval = total_ratio(blocks, lambda b: b.cpu_s, lambda b: float(b.samples))
    status, reason = trust_of(evidence, blocks)
    return Reading(
        metric=m.CPU_TIME_PER_INFERENCE_S,
        value=value,
        ci95=interval,
        n=sum(block.samples for block in blocks),
        status=status,
        reason=reason,
    )


def _source(evidence: Evidence) -> str:
    return str(evidence.results[0]["energy"]["source"])


def _metered(blocks: Sequence[MeasuredBlock]) -> list[MeasuredBlock]:
    """Those with joules, the ones in which the counter did not move as well; none where it moved in none of them."""
    found = [b for b in blocks if b.energy is not None and b.energy.inferences > 0]
    return found if sum(map(_joules, found)) > 0 else []


def _all(metrics: Sequence[Metric], reason: str) -> list[Row]:
    return [Unmeasured(metric=metric, reason=reason) for metric in metrics]


def _inferences(block: MeasuredBlock) -> float:
    return float(block.energy.inferences) if block.energy else 0.0


def _joules(block: MeasuredBlock) -> float:
    return block.energy.joules if block.energy else 0.0


def _dram_j(block: MeasuredBlock) -> float:
    return (block.energy.dram_j or 0.0) if block.energy else 0.0


def _inferences_per_j(block: MeasuredBlock) -> float | None:
    return _inferences(block) / _joules(block) if block.energy and block.energy.joules > 0 else None

"""E, energy efficiency: inferences per joule at the latency-bounded point, from hardware counters or not at all.

CPU time per inference is measured everywhere; it is the figure that drifts visibly where no counter exists.
"""

from collections.abc import Sequence

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Reading, Row, Status, Unmeasured
from plaster_ops.domain.sample import PairedRatios
from plaster_ops.plaster.evidence import Evidence, MeasuredBlock
from plaster_ops.plaster.intervals import total_ratio
from plaster_ops.plaster.pairing import pair_blocks

_THROUGHPUT = "throughput"
_FEWEST_UPDATES = 20
_PER_INFERENCE = {"nvml": m.GPU_ENERGY_PER_INFERENCE_J, "rapl": m.CPU_ENERGY_PER_INFERENCE_J}


def read(evidence: Evidence, label: str) -> list[Row]:
    """All energy rows of one engine, gross; the headline's reason names what the counter covers."""
    blocks = evidence.blocks(_THROUGHPUT, label)
    if not blocks:
        reason = f"engine {label!r} was not measured"
        return [Unmeasured(metric=metric, reason=reason) for metric in (m.INFERENCES_PER_J, m.CPU_TIME_PER_INFERENCE_S)]
    return [*_joule_rows(evidence, blocks), _cpu_time_row(evidence, blocks)]


def paired_ratios(evidence: Evidence, now: str, then: str) -> tuple[PairedRatios, ...]:
    """log(now / then) of CPU time per inference and, where a counter was read, of inferences per joule."""
    found = (
        pair_blocks(evidence, m.CPU_TIME_PER_INFERENCE_S, _THROUGHPUT, now, then, lambda b: b.cpu_s / b.samples),
        pair_blocks(evidence, m.INFERENCES_PER_J, _THROUGHPUT, now, then, _inferences_per_j),
    )
    return tuple(ratios for ratios in found if ratios is not None)


def _joule_rows(evidence: Evidence, blocks: Sequence[MeasuredBlock]) -> list[Row]:
    counter = evidence.results[0]["energy"]
    if counter["reason"]:
        return [Unmeasured(metric=m.INFERENCES_PER_J, reason=counter["reason"])]
    metered = [block for block in blocks if block.energy is not None and block.energy.joules > 0]
    updates = sum(block.energy.updates for block in metered if block.energy)
    if not metered:
        reason = f"the {counter['source']} counter did not move twice within a block"
        return [Unmeasured(metric=m.INFERENCES_PER_J, reason=reason)]
    status, reason_text = evidence.trust()
    scope = f"scope: {counter['scope']}"
    if updates < _FEWEST_UPDATES and status is Status.MEASURED:
        status, reason_text = Status.SUSPECT, f"only {updates} steps of the counter, {_FEWEST_UPDATES} are needed"
    note = scope if reason_text is None else f"{scope}; {reason_text}"
    value, interval = total_ratio(metered, _inferences, _joules)
    inferences = round(sum(_inferences(block) for block in metered))
    inverse = (1 / interval[1], 1 / interval[0]) if interval and interval[0] > 0 else None
    seconds = sum(block.energy.window_s for block in metered if block.energy)
    return [
        Reading(metric=m.INFERENCES_PER_J, value=value, ci95=interval, n=inferences, status=status, reason=note),
        Reading(
            metric=_PER_INFERENCE[counter["source"]],
            value=1 / value,
            ci95=inverse,
            n=inferences,
            status=status,
            reason=note,
        ),
        Reading(metric=m.ENERGY_WINDOW_S, value=seconds, n=updates),
    ]


def _cpu_time_row(evidence: Evidence, blocks: Sequence[MeasuredBlock]) -> Row:
    value, interval = total_ratio(blocks, lambda b: b.cpu_s, lambda b: float(b.samples))
    status, reason = evidence.trust()
    return Reading(
        metric=m.CPU_TIME_PER_INFERENCE_S,
        value=value,
        ci95=interval,
        n=sum(block.samples for block in blocks),
        status=status,
        reason=reason,
    )


def _inferences(block: MeasuredBlock) -> float:
    return float(block.energy.inferences) if block.energy else 0.0


def _joules(block: MeasuredBlock) -> float:
    return block.energy.joules if block.energy else 0.0


def _inferences_per_j(block: MeasuredBlock) -> float | None:
    return _inferences(block) / _joules(block) if block.energy and block.energy.joules > 0 else None

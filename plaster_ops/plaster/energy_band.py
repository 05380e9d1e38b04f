"""A guess at the CPU's power where no counter exists: a band from its TDP, only on request, never in a verdict."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Reading, Row, Status, Unmeasured
from plaster_ops.plaster.machine import cpu_quota

AT_REST = 0.1
"""Share of its TDP that a CPU is taken to draw at rest, at the least."""
NOT_ASKED = "not asked for: --estimate-energy"
_ROOT = Path("/")


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What the user says of the CPU: the TDP of the whole part in W, and its hardware threads.

    `threads` None: as many as this machine shows, which in a virtual machine is fewer than the part has; the upper
    bound is then too high, and stays one.
    """

    tdp_w: float | None = None
    threads: int | None = None


def read(asked: bool, part: Part, samples_per_s: float | None, *, cpus: float | None = None) -> list[Row]:
    """The rows of the band. lo: a tenth of hi; hi: TDP x CPUs that this process may use / hardware threads.

    `samples_per_s`: the rate at the latency-bounded point. Every row has the status estimated, or none has a value.
    """
    if not asked:
        return _all(NOT_ASKED)
    if part.tdp_w is None:
        return _all("asked for, but the TDP is not known: set measure.cpu_tdp_w")
    shown = os.cpu_count() or 1
    threads = part.threads or shown
    used = min(cpus_of_this_process() if cpus is None else cpus, float(threads))
    high_w = part.tdp_w * used / threads
    of = f"{part.threads} hardware threads" if part.threads else f"the {shown} threads that this machine shows"
    note = f"a guess, not measured: {used:g} CPUs of {of}, TDP {part.tdp_w:g} W"
    rows: list[Row] = [
        Reading(metric=m.EST_CPU_LO_W, value=high_w * AT_REST, status=Status.ESTIMATED, reason=note),
        Reading(metric=m.EST_CPU_HI_W, value=high_w, status=Status.ESTIMATED, reason=note),
    ]
    if samples_per_s is None:
        return [*rows, Unmeasured(metric=m.EST_INFERENCES_PER_J, reason="no rate inside the latency limit is known")]
    least, most = samples_per_s / high_w, samples_per_s / (high_w * AT_REST)
    band = f"{note}; the lower end of {least:.4g} to {most:.4g}"
    return [*rows, Reading(metric=m.EST_INFERENCES_PER_J, value=least, status=Status.ESTIMATED, reason=band)]


def cpus_of_this_process(root: Path = _ROOT) -> float:
    """CPUs that it may run on, and no more than its cgroup's quota."""
    free = float(len(os.sched_getaffinity(0)))
    quota = cpu_quota(root)
    return free if quota in ("none", "unknown") else min(free, float(quota))


def _all(reason: str) -> list[Row]:
    metrics: Sequence[m.Metric] = m.ESTIMATED_ENERGY
    return [Unmeasured(metric=metric, reason=reason) for metric in metrics]

"""How far two copies of one engine seem to differ on a machine: what a verdict may not undercut.

Two copies have the same speed, so whatever a comparison of them shows is the machine's. The half-width is that of the
verdict rule's own 95 % interval (`compare.interval_of_processes`), around no change instead of around the estimate, so
that a lasting difference between the first and the second of two turns counts as noise too.
"""

import math
from collections.abc import Mapping, Sequence

from plaster_ops.domain import student
from plaster_ops.domain.card import Reading, Row, Unmeasured
from plaster_ops.domain.earlier import PRIOR_WEIGHT
from plaster_ops.domain.metrics import (
    AA_ENERGY_RATIO,
    AA_LATENCY_RATIO,
    BUILD_NOISE_P50_RATIO,
    CPU_TIME_PER_INFERENCE_S,
    E2E_P50_MS,
    INFERENCES_PER_J,
    Metric,
)
from plaster_ops.domain.sample import PairedRatios


def half_width(comparisons: Sequence[PairedRatios], margin: float, *, share: float = 1.0) -> float:
    """95 % half-width, as a ratio, of one comparison like these, each of two copies of one engine.

    Moderated t over the log ratios of all their processes, with the verdict rule's prior. `margin`: the metric's.
    `share`: variance of one comparison over that of these, where they rest on fewer pairs than the one it is for.
    Raises `ValueError` without a comparison.
    """
    if not comparisons:
        raise ValueError("no comparison to tell the noise from")
    values = [value for paired in comparisons for value in paired.per_process]
    errors = [error for paired in comparisons for error in paired.within_se]
    within = math.sqrt(sum(error**2 for error in errors) / len(errors))
    spread = student.moderated(
        sum(value**2 for value in values) / len(values),
        len(values),
        prior=max(math.log1p(margin) / 4.0, within),
        weight=PRIOR_WEIGHT,
    )
    processes = len(values) / len(comparisons)
    return math.expm1(student.half_width(math.sqrt(share * spread.variance / processes), spread.freedom))


def noise_rows(widths: Mapping[str, float], reason: str) -> list[Row]:
    """The machine's noise as rows. `widths`: half-widths by key; `reason`: why one is not known."""
    latency, joules = widths.get(E2E_P50_MS.key), widths.get(INFERENCES_PER_J.key)
    cpu_time = widths.get(CPU_TIME_PER_INFERENCE_S.key)
    twice = "the engine was built once; see learning/refit_penalty_ratio for a refitted one beside a built one"
    return [
        _width_row(AA_LATENCY_RATIO, latency, reason),
        _width_row(AA_ENERGY_RATIO, joules, reason)
        if joules is not None
        else _width_row(AA_ENERGY_RATIO, cpu_time, reason, "of CPU time: there are no joules"),
        Unmeasured(metric=BUILD_NOISE_P50_RATIO, reason=twice),
    ]


def _width_row(metric: Metric, width: float | None, reason: str, note: str | None = None) -> Row:
    return (
        Unmeasured(metric=metric, reason=reason) if width is None else Reading(metric=metric, value=width, reason=note)
    )

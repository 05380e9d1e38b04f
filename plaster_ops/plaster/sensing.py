"""What a sensor said while a window was open: the integral of its power, temperatures and clocks."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from plaster_ops.plaster.power import PowerSample


@dataclass(frozen=True, kw_only=True, slots=True)
class Sensed:
    """A window as the sensor saw it; None for what it did not tell. `power_j` is the integral of power over it.

    `slowed_ratio`: share of the samples at which the clocks were held down; `braked_ratio`: by heat or a brake.
    `is_instant`: see `PowerSample`.
    """

    power_j: float | None = None
    is_instant: bool = True
    temp_start_c: float | None = None
    temp_end_c: float | None = None
    clock_mhz: float | None = None
    slowed_ratio: float | None = None
    braked_ratio: float | None = None


def sum_up(samples: Sequence[PowerSample], begin_ns: int, end_ns: int) -> Sensed:
    """The samples between two instants."""
    inside = [sample for sample in samples if begin_ns <= sample.at_ns <= end_ns]
    temps = [sample.temp_c for sample in inside if sample.temp_c is not None]
    clocks = [sample.clock_mhz for sample in inside if sample.clock_mhz is not None]
    slowed = [sample.slowed for sample in inside if sample.slowed is not None]
    braked = [sample.braked for sample in inside if sample.braked is not None]
    return Sensed(
        power_j=integral_j(inside, begin_ns, end_ns),
        is_instant=all(sample.is_instant for sample in inside),
        temp_start_c=temps[0] if temps else None,
        temp_end_c=temps[-1] if temps else None,
        clock_mhz=sum(clocks) / len(clocks) if clocks else None,
        slowed_ratio=sum(slowed) / len(slowed) if slowed else None,
        braked_ratio=sum(braked) / len(braked) if braked else None,
    )


def integral_j(samples: Sequence[PowerSample], begin_ns: int, end_ns: int) -> float | None:
    """Joules between two instants by the trapezoid rule, the first and the last sample held to the edges.

    None below four samples: an integral over fewer says nothing of what lies between them.
    """
    known = [(sample.at_ns, sample.power_w) for sample in samples if sample.power_w is not None]
    if len(known) < 4:
        return None
    (first_ns, first_w), (last_ns, last_w) = known[0], known[-1]
    edges = (first_ns - begin_ns) * first_w + (end_ns - last_ns) * last_w
    inner = sum((b_ns - a_ns) * (a_w + b_w) / 2 for (a_ns, a_w), (b_ns, b_w) in pairwise(known))
    return (edges + inner) * 1e-9

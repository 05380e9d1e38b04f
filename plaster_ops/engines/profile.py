"""Where the time of a forward goes: inside the engine, or in the operators that it handed back to torch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from plaster_ops.ports import Coverage, Engine

if TYPE_CHECKING:
    from torch import Tensor

_RUNS = 5


def time_inside(engine: Engine, coverage: Coverage, inputs: Sequence[Tensor]) -> float | None:
    """Share of a forward's time inside engines; None where torch's profiler does not name what is outside.

    A graph that is wholly inside or outside is not profiled. The profile is a run of its own, never the timed one.
    """
    if not coverage.engines:
        return 0.0
    if not coverage.fallback_ops:
        return 1.0
    from torch.profiler import ProfilerActivity, profile

    engine.run(*inputs)
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        began_s = time.perf_counter()
        for _ in range(_RUNS):
            engine.run(*inputs)
        whole_us = 1e6 * (time.perf_counter() - began_s)
    names = {_plain(name) for name in coverage.fallback_ops}
    outside_us = sum(event.cpu_time_total for event in recorded.key_averages() if _plain(event.key) in names)
    return max(0.0, 1.0 - outside_us / whole_us) if outside_us else None


def _plain(name: str) -> str:
    """`aten::sort`, `sort_stable` and `aten::sort.stable` are told apart by the profiler's name alone: `sort`."""
    return name.rpartition("::")[2].partition(".")[0].removesuffix("_stable").removesuffix("_out")

"""Where the time of a forward goes: inside the engine, or in the operators that it handed back to torch."""

from __future__ import annotations

import time
from collections.abc import Sequence, Set
from typing import TYPE_CHECKING, Any

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
    events = [event for event in recorded.events() or () if _plain(event.name) in names]
    outside_us = sum(event.cpu_time_total for event in events if not _is_within(event.cpu_parent, names))
    return max(0.0, 1.0 - outside_us / whole_us) if outside_us else None


def _is_within(event: Any, names: Set[str]) -> bool:
    """Whether the event, or one that it was called by, is of those names: its time counts there already."""
    while event is not None:
        if _plain(event.name) in names:
            return True
        event = event.cpu_parent
    return False


def _plain(name: str) -> str:
    """`aten::sort`, `sort_stable` and `aten::sort.stable` are told apart by the profiler's name alone: `sort`."""
    return name.rpartition("::")[2].partition(".")[0].removesuffix("_stable").removesuffix("_out")

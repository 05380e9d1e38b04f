"""The engines of `benchmarks/fidelity.py`: one that does nothing, one that spins, real ones of a latency."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

from fidelity_loadgen import BATCH, SAMPLES, Queries, Run

from plaster_ops.plaster.warmup import warm_up


def nothing(*inputs: Any) -> Any:
    """An engine that does nothing."""
    return inputs


def spinning(latency_ns: float) -> Run:
    """An engine that holds its core for that long a sample, by the clock; a query's inputs are its samples."""
    clock_ns = time.perf_counter_ns

    def run(*inputs: Any) -> Any:
        end_ns = clock_ns() + latency_ns * len(inputs)
        while clock_ns() < end_ns:
            pass
        return inputs

    return run


def built(backend_name: str, latency_ns: float, threads: int, folder: Path) -> tuple[Run, Queries, Queries]:
    """A convolutional network on pictures of the size that takes about `latency_ns`, as an engine of that backend.

    Returns its `run`, queries of one sample, and queries of `BATCH` samples.
    """
    import torch
    from torch import nn

    from plaster_ops.engines.export import export_program, input_specs
    from plaster_ops.engines.registry import find_backend
    from plaster_ops.ports import EngineSpec

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    backend = find_backend(backend_name)
    body = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()]
    model = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)).eval()
    tried: list[tuple[float, Any, int]] = []
    side = 32
    while len(tried) < 7:
        inputs = input_specs([(torch.rand(3, 3, side, side),)], None, ["input"])
        program = export_program(model, torch.rand(3, 3, side, side), inputs, BATCH)
        spec = EngineSpec(
            backend=backend_name, precision="fp32", device="cpu", inputs=inputs, batch=(1, 1, BATCH), threads=threads
        )
        place = folder / f"{latency_ns:.0f}-{len(tried)}"
        place.mkdir()
        backend.build(program, spec, place, ())
        engine = backend.load(place, spec)
        off = warmed_ns(engine.run, [(torch.rand(1, 3, side, side),) for _ in range(SAMPLES)]) / latency_ns
        tried.append((abs(math.log(off)), engine, side))
        step = max(0.4, min(2.5, off**-0.5))
        side = max(4, round(side * step))
        if 0.8 < off < 1.25 or side in {old for _, _, old in tried}:
            break
    _, engine, side = min(tried, key=lambda one: one[0])
    singles = [(torch.rand(1, 3, side, side),) for _ in range(SAMPLES)]
    return engine.run, singles, [(torch.rand(BATCH, 3, side, side),) for _ in range(SAMPLES // BATCH)]


def warmed_ns(run: Run, queries: Queries) -> int:
    """The median latency of an engine that has been warmed up."""
    warm = warm_up(run, queries, least_s=0.5, limit_s=2.0, clock_ns=time.perf_counter_ns, cpu_s=time.process_time)
    return warm.p50_ns

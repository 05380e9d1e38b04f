"""Parts of `benchmarks/gpu_check.py`: timing, energy, memory and load."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections import Counter
from contextlib import nullcontext
from itertools import pairwise
from typing import Any

from benchmarks.gpu_common import DEVICE, NotRun, median_us, model_and_inputs, need_cuda

COUNTER_S = 20.0
BESIDE_S = 10.0
PHASE_S = 5.0
TAKEN_BYTES = 256 * 2**20
GAP_MS = 5
"""Width of a bar of the histogram."""


def timing() -> str:
    """Where the time of one host-to-host call goes, as a card tells it: 400 calls of the eager engine, batch 1."""
    torch = need_cuda()
    from plaster_ops.engines.device import DeviceRun, SplitsCalls

    model, inputs = model_and_inputs()
    model = model.to(DEVICE)

    class Split(SplitsCalls):
        def __init__(self) -> None:
            self._run = DeviceRun(lambda given: [model(*given)], DEVICE, torch.cuda)

        def run(self, *given: Any) -> tuple[Any, ...]:
            with torch.no_grad():
                return tuple(self._run(given))

    engine = Split()
    queries = [(inputs(1).pin_memory(),) for _ in range(420)]
    for query in queries[:20]:
        engine.run(*query)
    parts = engine.time_parts(queries[20:])
    if parts is None or any(len(column) != 400 for column in parts.values()):
        raise RuntimeError(f"400 calls were made, told are {parts and {k: len(v) for k, v in parts.items()}}")
    whole_us = median_us(engine, queries[0][0])
    summed_us = sum(statistics.median(parts[name]) for name in ("h2d", "compute", "d2h")) * 1e3
    if summed_us > 1.1 * whole_us:
        raise RuntimeError(f"the parts take {summed_us:.1f} us, the whole call {whole_us:.1f} us")
    told = ", ".join(f"{name} {statistics.median(column) * 1e3:.1f} us" for name, column in parts.items())
    return f"{told}; the whole call {whole_us:.1f} us"


def energy() -> str:
    """How often NVML's energy counter steps while the GPU works: polled at 1 kHz, gaps as a histogram."""
    counter, load = counted_gpu(), Load()
    steps: list[tuple[float, float]] = []
    before_j, began_s = counter.read_j(), time.monotonic()
    polls = 0
    with load:
        while (now_s := time.monotonic()) - began_s < COUNTER_S:
            read_j = counter.read_j()
            polls += 1
            if read_j != before_j:
                steps.append((now_s, read_j - before_j))
                before_j = read_j
            time.sleep(1e-3)
    counter.close()
    if len(steps) < 3:
        raise RuntimeError(f"the counter stepped {len(steps)} times in {COUNTER_S} s")
    gaps_ms = [(later[0] - earlier[0]) * 1e3 for earlier, later in pairwise(steps)]
    power_w = sum(joules for _, joules in steps[1:]) / (steps[-1][0] - steps[0][0])
    counts = Counter(GAP_MS * round(gap_ms / GAP_MS) for gap_ms in gaps_ms)
    told = " ".join(f"{gap_ms} ms: {count}" for gap_ms, count in sorted(counts.items()))
    rate = f"{polls / COUNTER_S:.0f} polls/s"
    return f"{rate}, median gap {statistics.median(gaps_ms):.1f} ms, {power_w:.0f} W at work; gaps {told}"


def power_beside() -> str:
    """Integral of the power sensor / counter, at work and at rest, by the meter that measures engines."""
    from plaster_ops.plaster.meter import TickMeter
    from plaster_ops.plaster.timing import Timed

    counter, told = counted_gpu(), []
    for name, load in (("at work", Load()), ("at rest", nullcontext())):
        meter = TickMeter(counter, sensor=counter.sensor())
        with load:
            time.sleep(1.0)
            began_ns = time.perf_counter_ns()
            meter.begin()
            time.sleep(BESIDE_S)
            window_ns = time.perf_counter_ns() - began_ns
            window = meter.end(Timed(latencies_ns=[], start_ns=began_ns, window_ns=window_ns, cpu_s=0.0), 0)
        if window is None or window.sensed.power_j is None:
            raise RuntimeError(f"{name}: {meter.lost or 'no window, or no power'}")
        sensed = window.sensed
        kind = "instantaneous" if sensed.is_instant else "averaged"
        ratio, power_w = sensed.power_j / window.joules, window.joules / window.window_s
        told.append(
            f"{name} {ratio:.3f} ({kind}; counter {power_w:.0f} W, {sensed.temp_end_c} C, {sensed.clock_mhz:.0f} MHz,"
            f" slowed {sensed.slowed_ratio})"
        )
    counter.close()
    return "integral / counter: " + "; ".join(told)


def phases() -> str:
    """Joules of a phase at work and of one at rest, as the parent reads them, and the parts against the whole."""
    need_cuda()
    from plaster_ops.domain.timeline import Phase
    from plaster_ops.plaster.phase_energy import open_gauges, span
    from plaster_ops.training.devices import visible_gpus as cuda_devices

    gauges = open_gauges(cuda_devices(os.environ)[:1])
    edges = [gauges.read()]
    for load in (Load(), nullcontext()):
        with load:
            time.sleep(PHASE_S)
            edges.append(gauges.read())
    gauges.close()
    work, rest = span("fit", Phase.FIT, edges[0], edges[1]), span("rest", Phase.EVAL, edges[1], edges[2])
    whole = span("both", Phase.FIT, edges[0], edges[2])
    if work["gpu_j"] is None or rest["gpu_j"] is None:
        raise NotRun(work["why_gpu"] or rest["why_gpu"])
    if abs(work["gpu_j"] + rest["gpu_j"] - whole["gpu_j"]) > 1e-6 or not work["gpu_j"] > rest["gpu_j"] > 0:
        raise RuntimeError(f"work {work['gpu_j']} J, rest {rest['gpu_j']} J, both {whole['gpu_j']} J")
    cpu = f"{work['cpu_j']:.0f} J" if work["cpu_j"] is not None else f"not measured ({work['why_cpu']})"
    return f"{PHASE_S:.0f} s of work {work['gpu_j']:.0f} J, of rest {rest['gpu_j']:.0f} J; CPU packages at work: {cpu}"


def counted_gpu() -> Any:
    """The energy counter of the GPU that torch uses, found by the UUID that torch tells."""
    torch = need_cuda()
    from plaster_ops.plaster.nvml import open_nvml

    torch.cuda.init()
    counter = open_nvml(DEVICE)
    if counter.reason:
        raise NotRun(counter.reason)
    uuid = getattr(torch.cuda.get_device_properties(DEVICE), "uuid", None)
    if uuid is not None and str(uuid) not in counter.uuid:
        raise RuntimeError(f"torch works on {uuid}, the counter is that of {counter.uuid}")
    return counter


class Load:
    """Matrix products on the GPU from a side thread, for as long as the block lasts."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        import torch

        given = torch.rand(4096, 4096, device=DEVICE)
        while not self._over.is_set():
            given @ given
            torch.cuda.synchronize()


def memory() -> str:
    """What our readings of GPU memory say of 256 MiB that torch takes and gives back. Raises where they miss it."""
    torch = need_cuda()
    from plaster_ops.plaster.memory import ProcessPeak, held_bytes, open_context, torch_peak_bytes

    open_context(DEVICE)
    process, before_bytes = ProcessPeak(DEVICE), held_bytes(DEVICE)
    taken = torch.zeros(TAKEN_BYTES // 4, dtype=torch.int32, device=DEVICE)
    process.look()
    grown_bytes = (held_bytes(DEVICE) or 0) - (before_bytes or 0)
    wanted_bytes = taken.nbytes
    del taken
    peak_bytes = torch_peak_bytes(DEVICE) or 0
    if peak_bytes < wanted_bytes or grown_bytes < wanted_bytes:
        raise RuntimeError(f"of {wanted_bytes} bytes torch saw {peak_bytes} at its peak, the GPU {grown_bytes}")
    told = f"{process.bytes / 2**20:.0f} MiB" if process.bytes else f"not told: {process.reason}"
    return f"torch peak {peak_bytes / 2**20:.0f} MiB, the GPU's in use +{grown_bytes / 2**20:.0f} MiB, NVML {told}"


def server_mode() -> str:
    """Queries that arrive by themselves, joined in pinned memory: what became of 2,000 of them at 500 a second."""
    torch = need_cuda()
    from plaster_ops.plaster.load import Samples
    from plaster_ops.plaster.server import Batcher, EngineAnswer, poisson_arrivals_ns, serve

    model, inputs = model_and_inputs()
    model, samples = model.to(DEVICE), Samples([[inputs(256)]], pinned=True)
    answer = EngineAnswer(lambda given: model(given.to(DEVICE, non_blocking=True)).to("cpu"), samples)
    if not samples.join(samples.queries(1)[:4])[0].is_pinned():
        raise RuntimeError("joined inputs are not in pinned memory")
    with torch.no_grad():
        for size in (1, 4, 16) * 3:
            answer(range(size), 0, size)
        served = serve(answer, poisson_arrivals_ns(500.0, 2000, (1,)), Batcher(sizes=(1, 4, 16)))
    p99_ms = sorted(served.latencies_ns.tolist())[1979] * 1e-6
    return f"{served.answered} answered in {len(served.sizes)} batches, p99 {p99_ms:.2f} ms"

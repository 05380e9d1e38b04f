"""What can be done on this machine's GPU, part by part: timing, energy, memory, collectives, training, compiled and
TensorRT engines.

`python benchmarks/gpu_check.py [--part NAME] [--timeout-s 900]` runs each part in a process of its own, so that one
that crashes takes no other with it, and prints one table with the versions in use. A part that cannot run here says
why. Exits 0 where no part failed; one that was not run has not failed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import Any

from plaster_ops.engines.gpus import visible_gpus

ROOT = Path(__file__).parents[1]
DEVICE = "cuda:0"
BATCHES = (1, 32, 64)
PACKAGES = ("torch", "torch-tensorrt", "tensorrt", "nvidia-modelopt", "nvidia-ml-py")
COUNTER_S = 20.0
BESIDE_S = 10.0
PHASE_S = 5.0
GAP_MS = 5
"""Width of a bar of the histogram."""
REDUCED_BYTES = 64 * 2**20


class NotRun(Exception):
    """This part cannot run here; the message says why."""


def need_cuda() -> Any:
    """torch, where it sees a GPU."""
    import torch

    if not torch.cuda.is_available():
        raise NotRun(f"torch {torch.__version__} sees no GPU")
    return torch


def model_and_inputs() -> tuple[Any, Any]:
    """A small convolutional network, and a function that gives n of its inputs."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    body = [nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()]
    model = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)).eval()
    return model, lambda rows: torch.rand(rows, 3, 64, 64)


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
    taken = torch.zeros(REDUCED_BYTES, dtype=torch.int32, device=DEVICE)
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


def all_reduce() -> str:
    """A sum over all visible GPUs by NCCL, one rank each: the right numbers, and how fast."""
    torch = need_cuda()
    if not torch.distributed.is_nccl_available():
        raise NotRun("this torch has no NCCL")
    ranks = torch.cuda.device_count()
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(reduce_rank, args=(ranks, folder), nprocs=ranks)
        seconds = [float((Path(folder) / f"rank{rank}").read_text()) for rank in range(ranks)]
    return f"{ranks} rank(s), {REDUCED_BYTES // 2**20} MiB in {max(seconds) * 1e3:.3f} ms"


def reduce_rank(rank: int, ranks: int, folder: str) -> None:
    """One rank: writes its median seconds; raises where the sum is wrong."""
    import torch
    import torch.distributed as dist

    torch.cuda.set_device(rank)
    dist.init_process_group("nccl", init_method=f"file://{folder}/meet", rank=rank, world_size=ranks)
    seconds = []
    for _ in range(20):
        given = torch.full((REDUCED_BYTES // 4,), float(rank + 1), device=f"cuda:{rank}")
        torch.cuda.synchronize()
        began_s = time.perf_counter()
        dist.all_reduce(given)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began_s)
        if not bool((given == ranks * (ranks + 1) / 2).all()):
            raise RuntimeError(f"rank {rank} has {given[0].item()}, not {ranks * (ranks + 1) / 2}")
    (Path(folder) / f"rank{rank}").write_text(str(statistics.median(seconds[5:])))
    dist.destroy_process_group()


def training() -> str:
    """Three epochs of the digits in bf16, a rank a GPU: each sample counted once, how fast, what share of the peak."""
    need_cuda()
    return train_digits("gpu")


def train_digits(accelerator: Any) -> str:
    """Raises where the ranks together learned more or fewer samples than there are."""
    from plaster_ops.plaster.peaks import peak_flops_per_s
    from plaster_ops.processes.gang import Limits
    from plaster_ops.training.launch import fit
    from plaster_ops.training.messages import FitSpec

    with tempfile.TemporaryDirectory() as scratch:
        spec = FitSpec(
            reference="pipelines.digits:pipeline",
            project=str(ROOT),
            window={"learned": None, "seen": None, "cut": 553, "end": 774},
            max_epochs=3,
            checkpoint_folder=f"{scratch}/checkpoints",
            accelerator=accelerator,
            trainer={"precision": "bf16-mixed"},
        )
        limits = Limits(timeout_s=600, idle_s=300)
        result = fit(spec, folder=Path(scratch) / "fit", limits=limits, on_event=lambda _event: None).result
    if result.samples_learned != 3 * 497:
        raise RuntimeError(f"{result.samples_learned} samples learned, not {3 * 497}: {result.learned_reason}")
    peak = peak_flops_per_s(result.device_name, "bf16-mixed")
    known = "not known" if peak is None else f"{peak / 1e12:.0f} TFLOP/s"
    rate = f"{result.train_samples_per_s or 0:.0f} samples/s"
    return f"{result.world_size} rank(s), {result.samples_seen} samples worked on, {rate}, peak of a device {known}"


def aot_inductor_plainly() -> str:
    """What torch's own functions do with the small network on the GPU: weights in the package, then without them."""
    torch = need_cuda()
    model, inputs = model_and_inputs()
    model, given, told = model.to(DEVICE).eval(), inputs(3).to(DEVICE), []
    for inside in (True, False):
        with torch.no_grad(), tempfile.TemporaryDirectory() as scratch:
            program = torch.export.export(model, (given,))
            configs = {"aot_inductor.package_constants_in_so": inside}
            file = str(Path(scratch) / "package.pt2")
            torch._inductor.aoti_compile_and_package(program, package_path=file, inductor_configs=configs)
            print(f"weights {'inside' if inside else 'apart'}: compiled", file=sys.stderr, flush=True)
            loaded = torch._inductor.aoti_load_package(file)
            print(f"weights {'inside' if inside else 'apart'}: loaded", file=sys.stderr, flush=True)
            if not inside:
                loaded.load_constants(dict(model.state_dict()), check_full_update=False)
            error = float((loaded(given) - model(given)).abs().max())
            told.append(f"weights {'inside' if inside else 'apart'}: error {error:.1e}")
    return "; ".join(told)


def aot_inductor() -> str:
    """AOTInductor compiled for the GPU: build, parity, latency, refit."""
    need_cuda()
    return try_backend("inductor")


def tensorrt() -> str:
    """Torch-TensorRT: build, parity, latency, refit."""
    need_cuda()
    return try_backend("tensorrt")


def try_backend(name: str) -> str:
    """One fp32 engine of the small network on the GPU, against eager on the CPU. Raises where an output differs."""
    import torch

    from plaster_ops.engines.export import export_program, input_specs, output_names
    from plaster_ops.engines.parity import compare_outputs, merge_reports
    from plaster_ops.engines.registry import find_backend
    from plaster_ops.ports import EngineSpec

    backend = find_backend(name)
    available = backend.probe()
    if not available.ok:
        raise NotRun(available.reason)
    model, inputs = model_and_inputs()
    specs = input_specs([(inputs(3),)], None, ["image"])
    program = export_program(model, inputs(3), specs, BATCHES[2])
    spec = EngineSpec(backend=name, precision="fp32", device=DEVICE, inputs=specs, batch=BATCHES)
    with tempfile.TemporaryDirectory() as scratch:
        folder, new = Path(scratch) / "engine", Path(scratch) / "new"
        folder.mkdir()
        new.mkdir()
        began_s = time.monotonic()
        coverage = backend.build(program, spec, folder, ())
        build_s = time.monotonic() - began_s
        engine = backend.load(folder, spec)
        names = output_names(program)
        with torch.no_grad():
            pairs = [((model(x),), engine.run(x)) for x in map(inputs, BATCHES)]
        report = merge_reports(compare_outputs(*pair, names, "fp32") for pair in pairs)
        if not report.ok:
            raise RuntimeError("; ".join(report.reasons))
        worst = max(output.rel_err or 0.0 for output in report.outputs)
        taken = " ".join(f"b{rows} {median_us(engine, inputs(rows)):.0f} us" for rows in BATCHES[:2])
        refit_s = backend.refit(engine, program, spec, new)
        engine.close()
    share = f"{coverage.ops_in_engine}/{coverage.ops_total} operators in {coverage.engines} engine(s)"
    return f"built in {build_s:.1f} s, {share}, {worst:.1e} of its range off, {taken}, refit {refit_s * 1e3:.1f} ms"


def median_us(engine: Any, value: Any) -> float:
    """Median of 200 host-to-host calls."""
    taken = []
    for _ in range(220):
        began_s = time.perf_counter()
        engine.run(value)
        taken.append(time.perf_counter() - began_s)
    return statistics.median(taken[20:]) * 1e6


PARTS: dict[str, Callable[[], str]] = {
    "CUDA timing": timing,
    "NVML energy counter": energy,
    "NVML power beside it": power_beside,
    "energy of phases": phases,
    "GPU memory": memory,
    "server mode": server_mode,
    "NCCL all-reduce": all_reduce,
    "training": training,
    "AOTInductor, plainly": aot_inductor_plainly,
    "AOTInductor": aot_inductor,
    "TensorRT": tensorrt,
}


def run_here(name: str) -> dict[str, str]:
    """The part in this process: `state` ok, not run, or failed, and `text`."""
    try:
        return {"state": "ok", "text": PARTS[name]()}
    except NotRun as reason:
        return {"state": "not run", "text": str(reason)}
    except Exception as error:
        return {"state": "failed", "text": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}


def run_apart(name: str, timeout_s: float) -> dict[str, str]:
    """The part in a process of its own; one that gives no answer has failed."""
    command = [sys.executable, str(Path(__file__).resolve()), "--part", name]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return {"state": "failed", "text": f"no answer in {timeout_s:.0f} s"}
    lines = done.stdout.splitlines()
    try:
        answer = json.loads(lines[-1])
        return {"state": str(answer["state"]), "text": str(answer["text"])}
    except (IndexError, ValueError, TypeError, KeyError):
        last = (done.stderr.strip().splitlines() or ["nothing on standard error"])[-1]
        return {"state": "failed", "text": f"ended with {done.returncode}: {last[:200]}"}


def versions() -> list[tuple[str, str]]:
    """GPUs, driver and packages, as they are here."""
    found = [("python", platform.python_version())]
    for package in PACKAGES:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            found.append((package, "not installed"))
    gpus = visible_gpus()
    found += [(f"GPU {k}", f"{gpu.name}, {gpu.capability[0]}.{gpu.capability[1]}") for k, gpu in enumerate(gpus)]
    return [*found, ("driver", gpus[0].driver if gpus else "none")]


def main() -> int:
    """0 where no part failed, 1 where one did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=list(PARTS), help="this one alone, here, its answer as JSON")
    parser.add_argument("--timeout-s", type=float, default=900.0)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(run_here(options.part)))
        return 0
    has_gpu = bool(visible_gpus())
    rows = [(name, found, "") for name, found in versions()]
    failed = 0
    for name in PARTS:
        answer = run_apart(name, options.timeout_s) if has_gpu else {"state": "not run", "text": "no GPU"}
        failed += answer["state"] == "failed"
        rows.append((name, answer["state"], answer["text"]))
    width = max(len(name) for name, _, _ in rows)
    for name, state, text in rows:
        print(f"{name:{width}}  {state}" + (f": {text}" if text else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""The rivals of `benchmarks/engines.py`: each in a process of its own on the same cores, timed a turn at a time.

Run with `KIND PATH INPUTS THREADS`, this file is such a process.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BATCHES = (1, 32)
WARM_S = 2.0
"""Before each turn. `benchmark_app` has loaded and compiled for longer than that when it is timed, and a process that
sat idle while others ran was measured 10 % slow for its first second and a half."""
TURN_S = 1.0
APP_S = 1


@dataclass
class Rival:
    """One row of the table: what takes its turns, the seconds of its build, and its times by batch in ms."""

    name: str
    precision: str
    turn: Callable[[int], list[float]]
    build_s: float | None
    ours: bool = False
    close: Callable[[], None] = lambda: None
    times: dict[int, list[float]] = field(default_factory=lambda: {batch: [] for batch in BATCHES})

    def median(self, batch: int) -> float:
        return statistics.median(self.times[batch])


def _open(kind: str, path: str, inputs: Path, threads: int) -> tuple[Callable[[Any], object], list[Any]]:
    """A function of one array or tensor, and inputs by batch."""
    import torch

    torch.set_num_threads(threads)
    rows = torch.load(inputs, weights_only=True)
    if kind == "engine":
        from plaster_ops.engines.artifact import read_manifest
        from plaster_ops.engines.registry import find_backend

        spec = read_manifest(Path(path)).spec
        engine = find_backend(spec.backend).load(Path(path), spec)
        return engine.run, rows
    if kind == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return (lambda array: session.run(None, {name: array})), [tensor.numpy() for tensor in rows]
    sys.path.insert(0, str(inputs.parent))
    import engine_models

    model = engine_models.Served(path).eval()
    called: Any = torch.compile(model, dynamic=False) if kind.startswith("compile") else model
    bf16 = kind.endswith("-bf16")

    def run(tensor: Any) -> object:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return called(tensor)

    return run, rows


def _hold_to_cores(threads: int) -> None:
    """Every rival runs on the same cores, whatever it would choose: the last ones, of which other work takes least."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])


def serve(kind: str, path: str, inputs: Path, threads: int) -> None:
    """Answers each line `BATCH` on stdin with the milliseconds of its calls, as JSON."""
    _hold_to_cores(threads)
    run, rows = _open(kind, path, inputs, threads)
    for row in rows:
        run(row)
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        row = rows[BATCHES.index(int(line))]
        began_s = time.perf_counter()
        while time.perf_counter() - began_s < WARM_S:
            run(row)
        times: list[float] = []
        began_s = time.perf_counter()
        while time.perf_counter() - began_s < TURN_S or len(times) < 3:
            call_s = time.perf_counter()
            run(row)
            times.append(1e3 * (time.perf_counter() - call_s))
        print(json.dumps(times), flush=True)


def start_rival(
    kind: str, path: Path | str, inputs: Path, threads: int
) -> tuple[Callable[[int], list[float]], Any, float]:
    """Starts `serve`; its turn, how to end it, and the seconds until it was ready."""
    began_s = time.monotonic()
    command = [sys.executable, __file__, kind, str(path), str(inputs), str(threads)]
    env = os.environ | {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    env |= {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env
    )
    assert child.stdin is not None
    assert child.stdout is not None
    source, sink = child.stdout, child.stdin

    def answer() -> Any:
        line = source.readline()
        if not line:
            raise RuntimeError(f"{kind} {path} ended with {child.wait()}")
        return json.loads(line)

    answer()

    def turn(batch: int) -> list[float]:
        print(batch, file=sink, flush=True)
        return [float(value) for value in answer()]

    return turn, child.kill, time.monotonic() - began_s


def benchmark_app(
    model: Path, name: str, shape: tuple[int, ...], threads: int, hint: str = "f32"
) -> Callable[[int], list[float]]:
    def turn(batch: int) -> list[float]:
        sizes = ",".join(str(size) for size in (batch, *shape))
        command = [str(Path(sys.executable).with_name("benchmark_app")), "-m", str(model), "-shape", f"{name}[{sizes}]"]
        command += ["-d", "CPU", "-hint", "none", "-nstreams", "1", "-nthreads", str(threads)]
        command += ["-api", "sync", "-t", str(APP_S), "-infer_precision", hint]
        hold = partial(_hold_to_cores, threads)
        ended = subprocess.run(command, capture_output=True, text=True, check=True, preexec_fn=hold)
        found = re.search(r"Median:\s+([\d.]+) (ms|us)", ended.stdout)
        if found is None:
            raise RuntimeError(f"benchmark_app told no median:\n{ended.stdout[-2000:]}")
        return [float(found[1]) * (1.0 if found[2] == "ms" else 1e-3)]

    return turn


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))

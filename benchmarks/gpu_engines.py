"""Parts of `benchmarks/gpu_check.py`: compiled and TensorRT engines."""

import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.gpu_common import BATCHES, DEVICE, ROOT, NotRun, median_us, model_and_inputs, need_cuda


def aot_inductor_plainly() -> str:
    """What torch's own functions do with the small network on the GPU, each way in a process of its own: weights in
    the package or apart, loaded by torch's function or by the loader below it, in a process that uses CUDA already or
    not yet."""
    need_cuda()
    told = []
    for weights in ("inside", "apart"):
        with tempfile.TemporaryDirectory() as scratch:
            ways = [("compile", weights, "", "")]
            ways += [("load", weights, *way) for way in product(("function", "loader"), ("warm", "cold"))]
            for way in ways:
                command = [sys.executable, "-X", "faulthandler", "-m", "benchmarks.gpu_engines", *way]
                command.append(f"{scratch}/package.pt2")
                done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=ROOT)
                if done.returncode:
                    print(way, done.stderr[-1500:], file=sys.stderr, flush=True)
                    told.append(f"{' '.join(way).strip()}: died {done.returncode}")
                elif way[0] == "load":
                    told.append(f"{' '.join(way[1:])}: {done.stdout.strip()}")
    return "; ".join(told)


def one_way(step: str, weights: str, opener: str, start: str, file: str) -> None:
    """Compiles the package, or loads and runs it and prints how far it is off."""
    import torch

    model, inputs = model_and_inputs()
    if step == "compile":
        model, given = model.to(DEVICE), inputs(3).to(DEVICE)
        with torch.no_grad():
            program = torch.export.export(model, (given,))
            configs = {"aot_inductor.package_constants_in_so": weights == "inside"}
            torch._inductor.aoti_compile_and_package(program, package_path=file, inductor_configs=configs)
        return
    if start == "warm":
        torch.zeros(1, device=DEVICE)
    if opener == "function":
        loaded = torch._inductor.aoti_load_package(file)
        call: Any = loaded
    else:
        low: Any = torch._C._aoti.AOTIModelPackageLoader
        loaded = low(file, "model", False, 1, 0)
        call = lambda given: loaded.run([given])[0]  # noqa: E731
    print("opened", file=sys.stderr, flush=True)
    model, given = model.to(DEVICE), inputs(3).to(DEVICE)
    if weights == "apart":
        state = dict(model.state_dict())
        if opener == "function":
            loaded.load_constants(state, check_full_update=False)
        else:
            loaded.load_constants(state, False, False)
        print("weights put in", file=sys.stderr, flush=True)
    with torch.no_grad():
        print(f"error {float((call(given) - model(given)).abs().max()):.1e}")


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


if __name__ == "__main__":
    one_way(*sys.argv[1:])

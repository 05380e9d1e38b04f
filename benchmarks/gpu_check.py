"""What can be done on this machine's GPU, part by part: timing, energy, memory, collectives, training, compiled and
TensorRT engines.

`python -m benchmarks.gpu_check [--part NAME] [--timeout-s 900]` runs each part in a process of its own, so that one
that crashes takes no other with it, and prints one table with the versions in use. A part that cannot run here says
why. Exits 0 where no part failed; one that was not run has not failed.
"""

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from benchmarks.gpu_common import ROOT, NotRun
from benchmarks.gpu_engines import aot_inductor, aot_inductor_plainly, tensorrt
from benchmarks.gpu_learning import all_reduce, killed, training
from benchmarks.gpu_measures import energy, memory, phases, power_beside, server_mode, timing
from benchmarks.gpu_retrain import retrains
from plaster_ops.engines.gpus import visible_gpus

PACKAGES = ("torch", "torch-tensorrt", "tensorrt", "nvidia-modelopt", "nvidia-ml-py")

PARTS: dict[str, Callable[[], str]] = {
    "CUDA timing": timing,
    "NVML energy counter": energy,
    "NVML power beside it": power_beside,
    "energy of phases": phases,
    "GPU memory": memory,
    "server mode": server_mode,
    "NCCL all-reduce": all_reduce,
    "training": training,
    "training, killed": killed,
    "AOTInductor, plainly": aot_inductor_plainly,
    "AOTInductor": aot_inductor,
    "two retrains": retrains,
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
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--part", name]
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

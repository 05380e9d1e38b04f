"""Part of `benchmarks/gpu_check.py`: the command itself on a GPU, twice, in a project of its own."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.gpu_common import ROOT, need_cuda

_SETTINGS = """default = "digits"
tracking_uri = "sqlite:///mlruns/mlflow.db"

[pipelines.digits]
ref = "pipelines.digits:pipeline"
start = "warm"
train = { devices = "auto", max_epochs = 20, timeout_s = 300 }
engine = { backends = ["inductor"], precisions = ["fp32", "bf16"], device = "DEVICE" }
measure = { profile = "smoke", batches = [1, 8, 64] }
"""
KEYS = (
    "learning/train_samples_per_s",
    "learning/mfu_ratio",
    "size/train_peak_gpu_bytes",
    "energy/train_gpu_energy_j",
    "energy/retrain_gpu_energy_j",
    "energy/gpu_energy_per_inference_j",
    "energy/gpu_power_idle_w",
    "latency/e2e_p99_ms",
    "latency/gpu_compute_p50_ms",
    "throughput/offline_samples_per_s",
    "accuracy/engine_score",
)


def retrains() -> str:
    """Two retrains of the digits, the second warm on newly arrived data: what became of each, and its figures."""
    need_cuda()
    return retrain_twice("cuda:0")


def retrain_twice(device: str) -> str:
    """Raises where a retrain did not end in a new model, or its numbers are not computed again."""
    with tempfile.TemporaryDirectory() as scratch:
        text = _SETTINGS.replace("DEVICE", device)
        (Path(scratch) / "plaster.toml").write_text(text, encoding="utf-8")
        told = []
        for number in (1, 2):
            if number == 2:
                _run(scratch, "pipelines.digits", "arrive")
            said = json.loads(_run(scratch, "plaster_ops", "retrain", "--json"))
            told.append(f"#{number} {_line(said)}")
        checked = _run(scratch, "plaster_ops", "recompute").strip().splitlines()
    return "; ".join([*told, f"recompute: {checked[-1] if checked else 'nothing'}"])


def _run(folder: str, module: str, *words: str) -> str:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    command = [sys.executable, "-m", module, *words]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    print(done.stderr[-3000:], file=sys.stderr, flush=True)
    if done.returncode not in (0, 3):
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout


def _line(said: Any) -> str:
    rows, engine = {row["key"]: row for row in said["card"]}, said["engine"]
    found = [f"{key} {rows[key]['value']:.4g}" for key in KEYS if rows.get(key, {}).get("value") is not None]
    tried = [f"{one['backend']} {one['precision']}: {one['reason'] or 'kept the score'}" for one in engine["tried"]]
    built = f"{engine['backend']} {engine['effective_precision']} on {engine['device']} ({'; '.join(tried)})"
    return f"{said['verdict']} {built}: {', '.join(found)}"

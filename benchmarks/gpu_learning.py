"""Parts of `benchmarks/gpu_check.py`: collectives and training."""

import os
import signal
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu_common import ROOT, NotRun, need_cuda

REDUCED_BYTES = 64 * 2**20
KILLED_AT = (2, 1)
"""Epoch and batch after which a checkpoint is waited for, before the rank is killed."""


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


def killed() -> str:
    """A fit on the GPU whose rank is killed after a checkpoint inside an epoch: it goes on, to the same weights."""
    need_cuda()
    return kill_and_compare("gpu")


def kill_and_compare(accelerator: Any) -> str:
    """Raises where the fit was not started again once, or its weights differ from those of a fit left alone."""
    from plaster_ops.processes.gang import Limits
    from plaster_ops.training.launch import fit
    from plaster_ops.training.messages import FitSpec

    digests, told = [], ""
    for is_killed in (False, True):
        pids: list[int] = []
        restarts: list[Any] = []

        def watch(event: Any, is_killed: bool = is_killed, pids: Any = pids, restarts: Any = restarts) -> None:
            if event["event"] == "restart":
                restarts.append(event)
            if event["event"] == "started":
                pids.append(event["pid"])
            reached = event["event"] == "checkpoint" and (event["epoch"], event["batch"]) >= KILLED_AT
            if is_killed and reached and not restarts:
                os.kill(pids[-1], signal.SIGKILL)

        with tempfile.TemporaryDirectory() as scratch:
            spec = FitSpec(
                reference="ddp_model:pipeline",
                project=str(ROOT / "benchmarks"),
                window={"learned": None, "seen": None, "cut": None, "end": None},
                max_epochs=4,
                checkpoint_folder=f"{scratch}/checkpoints",
                checkpoint_every_s=0.1,
                accelerator=accelerator,
                seed=7,
                trainer={"deterministic": True},
            )
            limits = Limits(timeout_s=300, idle_s=120)
            outcome = fit(spec, folder=Path(scratch) / "fit", limits=limits, on_event=watch)
            digests.append(outcome.result.weights_digest)
        if len(restarts) != int(is_killed):
            raise RuntimeError(f"{len(restarts)} restarts, not {int(is_killed)}")
        if is_killed:
            told = f"killed, started again from epoch {restarts[0]['from_epoch']}"
    if digests[0] != digests[1]:
        raise RuntimeError(f"{told}, to other weights: {digests[1][:12]}, not {digests[0][:12]}")
    return f"{told}, to the same weights"

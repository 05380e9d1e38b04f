"""The fit as the parent runs it: a gang of ranks, started again from its checkpoint when one dies. Loads no torch."""

import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from plaster_ops.errors import ChildFailed, ExitCode, TimedOut, TrainingFailed, UsageError
from plaster_ops.ports import EventSink
from plaster_ops.processes.gang import Limits, run_gang
from plaster_ops.training.devices import Devices, choose_devices
from plaster_ops.training.messages import WEIGHTS, FitOutcome, FitResult, FitSpec
from plaster_ops.training.resume import Checkpoint, newest_complete

STAGE = "fit"
_log = logging.getLogger(__name__)


def fit(spec: FitSpec, *, folder: Path, limits: Limits, on_event: EventSink, max_restarts: int = 2) -> FitOutcome:
    """Trains; the weights are then in `folder/weights.safetensors`.

    A complete checkpoint of this same fit in `spec.checkpoint_folder` is where it goes on, in a second call after the
    parent was killed too. When a rank dies all ranks start again from the newest one, at most `max_restarts` times; a
    Python error in the user's code is tried again only if the attempt got further than the one before. Every attempt
    has its own folder `attempt-{n}/rank{r}`. `limits.timeout_s` spans all attempts.
    Raises `TrainingFailed`, `TimedOut`, `Interrupted`, `PipelineError`, `UsageError`.
    """
    started_s = time.monotonic()
    devices = place_of(spec.nodes, spec.devices, spec.accelerator)
    threads = spec.threads or max(1, len(os.sched_getaffinity(0)) // devices.count)
    spec = replace(spec, devices=devices.count, accelerator=devices.accelerator, threads=threads)
    attempts = _Attempts(spec, devices, folder, on_event)
    carried = attempts.newest()
    while True:
        try:
            results = attempts.run(_remaining(limits, started_s))
            break
        except ChildFailed as error:
            attempts.judge(error, max_restarts)
    result = _collect(results, folder)
    wall_s = time.monotonic() - started_s
    gained_s = result.fit_s - (carried.fit_s if carried else 0.0)
    return FitOutcome(
        result=result, wall_s=wall_s, launch_s=wall_s - gained_s, attempts=attempts.made, restarts=attempts.made - 1
    )


def place_of(
    nodes: int, devices: int | Literal["auto"], accelerator: Literal["auto", "cpu", "gpu"] = "auto"
) -> Devices:
    """Where a fit would run. Raises `UsageError` for more nodes or GPUs than there are."""
    if nodes != 1:
        raise UsageError(f"train.nodes = {nodes}: only one node is supported", "set train.nodes = 1")
    return choose_devices(devices, accelerator, os.environ)


class _Attempts:
    """The attempts of one call: where each starts, and whether another is worth it."""

    def __init__(self, spec: FitSpec, devices: Devices, folder: Path, on_event: EventSink) -> None:
        self._spec = spec
        self._devices = devices
        self._folder = folder
        self._on_event = on_event
        self._start: Checkpoint | None = None
        self.made = 0

    def newest(self) -> Checkpoint | None:
        """The newest complete checkpoint of this fit."""
        return newest_complete(Path(self._spec.checkpoint_folder), self._spec.fit_id(), self._devices.count)

    def run(self, limits: Limits) -> list[dict[str, Any]]:
        """One attempt, from the newest checkpoint."""
        self._start = self.newest()
        self.made += 1
        resume_from = str(self._start.path) if self._start else None
        spec = replace(self._spec, resume_from=resume_from).to_json()
        self._on_event(
            {
                "event": "attempt",
                "attempt": self.made,
                "world_size": self._devices.count,
                "accelerator": self._devices.accelerator,
                "resumed_from_epoch": self._start.epoch if self._start else None,
            }
        )
        with _reserved_port() as port:
            return run_gang(
                STAGE,
                [spec] * self._devices.count,
                folder=_fresh(self._folder),
                limits=limits,
                on_event=self._on_event,
                project=Path(self._spec.project),
                envs=[self._env(rank, port) for rank in range(self._devices.count)],
            )

    def judge(self, error: ChildFailed, max_restarts: int) -> None:
        """Returns where another attempt is worth it; else raises `TrainingFailed`."""
        newest = self.newest()
        progressed = newest is not None and newest.is_further_than(self._start)
        asked_to_stop = error.exit_code == ExitCode.TERMINATED
        if error.kind == "exception" and not progressed and not asked_to_stop:
            raise TrainingFailed(error.message, error.next_step) from error
        if self.made > max_restarts:
            raise TrainingFailed(f"{error.message}; given up after {self.made} attempts", error.next_step) from error
        _log.warning("%s; starting again", error.message)
        self._on_event(
            {
                "event": "restart",
                "reason": error.message,
                "restart": self.made,
                "from_epoch": newest.epoch if newest else 0,
            }
        )

    def _env(self, rank: int, port: int) -> dict[str, str]:
        env = {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(self._devices.count),
            "LOCAL_WORLD_SIZE": str(self._devices.count),
            "NODE_RANK": "0",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": str(self._spec.threads),
            "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),  # waiting threads that spin starve others
        }
        if self._devices.visible:
            env["CUDA_VISIBLE_DEVICES"] = ",".join(self._devices.visible)
        if "GLOO_SOCKET_IFNAME" not in os.environ and Path("/sys/class/net/lo").exists():
            env["GLOO_SOCKET_IFNAME"] = "lo"
        return env


def _fresh(folder: Path) -> Path:
    """A new `attempt-{n}`, one past the highest there is."""
    numbers = [int(name.name.removeprefix("attempt-")) for name in folder.glob("attempt-[0-9]*")]
    fresh = folder / f"attempt-{max(numbers, default=0) + 1}"
    fresh.mkdir(parents=True)
    return fresh


@contextmanager
def _reserved_port() -> Iterator[int]:
    """A port that is free for rank 0 to listen on, and that nobody else is given until the gang is done."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def _remaining(limits: Limits, started_s: float) -> Limits:
    if limits.timeout_s is None:
        return limits
    left_s = limits.timeout_s - (time.monotonic() - started_s)
    if left_s <= 0:
        raise TimedOut(f"{STAGE}: not done after {limits.timeout_s:g} s", "raise train.timeout_s")
    return replace(limits, timeout_s=left_s)


def _collect(results: list[dict[str, Any]], folder: Path) -> FitResult:
    weights = folder / WEIGHTS
    Path(results[0]["weights_file"]).replace(weights)
    times = [result["rank_time_s"] for result in results]
    works = [result["rank_work_s"] for result in results if result["rank_work_s"] is not None]
    peaks = [result["peak_gpu_bytes"] for result in results if result.get("peak_gpu_bytes") is not None]
    told = {
        "weights_file": str(weights),
        "rank_times_s": times,
        "rank_works_s": works,
        "peak_gpu_bytes": max(peaks, default=None),
    }
    return FitResult.from_json({**results[0], **told})

"""The fit as the parent runs it: a gang of ranks, started again from its checkpoint when one dies. Loads no torch."""

import logging
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from plaster_ops.errors import ChildFailed, ExitCode, TimedOut, TrainingFailed
from plaster_ops.ports import EventSink
from plaster_ops.processes.gang import Limits
from plaster_ops.training.devices import Devices, choose_devices
from plaster_ops.training.launchers.registry import AUTO, find_launcher
from plaster_ops.training.launchers.seam import STAGE, Attempt, Launcher
from plaster_ops.training.messages import WEIGHTS, FitOutcome, FitResult, FitSpec
from plaster_ops.training.nodes.leader import Alone, Nodes
from plaster_ops.training.resume import Checkpoint, newest_complete

_log = logging.getLogger(__name__)


def fit(
    spec: FitSpec,
    *,
    folder: Path,
    limits: Limits,
    on_event: EventSink,
    max_restarts: int = 2,
    launcher: str = AUTO,
    nodes: Nodes | None = None,
) -> FitOutcome:
    """Trains; the weights are then in `folder/weights.safetensors`.

    A complete checkpoint of this same fit in `spec.checkpoint_folder` is where it goes on, in a second call after the
    parent was killed too. When a rank dies all ranks start again from the newest one, at most `max_restarts` times; a
    Python error in the user's code is tried again only if the attempt got further than the one before. Every attempt
    has its own folder `attempt-{n}/rank{r}`. `limits.timeout_s` spans all attempts. `launcher` is a name, see
    `launchers.registry`; `nodes` are the others, where `spec.nodes` is more than one.
    Raises `TrainingFailed`, `TimedOut`, `Interrupted`, `PipelineError`, `UsageError`.
    """
    started_s = time.monotonic()
    devices = place_of(spec.devices, spec.accelerator)
    threads = spec.threads or max(1, len(os.sched_getaffinity(0)) // devices.count)
    spec = replace(spec, devices=devices.count, accelerator=devices.accelerator, threads=threads)
    attempts = _Attempts(spec, devices, folder, on_event, find_launcher(launcher, spec.nodes), nodes or Alone())
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


def place_of(devices: int | Literal["auto"], accelerator: Literal["auto", "cpu", "gpu"] = "auto") -> Devices:
    """Where the ranks of this node would run. Raises `UsageError` for more GPUs than there are."""
    return choose_devices(devices, accelerator, os.environ)


class _Attempts:
    """The attempts of one call: where each starts, and whether another is worth it."""

    def __init__(
        self,
        spec: FitSpec,
        devices: Devices,
        folder: Path,
        on_event: EventSink,
        launcher: Launcher,
        nodes: Nodes,
    ) -> None:
        self._launcher = launcher
        self._nodes = nodes
        self._spec = spec
        self._devices = devices
        self._folder = folder
        self._on_event = on_event
        self._start: Checkpoint | None = None
        self.made = 0

    def newest(self) -> Checkpoint | None:
        """The newest complete checkpoint of this fit."""
        return newest_complete(
            Path(self._spec.checkpoint_folder), self._spec.fit_id(), self._devices.count * self._spec.nodes
        )

    def run(self, limits: Limits) -> list[dict[str, Any]]:
        """One attempt, from the newest checkpoint."""
        self._start = self.newest()
        self.made += 1
        resume_from = str(self._start.path) if self._start else None
        spec = replace(self._spec, resume_from=resume_from)
        self._on_event(
            {
                "event": "attempt",
                "attempt": self.made,
                "world_size": self._devices.count * self._spec.nodes,
                "accelerator": self._devices.accelerator,
                "resumed_from_epoch": self._start.epoch if self._start else None,
                "resumed_from_batch": self._start.batch if self._start else None,
            }
        )
        there = self._devices.count * self._spec.nodes
        if self._start and self._start.world_size not in (0, there):
            ranks = f"the checkpoint is of {self._start.world_size} ranks, there are {there}"
            self._on_event({"event": "note", "text": f"{ranks}: the weights will not be those of an undisturbed fit"})
        attempt = Attempt(
            spec=spec,
            devices=self._devices,
            folder=_fresh(self._folder),
            limits=limits,
            on_event=self._on_event,
        )
        return self._nodes.run(self._launcher, attempt)

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


def _fresh(folder: Path) -> Path:
    """A new `attempt-{n}`, one past the highest there is."""
    numbers = [int(name.name.removeprefix("attempt-")) for name in folder.glob("attempt-[0-9]*")]
    fresh = folder / f"attempt-{max(numbers, default=0) + 1}"
    fresh.mkdir(parents=True)
    return fresh


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

"""What every step of one retrain needs to have at hand."""

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plaster_ops.domain.timeline import Phase, Timeline
from plaster_ops.flow.spending import Ledger
from plaster_ops.ports import Clock, EventSink
from plaster_ops.processes.gang import Limits, run_stage
from plaster_ops.settings import Settings
from plaster_ops.settings_sections import PipelineSettings
from plaster_ops.tracking.journal import Journal
from plaster_ops.training.nodes.leader import Nodes
from plaster_ops.training.nodes.part import Part


def worker_env(settings: Settings) -> dict[str, str]:
    """What the environment of every worker has: where the project is, and caches inside it."""
    cache = settings.memory / "cache"
    return {
        "PLASTER_CACHE": str(cache),
        "PLASTER_PROJECT": str(settings.project),
        "MPLCONFIGDIR": os.environ.get("MPLCONFIGDIR", str(cache / "matplotlib")),  # nncf imports matplotlib
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
    }


def adapter_files(settings: Settings, pipeline: PipelineSettings) -> list[str]:
    """The files of `engine.adapters`, absolute."""
    return [str(settings.project / file) for file in pipeline.engine.adapters]


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """One retrain (or one comparison) on its way: where it works, what it may use, and how it tells of itself.

    `uid` is empty for a comparison, which keeps no record. `folder` is the run's own folder under mlruns/runs.
    """

    settings: Settings
    name: str
    pipeline: PipelineSettings
    journal: Journal
    clock: Clock
    timeline: Timeline
    tell: EventSink
    folder: Path
    uid: str = ""
    index: int = 0
    ledger: Ledger | None = None
    """What the run spends; None where nothing is recorded."""
    part: Part = field(default_factory=Part)
    """Which node of how many this is."""
    nodes: Nodes | None = None
    """The other nodes of its fit, where there are any."""

    @property
    def project(self) -> Path:
        """The project folder."""
        return self.settings.project

    def stage_env(self, threads: int | None = None) -> dict[str, str]:
        """Environment of a worker: caches stay inside the project, thread pools have a stated size."""
        env = worker_env(self.settings)
        if self.pipeline.engine.adapters:
            env["PLASTER_ADAPTERS"] = os.pathsep.join(adapter_files(self.settings, self.pipeline))
        if threads is not None:
            env |= {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        return env

    def data_spec(self, *, arrived: bool = False, calibration_samples: int = 0) -> dict[str, Any]:
        """What the stage `prepare` is asked: the window after what the journal has seen where new data is wanted
        (`arrived`), else whatever there is. `calibration_samples`: inputs to put aside to quantise with."""
        seen, learned = self.journal.watermarks(self.name)
        return {
            "reference": self.pipeline.ref,
            "project": str(self.project),
            "seen": seen if arrived else None,
            "learned": learned,
            "needed": self.pipeline.trigger.min_new_samples if arrived else 1,
            "lookback": self.pipeline.data.window,
            "replay_ratio": self.pipeline.data.replay_ratio if arrived and self.pipeline.start != "scratch" else None,
            "calibration_samples": calibration_samples,
        }

    def once(
        self,
        stage: str,
        phase: Phase,
        work: Callable[[], Mapping[str, Any]],
        *,
        within: tuple[Phase, str] | None = None,
    ) -> dict[str, Any]:
        """The result of a stage: from the journal where this run finished it before, else by doing it now.

        Seconds go to `phase`, but for those that the result gives under the key of `within`: they belong to that
        phase. Where there is a record, the result, with the moment it was there (`ended`, an `Instant`), and the
        seconds so far are in the journal before this returns.
        """
        done = self.journal.stages(self.uid).get(stage) if self.uid else None
        if done is not None:
            self.tell({"event": "stage", "stage": stage, "state": "kept"})
            return dict(done)
        self.tell({"event": "stage", "stage": stage, "state": "start"})
        began_s = self.clock.monotonic_s()
        with self.timeline.phase(phase), self.spending(stage, phase):
            result = dict(work())
        if within is not None:
            self.timeline.move(phase, within[0], float(result.get(within[1], 0.0)))
        seconds = self.clock.monotonic_s() - began_s
        if self.uid:
            result["ended"] = self.timeline.now().to_json()
            self.journal.stage_done(self.uid, stage, result, seconds)
            self.journal.save_progress(self.uid, self.timeline.to_json())
        self.tell({"event": "stage", "stage": stage, "state": "done", "seconds": seconds})
        return result

    def spending(self, stage: str, phase: Phase) -> AbstractContextManager[None]:
        """The joules of what happens inside go to that stage."""
        return nullcontext() if self.ledger is None else self.ledger.stage(stage, phase)

    def child(
        self,
        stage: str,
        spec: Mapping[str, Any],
        *,
        folder: str | None = None,
        timeout_s: float | None = None,
        idle_s: float | None = None,
        memory_bytes: int | None = None,
        threads: int | None = None,
        tell: EventSink | None = None,
    ) -> dict[str, Any]:
        """Runs one worker stage in a process of its own and returns its result. `tell` takes its events instead."""
        return run_stage(
            stage,
            spec,
            folder=self.folder / (folder or stage),
            limits=Limits(timeout_s=timeout_s, idle_s=idle_s, memory_bytes=memory_bytes),
            on_event=tell or self.tell,
            project=self.project,
            env=self.stage_env(threads),
        )

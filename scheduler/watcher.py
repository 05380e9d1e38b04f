"""The process that looks for new data, kept alive: started, heard, and started again when it ends.

The service loads no user code, so a child does (`plaster_ops.flow.stages.watch`). It dies with the service, whatever
way the service dies. What it finds goes to `on_event`, **called in a thread of the watcher's**: hand it on by a queue.
"""

import logging
import os
import select
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from plaster_ops.flow.context import adapter_files, worker_env
from plaster_ops.ports import EventSink
from plaster_ops.processes import handover
from plaster_ops.processes.gang import Limits, run_stage
from plaster_ops.processes.member import Member, start_member
from plaster_ops.settings import Settings
from plaster_ops.settings_sections import PipelineSettings
from scheduler.data_trigger import told

_log = logging.getLogger(__name__)

STAGE = "watch"
FINDINGS = ("new_data", "unreadable")
STEADY_S = 60.0
"""A child that lived so long begins anew with the shortest wait."""
ONE_LOOK_S = 3600.0


class Watcher:
    """Looks for new data of every pipeline with `trigger.on_data` or `on_drift`, for drift alone brings a retrain
    nothing to learn; without any there is no child and no thread.

    `on_event` receives `new_data` and `unreadable` as the child emits them (docs/workers.md), and `watcher` with
    `state` (`started`, with its `pid`; `ended`, with a `reason` and the seconds `again_s` to its next start).
    """

    def __init__(
        self, settings: Settings, on_event: EventSink, *, backoff_s: float = 1.0, most_backoff_s: float = 300.0
    ) -> None:
        self._settings, self._on_event = settings, on_event
        self._backoff_s, self._most_backoff_s = backoff_s, most_backoff_s
        self._thread: threading.Thread | None = None
        self._stop_fd: int | None = None

    def start(self) -> None:
        """From now on data is looked for."""
        spec = watch_spec(self._settings)
        if not spec["pipelines"]:
            return
        stop_read, self._stop_fd = os.pipe()
        self._thread = threading.Thread(target=self._keep, args=(spec, stop_read), name="plaster-watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """The child is dead, and `on_event` is not called any more, when this returns."""
        if self._thread is not None and self._stop_fd is not None:
            os.close(self._stop_fd)
            self._thread.join()
            self._thread = self._stop_fd = None

    def load(self, settings: Settings) -> None:
        """New settings: started again where they mean other looks."""
        is_other = watch_spec(settings) != watch_spec(self._settings)
        self._settings = settings
        if is_other:
            self.stop()
            self.start()

    def _keep(self, spec: Mapping[str, Any], stop_fd: int) -> None:
        """Until the other end of `stop_fd` is closed: a child, and after it the next one."""
        ended = 0
        try:
            while True:
                began_s = time.monotonic()
                reason = self._live(spec, stop_fd)
                if reason is None:
                    return
                ended = 1 if time.monotonic() - began_s >= STEADY_S else ended + 1
                again_s = wait_s(ended, self._backoff_s, self._most_backoff_s)
                _log.warning("the watcher %s; again in %.0f s", reason, again_s)
                self._on_event({"event": "watcher", "state": "ended", "reason": reason, "again_s": again_s})
                if select.select([stop_fd], [], [], again_s)[0]:
                    return
        finally:
            os.close(stop_fd)

    def _live(self, spec: Mapping[str, Any], stop_fd: int) -> str | None:
        """One child from its start to its end. Why it ended; None where it was stopped."""
        settings = self._settings
        folder = settings.memory / "work" / "watcher"
        try:
            member = start_member(STAGE, spec, rank=None, folder=folder, project=settings.project, env=_env(settings))
        except OSError as error:
            return f"could not be started: {error}"
        try:
            self._on_event({"event": "watcher", "state": "started", "pid": member.pid})
            is_stopped = self._listen(member, stop_fd)
        finally:
            member.reap()
        return None if is_stopped else _why(member)

    def _listen(self, member: Member, stop_fd: int) -> bool:
        """Hears the child until it has ended (False) or is to be stopped (True)."""
        heard = [fd for fd in (member.events_fd, member.death_fd) if fd is not None]
        while True:
            ready = select.select([stop_fd, *heard], [], [])[0]
            if stop_fd in ready:
                return True
            has_ended = member.has_ended()
            events, is_over = member.read_events()
            for event in events:
                if event["event"] in FINDINGS:
                    self._on_event(event)
            if has_ended:
                return False
            if is_over and member.events_fd in heard:
                heard.remove(member.events_fd)  # it is about to end; its death tells
                if member.death_fd is None:
                    return False


def data_due(settings: Settings, name: str) -> str | None:
    """Whether enough data is there now for a retrain of that pipeline, in words; None where it is not.

    One look, in a child. Raises what prevents it, as a retrain would: `PipelineError`, `DataError`.
    """
    name, pipeline = settings.pipeline(name)
    work = settings.memory / "work"
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work, prefix="look-") as folder:
        found = run_stage(
            STAGE,
            {**_spec(settings, [(name, pipeline)]), "once": name},
            folder=Path(folder),
            limits=Limits(timeout_s=ONE_LOOK_S, idle_s=None),
            on_event=lambda _event: None,
            project=settings.project,
            env=_env(settings),
        )
    enough = found["samples"] >= pipeline.trigger.min_new_samples
    return told(found["samples"], found["since"], pipeline.trigger.min_new_samples) if enough else None


def wait_s(ended: int, first_s: float, most_s: float) -> float:
    """Seconds before the next start, after so many children that ended soon: twice as long each time."""
    return float(min(most_s, first_s * 2 ** min(ended - 1, 30)))


def watch_spec(settings: Settings) -> dict[str, Any]:
    """What the stage `watch` is asked: every pipeline with `trigger.on_data` or `on_drift`."""
    watched = [each for each in settings.pipelines.items() if each[1].trigger.on_data or each[1].trigger.on_drift]
    spec = _spec(settings, watched)
    for name, pipeline in watched:
        spec["pipelines"][name]["needs_source"] = pipeline.trigger.on_data
    return spec


def _spec(settings: Settings, pipelines: Iterable[tuple[str, PipelineSettings]]) -> dict[str, Any]:
    return {
        "project": str(settings.project),
        "memory": str(settings.memory),
        "pipelines": {
            name: {
                "reference": pipeline.ref,
                "adapters": adapter_files(settings, pipeline),
                "poll_s": pipeline.trigger.poll_s,
            }
            for name, pipeline in pipelines
        },
    }


def _env(settings: Settings) -> dict[str, str]:
    """One thread is enough to look, and pools of threads take memory."""
    return {**worker_env(settings), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _why(member: Member) -> str:
    """How the child ended, after it was reaped."""
    result = handover.read_json(member.folder / handover.RESULT)
    if result is not None:
        return f"begins anew, because {result.get('changed')} has changed"
    error = handover.read_json(member.folder / handover.ERROR)
    return f"failed: {error['message']}" if error is not None else member.describe_ending()

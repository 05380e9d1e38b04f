"""Stage `watch`: how much data has arrived that no retrain has taken, looked at again and again for as long as it runs.

It is a process of its own, because user code loads torch and may crash or hang, and whoever waits for data should do
neither. What is told of one pipeline depends on no other: one that does not load, whose source fails or never answers,
is told and tried again, less and less often.
"""

import importlib
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plaster_ops.data.windows import Counted, arrived, lookout_of
from plaster_ops.errors import DataError, PlasterError
from plaster_ops.flow.loading import load_adapters, load_pipeline
from plaster_ops.flow.stages.project_code import ProjectCode
from plaster_ops.ports import EventSink
from plaster_ops.tracking.journal import Journal

PATIENCE_S = 10.0
"""A look that takes longer goes on beside those at other pipelines."""
STUCK_S = 600.0
"""A source that has not answered for so long is told of."""
MOST_BACKOFF = 16
"""A pipeline that cannot be looked at is tried again after so many polls at most."""
LONGEST_WAIT_S = 60.0
Event = dict[str, Any]


def run(spec: Mapping[str, Any], folder: Path, emit: EventSink) -> dict[str, Any]:
    """spec: project, memory (`mlruns`), pipelines: name -> {reference, adapters, poll_s, needs_source}; once: a name.

    Emits `new_data` (`pipeline`, `samples`, `newest`, `since`: samples after the newest position that any ended retrain
    took; all None without a source, where none is needed) where that changed, and `unreadable` (`pipeline`, `reason`).
    Returns when code of the project has changed that
    is loaded: `{"changed": file}`. With `once`: one look, and its event is the result; raises what prevents it.
    """
    del folder
    project, memory = Path(spec["project"]), Path(spec["memory"])
    adapted = set[str]()
    watched = [
        Watched(name=name, project=project, adapted=adapted, **given) for name, given in spec["pipelines"].items()
    ]
    once = spec.get("once")
    if once:
        with Journal.open(memory) as journal:
            return next(each for each in watched if each.name == once).look(journal)
    code, watch = ProjectCode(project, time.time()), Watch(watched, memory, emit)
    while (changed := code.changed()) is None:
        now_s = time.monotonic()
        time.sleep(max(0.0, min(watch.round(now_s) - now_s, LONGEST_WAIT_S)))
    return {"changed": str(changed)}


@dataclass(kw_only=True, slots=True)
class Watched:
    """One pipeline: how it is loaded, and what was told of it last. `due_s` and `began_s`: the monotonic clock.

    `adapted`: the adapters that ran in this process; most can do so only once, whoever needs them.
    """

    name: str
    project: Path
    reference: str
    poll_s: float
    adapters: list[str] = field(default_factory=list)
    adapted: set[str] = field(default_factory=set)
    needs_source: bool = True
    lookout: Counted | None = None
    is_loaded: bool = False
    told: Event | None = None
    failures: int = 0
    due_s: float = 0.0
    began_s: float = 0.0
    at_work: threading.Thread | None = None

    def load(self) -> Counted | None:
        """What can be looked at; loaded where it was not before. Only the source is kept of the pipeline. None where it
        has no source and needs none."""
        if self.lookout is None and not self.is_loaded:
            importlib.invalidate_caches()
            for file in self.adapters:
                if file not in self.adapted:
                    load_adapters(file)
                    self.adapted.add(file)
            source = getattr(load_pipeline(self.reference, self.project), "source", None)
            if source is None and self.needs_source:
                raise DataError(
                    f"pipeline {self.name!r} has no source, so nobody knows when data arrives",
                    "give it one, or set trigger.on_data = false",
                )
            self.lookout, self.is_loaded = None if source is None else lookout_of(source), True
        return self.lookout

    def look(self, journal: Journal) -> Event:
        """One look, as the event that tells of it."""
        told, lookout = {"event": "new_data", "pipeline": self.name}, self.load()
        if lookout is None:
            return {**told, "samples": None, "newest": None, "since": None}
        since = journal.taken(self.name)
        newest, samples = arrived(lookout, since)
        return {**told, "samples": samples, "newest": newest, "since": since}

    def again_s(self) -> float:
        """Seconds to the next look: longer after each failure."""
        return self.poll_s * float(min(2**self.failures, MOST_BACKOFF))


class Watch:
    """All of them, one after the other; only one that takes long goes on beside the next."""

    def __init__(
        self, watched: list[Watched], memory: Path, emit: EventSink, *, patience_s: float = PATIENCE_S
    ) -> None:
        self._watched, self._memory, self._emit, self._patience_s = watched, memory, emit, patience_s
        self._journal: Journal | None = None

    def round(self, now_s: float) -> float:
        """Looks at every pipeline that is due at that instant of the monotonic clock; returns when the next one is."""
        for each in self._watched:
            if each.due_s > now_s:
                continue
            if each.at_work is not None and each.at_work.is_alive():
                self._note_stuck(each, now_s)
            else:
                self._look(each, now_s)
            each.due_s = now_s + each.again_s()
        return min((each.due_s for each in self._watched), default=now_s + LONGEST_WAIT_S)

    def _look(self, each: Watched, now_s: float) -> None:
        try:
            each.load()  # here, for some modules can only be imported by the main thread
        except (Exception, SystemExit) as error:
            self._fail(each, error)
            return
        each.began_s = now_s
        each.at_work = threading.Thread(target=self._work, args=(each,), name=f"look {each.name}", daemon=True)
        each.at_work.start()
        each.at_work.join(self._patience_s)

    def _work(self, each: Watched) -> None:
        try:
            if self._journal is None:
                self._journal = Journal.open(self._memory)
            event = each.look(self._journal)
        except (Exception, SystemExit) as error:
            self._fail(each, error)
        else:
            each.failures = 0
            self._tell(each, event)

    def _note_stuck(self, each: Watched, now_s: float) -> None:
        if now_s - each.began_s >= STUCK_S:
            reason = f"its source has not answered for over {STUCK_S:.0f} s"
            self._tell(each, {"event": "unreadable", "pipeline": each.name, "reason": reason})

    def _fail(self, each: Watched, error: BaseException) -> None:
        each.failures += 1
        reason = error.message if isinstance(error, PlasterError) else f"{type(error).__name__}: {error}"
        self._tell(each, {"event": "unreadable", "pipeline": each.name, "reason": reason})

    def _tell(self, each: Watched, event: Event) -> None:
        if event != each.told:
            each.told = event
            self._emit(event)

"""Retrains that no clock makes due: from what was found out, and the clock's hand, to what is asked of the planner.

No thread, no process, no clock of its own. `heard` takes what the watcher finds (`scheduler.watcher`); drift is read
from the journal. What was asked for is kept beside the ledger, so that a restart changes nothing.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from plaster_ops.domain.slots import Cause
from plaster_ops.settings import Settings
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_rows import RunState
from plaster_ops.tracking.journal_runs import state_now
from plaster_ops.tracking.liveness import this_host
from plaster_ops.tracking.slots import SlotLedger
from scheduler.data_trigger import DataTrigger
from scheduler.drift_trigger import DriftTrigger

RETRY_S = 10.0
"""So long after a ledger that could not be read it is tried again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """A retrain that is due now, for `Planner.ask`."""

    pipeline: str
    cause: Cause
    reason: str


class _Trigger(Protocol):
    """One cause. `busy`: pipelines of which a slot runs or waits."""

    def freed(self, name: str) -> None: ...

    def set_back(self, now_s: float) -> None: ...

    def due(self, now_s: float, busy: Container[str]) -> list[str]: ...

    def reason(self, name: str, now_s: float) -> str | None: ...

    def was_asked(self, name: str, now_s: float) -> None: ...

    def next_s(self, busy: Container[str]) -> float | None: ...


class Triggers:
    """Of all pipelines of a project. Instants are seconds UTC."""

    def __init__(self, settings: Settings, ledger: SlotLedger, journal: Journal) -> None:
        self._ledger, self._journal = ledger, journal
        triggers = {name: pipeline.trigger for name, pipeline in settings.pipelines.items()}
        self._data = DataTrigger(triggers, ledger, journal)
        self._drift = DriftTrigger(triggers, ledger, journal, self._data.is_ready)
        self._triggers: list[tuple[Cause, _Trigger]] = [(Cause.DATA, self._data), (Cause.DRIFT, self._drift)]
        self._busy: frozenset[str] = frozenset()
        self._now_s = self._not_before_s = 0.0
        self._unreadable: dict[str, str] = {}

    def load(self, settings: Settings) -> None:
        """New settings; what was heard stays known."""
        triggers = {name: pipeline.trigger for name, pipeline in settings.pipelines.items()}
        self._data.load(triggers)
        self._drift.load(triggers)
        self._unreadable = {name: why for name, why in self._unreadable.items() if name in triggers}

    def heard(self, event: Mapping[str, Any], now_s: float) -> None:
        """One finding of the watcher; what is none is left alone."""
        kind = event.get("event")
        if kind == "new_data":
            self._unreadable.pop(event["pipeline"], None)
            self._data.heard(event, now_s)
        elif kind == "unreadable":
            self._unreadable[event["pipeline"]] = str(event["reason"])

    def running(self, pipelines: Iterable[str]) -> None:
        """The pipelines of which a slot runs or waits now: nothing is asked for those. Before each `asks`."""
        busy = frozenset(pipelines)
        for name in self._busy - busy:
            for _, trigger in self._triggers:
                trigger.freed(name)
        self._busy = busy

    def asks(self, now_s: float) -> list[Ask]:
        """What is due now, at most one a pipeline; each is to become a slot planned at this very `now_s`.

        An ask that becomes no slot, or one that is skipped, is made again later. Where the ledger cannot be read or
        written that is raised, nothing is lost, and `next_wake_s` is `RETRY_S` later at least.
        """
        if now_s < self._now_s:
            for _, trigger in self._triggers:
                trigger.set_back(now_s)
        self._now_s, self._not_before_s = now_s, now_s + RETRY_S
        found = self._found(now_s)
        self._not_before_s = 0.0
        return found

    def _found(self, now_s: float) -> list[Ask]:
        found: dict[str, Ask] = {}
        for cause, trigger in self._triggers:
            for name in trigger.due(now_s, self._busy):
                reason = trigger.reason(name, now_s)
                if reason is not None and name not in found and not self._is_held(name):
                    trigger.was_asked(name, now_s)
                    found[name] = Ask(pipeline=name, cause=cause, reason=reason)
        return list(found.values())

    def next_wake_s(self, now_s: float) -> float | None:
        """When `asks` may find something next, unless something is heard before; None where nothing will be due."""
        times = (trigger.next_s(self._busy) for _, trigger in self._triggers)
        return min((max(at_s, now_s, self._not_before_s) for at_s in times if at_s is not None), default=None)

    def unreadable(self) -> dict[str, str]:
        """Pipelines whose data the watcher cannot look at, and why."""
        return dict(self._unreadable)

    def _is_held(self, name: str) -> bool:
        """Whether it is paused, or retrained on this machine by somebody else."""
        if name in self._ledger.pauses():
            return True
        newest = self._journal.history(name, 1)
        return bool(newest) and newest[-1].host == this_host() and state_now(newest[-1]) is RunState.RUNNING

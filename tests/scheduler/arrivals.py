"""Data that arrives while a service watches, on a clock of ours: real planner, ledger and journal, all else doubled.

A position is how many samples have arrived.
"""

import bisect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plaster_ops.domain.slots import Cause, Slot
from plaster_ops.flow.stages.watch import Watched
from plaster_ops.settings import Settings
from plaster_ops.settings_sections import PipelineSettings
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_file import JournalFile
from plaster_ops.tracking.slots import SlotLedger
from scheduler.planner import Plan, Planner
from scheduler.triggers import Triggers
from tests.tracking.samples import make_record, start

NAME = "digits"


def settings_of(project: Path, trigger: Mapping[str, Any], *names: str) -> Settings:
    pipeline = PipelineSettings.model_validate({"ref": "m:p", "trigger": dict(trigger)})
    return Settings(
        project=project, file=None, tracking_uri="", default=None, pipelines=dict.fromkeys(names or (NAME,), pipeline)
    )


@contextmanager
def ledger_and_journal(folder: Path) -> Iterator[tuple[SlotLedger, Journal]]:
    """Both in one file, which does not wait for the disk, for simulations write thousands of rows."""
    file = JournalFile(folder / "mlruns")
    file.rows("PRAGMA synchronous = OFF")
    try:
        yield SlotLedger(file), Journal(file)
    finally:
        file.close()


@dataclass(frozen=True)
class Retrain:
    """One that came to its end: when it began, why, and the samples `(after, upto]` that none had taken before."""

    at_s: float
    cause: Cause
    after: int
    upto: int
    reason: str


@dataclass
class World:
    """`arrivals`: (seconds, samples), rising. `ending(number)`: how a retrain ends: `finished`, `failed` with its data
    read, `broken` before that, `busy`.
    """

    ledger: SlotLedger
    journal: Journal
    settings: Settings
    arrivals: list[tuple[float, int]]
    length_s: float = 30.0
    ending: Callable[[int], str] = lambda _number: "finished"
    drift: Mapping[str, Any] | None = None
    now_s: float = 0.0
    retrains: list[Retrain] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    _number: int = 0
    _at_work: tuple[float, Slot, str, Retrain] | None = None
    _polled_s: float = 0.0
    _told: Any = None

    def __post_init__(self) -> None:
        self.boot()

    # ---- the source, as the watcher's stage asks it ----------------------------------------------------------------
    def newest(self) -> int | None:
        at = bisect.bisect_right(self.arrivals, (self.now_s, 10**9))
        return sum(samples for _, samples in self.arrivals[:at]) or None

    def count(self, after: Any, upto: Any) -> int:
        return max(0, (upto or 0) - (after or 0))

    # ---- the service -----------------------------------------------------------------------------------------------
    def boot(self) -> None:
        """A new service; a retrain that the last one ran is gone with it, and begins once more."""
        self._at_work, self._told, self._polled_s = None, None, self.now_s
        self.planner = Planner(ledger=self.ledger, owner=f"at {self.now_s}", is_alive=lambda _owner: False)
        self.planner.load({NAME: Plan(retries=0)}, self.now_s)
        self.triggers = Triggers(self.settings, self.ledger, self.journal)
        pipeline = self.settings.pipelines[NAME]
        self._watched = Watched(
            name=NAME, project=self.settings.project, reference="m:p", poll_s=pipeline.trigger.poll_s, lookout=self
        )

    def run(self, until_s: float, *, restarts: list[float] | None = None) -> None:
        """Goes on, from one instant at which something is to be done to the next."""
        restarts = sorted(restarts or ())
        while self.now_s <= until_s:
            while restarts and restarts[0] <= self.now_s:
                restarts.pop(0)
                self.boot()
            self._step()
            times = [self._polled_s, self.planner.next_wake_s(self.now_s), self.triggers.next_wake_s(self.now_s)]
            times += [self._at_work[0] if self._at_work else None, *restarts[:1]]
            self.now_s = max(self.now_s + 1e-3, min(at_s for at_s in times if at_s is not None))

    def _step(self) -> None:
        if self._at_work is not None and self._at_work[0] <= self.now_s:
            self._end()
        if self._polled_s <= self.now_s:
            self._poll()
        self.triggers.running({slot.pipeline for slot in (*self.planner.running(), *self.planner.waiting())})
        for ask in self.triggers.asks(self.now_s):
            slot = self.planner.ask(ask.pipeline, ask.cause, self.now_s, ask.reason)
            assert slot is not None
            self.slots.append(slot)
        for slot in self.planner.tick(self.now_s):
            self._begin(slot)

    def _poll(self) -> None:
        self._polled_s = self.now_s + self._watched.poll_s
        event = self._watched.look(self.journal)
        if event != self._told:
            self._told = event
            self.triggers.heard(event, self.now_s)

    def _begin(self, slot: Slot) -> None:
        self._number += 1
        taken, upto = int(self.journal.taken(NAME) or 0), self.newest() or 0
        begun = Retrain(self.now_s, slot.cause, taken, upto, slot.reason)
        self._at_work = (self.now_s + self.length_s, slot, self.ending(self._number), begun)

    def _end(self) -> None:
        assert self._at_work is not None
        _, slot, ending, begun = self._at_work
        self._at_work, upto = None, begun.upto
        code = {"finished": 0, "failed": 10, "broken": 10, "busy": 75}[ending]
        if ending != "busy":
            self.retrains.append(begun)
            row = start(self.journal, NAME)
            assert row.index is not None
            data = {"to": upto, "drift": self.drift}
            record = make_record(row.uid, row.index, pipeline=NAME, data=data, card=(), seen=upto, learned=upto)
            if ending == "finished":
                self.journal.finish_run(row.uid, record)
            else:
                self.journal.fail_run(row.uid, "failed", ["so it was"], 10, record if ending == "failed" else None)
        self.planner.ended(slot, code, self.now_s, verdict=None, reason="so it was")

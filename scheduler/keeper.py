"""What keeps a schedule, in one thread: everything that happens is put into its inbox and handled in turn.

What should happen stands in the settings, what did in the ledger; nothing is remembered here that a `kill -9` could
take away.
"""

import logging
import os
import queue
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from plaster_ops.domain.schedule import iso
from plaster_ops.domain.slots import Slot, SlotState
from plaster_ops.errors import PlasterError
from plaster_ops.flow.lock import take_device
from plaster_ops.settings import Settings
from plaster_ops.tracking.slots import Overtaken
from scheduler.jobs import Command, Ended, Job, retrain_command
from scheduler.planner import Planner

log = logging.getLogger(__name__)

RETRY_S = 10.0
"""So often what could not be written is tried again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A signal that came in."""

    number: int


@dataclass
class Keeper:
    """The part that the service and `schedule once` share. `command` makes what a child runs of a slot."""

    settings: Settings
    planner: Planner
    trigger: str
    command: Command | None = None
    say: Callable[[str], None] = log.info
    inbox: "queue.SimpleQueue[Any]" = field(default_factory=queue.SimpleQueue)
    jobs: dict[str, Job] = field(default_factory=dict)
    ending: bool = False
    asked: int | None = None
    """The signal that ended it."""
    fault: str | None = None
    last: Ended | None = None
    _numbers: dict[str, int] = field(default_factory=dict)
    _unwritten: list[Ended] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Where logs and the heartbeat lie."""
        return self.settings.memory / "scheduler"

    def listen(self, *numbers: signal.Signals) -> None:
        """From now on these signals are events of the inbox."""
        for number in numbers:
            signal.signal(number, self._signalled)

    def _signalled(self, number: int, _frame: FrameType | None) -> None:
        self.inbox.put(Asked(number=number))

    def handle(self, event: Any) -> None:
        """One event of the inbox. What cannot be written now is tried again at the next beat, and loses nothing."""
        try:
            if isinstance(event, Ended):
                self._unwritten.append(event)
            else:
                self.happened(event)
            self._write_ended()
            if not self.ending:
                self.start_due()
            self.fault = None
        except (PlasterError, Overtaken) as error:
            told = error.message if isinstance(error, PlasterError) else f"other schedulers write this ledger: {error}"
            if self.fault is None:
                self.say(f"{told}; tried again every {RETRY_S:.0f} s")
            self.fault = told

    def happened(self, event: Any) -> None:
        """What else may come into the inbox; here only a signal, which is the end."""
        if isinstance(event, Asked):
            self.ending, self.asked = True, self.asked or event.number

    def start_due(self) -> None:
        """Accounts for what is due, and starts what may start on the devices that are free."""
        held = self._take_devices()
        try:
            self.planner.devices = len(self.planner.running()) + len(held)
            for slot in self.planner.tick(time.time()):
                number, handle = held.popitem()
                self._spawn(slot, number, handle)
        finally:
            for handle in held.values():
                os.close(handle)

    def _take_devices(self) -> dict[int, int]:
        """The devices that nobody holds, locked; as many as could be used."""
        taken = set(self._numbers.values())
        found: dict[int, int] = {}
        wanted = self.planner.startable(time.time())
        for number in range(self.settings.scheduler.device_count):
            if len(found) < wanted and number not in taken:
                handle = take_device(
                    self.settings.scheduler.lock_folder(self.settings.memory),
                    self.settings.scheduler.device_count,
                    only=number,
                )
                if handle is not None:
                    found[number] = handle
        return found

    def _spawn(self, slot: Slot, number: int, device: int) -> None:
        command = self.command or retrain_command(self.settings.project, self.trigger)
        pipeline = self.settings.pipelines.get(slot.pipeline)
        try:
            job = Job(
                slot,
                command(slot),
                project=self.settings.project,
                device=device,
                visible=self.settings.scheduler.visible(number),
            )
        except OSError as error:
            self.inbox.put(Ended(slot=slot, exit_code=1, reason=f"could not be started: {error}"))
            return
        self.jobs[slot.pipeline], self._numbers[slot.pipeline] = job, number
        timeout_s = None if pipeline is None else pipeline.cadence.timeout_s
        job.watch(self.inbox.put, timeout_s=timeout_s, stop_s=self.settings.scheduler.stop_s)
        self.say(f"{slot.pipeline}: slot {iso(slot.planned_s)} started ({slot.cause}, attempt {slot.attempts})")

    def _write_ended(self) -> None:
        while self._unwritten:
            ended = self._unwritten[0]
            now_s = time.time()
            if ended.stopped:
                told = self.planner.interrupted(ended.slot, "stopped with its scheduler; it goes on at the next start")
            else:
                told = self.planner.ended(
                    ended.slot, ended.exit_code, now_s, verdict=ended.verdict, reason=ended.reason, run=ended.run
                )
            self._unwritten.pop(0)
            self.last = ended
            self.jobs.pop(ended.slot.pipeline, None)
            self._numbers.pop(ended.slot.pipeline, None)
            what = told.state if told.state is not SlotState.RAN else told.verdict or told.state
            self.say(f"{told.pipeline}: slot {iso(told.planned_s)} {what}{': ' + told.reason if told.reason else ''}")

    def drain(self) -> None:
        """What runs may end, for `grace_s`; then, or at a second signal, it is stopped, to go on at the next start."""
        wanted = self.settings.scheduler
        self.say(f"ending: {len(self.jobs)} running, they have {wanted.grace_s:.0f} s" if self.jobs else "ending")
        for patience_s, act in ((wanted.grace_s, Job.stop), (wanted.stop_s, Job.kill), (5.0, None)):
            until_s = time.monotonic() + patience_s
            while self.jobs and (left_s := until_s - time.monotonic()) > 0:
                try:
                    event = self.inbox.get(timeout=left_s)
                except queue.Empty:
                    break
                self.handle(event)
                if isinstance(event, Asked) and event.number != signal.SIGHUP:
                    break
            if act is not None:
                for job in self.jobs.values():
                    act(job)

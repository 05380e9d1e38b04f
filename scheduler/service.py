"""The service: a keeper that does not end by itself.

APScheduler does nothing but tick: once when the next slot is due, and every few seconds for what has no instant (the
heartbeat, a clock that was set, files that were locked).
"""

import json
import os
import queue
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger

from plaster_ops.errors import PlasterError, UsageError
from plaster_ops.settings import Settings, load_settings
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.slots import Overtaken, SlotLedger
from scheduler.health import Server, serve
from scheduler.jobs import Command
from scheduler.keeper import Asked, Keeper
from scheduler.owner import keep_schedule, owner_lives, this_owner
from scheduler.planner import Planner
from scheduler.plans import plans_of
from scheduler.teller import Teller
from scheduler.triggers import Triggers
from scheduler.watcher import Watcher

BEAT_S = 10.0
LEDGER_TIMEOUT_S = 5.0
"""So long a write waits for another process that holds the ledger; the next beat tries again."""


@dataclass(kw_only=True)
class Service(Keeper):
    """Keeps the schedule of one project until SIGTERM or SIGINT; SIGHUP reads the settings again.

    `triggers` and `watcher`: what new data and drift make due; `server`: the status page; `teller`: alerts.
    """

    triggers: Triggers
    watcher: Watcher
    teller: Teller
    server: Server = field(default_factory=Server)
    ticks: BackgroundScheduler | None = None
    started_s: float = 0.0
    _beat_s: float = 0.0

    def run(self) -> None:
        """Until it is asked to end; then what runs is drained."""
        self.started_s = time.time()
        self.listen(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        self.ticks = BackgroundScheduler(timezone=UTC)
        try:
            self.planner.load(plans_of(self.settings), time.time())
            self.ticks.start()
            self.ticks.add_job(self.inbox.put, IntervalTrigger(seconds=BEAT_S, timezone=UTC), args=["beat"], id="beat")
            self.inbox.put("beat")
            self.watcher.start()
            self.teller.start()
            while not self.ending:
                self.handle(self.inbox.get())
                self._wind_up()
            self.drain()
        finally:
            for job in self.jobs.values():
                job.kill()
            self.ticks.shutdown(wait=False)
            self.watcher.stop()
            self.teller.stop()
            (self.folder / "heartbeat.json").unlink(missing_ok=True)

    def why_not_alive(self) -> str | None:
        """Why the service does not do its work just now; None where it does. For /healthz, from any thread."""
        silent_s = time.monotonic() - self._beat_s
        if self._beat_s and silent_s > 6 * BEAT_S:
            return f"no heartbeat for {silent_s:.0f} s"
        return self.fault

    def happened(self, event: Any) -> None:
        """A beat, a tick, a finding of the watcher, or a signal."""
        if event == "beat":
            self._beat()
        elif isinstance(event, dict):
            self._heard(event)
        elif isinstance(event, Asked) and event.number == signal.SIGHUP:
            self._reload()
        else:
            super().happened(event)

    def start_due(self) -> None:
        """What data and drift made due becomes a slot; then what is due starts."""
        at_work = [slot.pipeline for slot in (*self.planner.running(), *self.planner.waiting())]
        self.triggers.running(at_work)
        now_s = time.time()
        for ask in self.triggers.asks(now_s):
            self.planner.ask(ask.pipeline, ask.cause, now_s, ask.reason)
        super().start_due()

    def _heard(self, event: dict[str, Any]) -> None:
        """A finding of the watcher, or what became of the watcher."""
        self.triggers.heard(event, time.time())
        if event["event"] == "unreadable":
            self.say(f"{event['pipeline']}: its data cannot be looked at: {event['reason']}")
        elif event.get("state") == "ended":
            self.say(f"the watcher of new data {event['reason']}; again in {event['again_s']:.0f} s")

    def _wind_up(self) -> None:
        """The next tick, at the instant when something is due; what could not be written waits for the next beat."""
        if self.fault is not None:
            return
        now_s = time.time()
        wakes = (self.planner.next_wake_s(now_s), self.triggers.next_wake_s(now_s))
        wake_s = min((at_s for at_s in wakes if at_s is not None), default=None)
        if wake_s is not None and self.ticks is not None:
            at = datetime.fromtimestamp(max(wake_s, now_s), tz=UTC)
            self.ticks.add_job(
                self.inbox.put,
                DateTrigger(at),
                args=["tick"],
                id="tick",
                replace_existing=True,
                misfire_grace_time=None,
            )

    def _reload(self) -> None:
        """The settings anew; where they are wrong, the old ones stay."""
        try:
            fresh = load_settings(self.settings.project)
            self.planner.load(plans_of(fresh), time.time())
        except (PlasterError, Overtaken) as error:
            self.say(f"the old settings stay: {getattr(error, 'message', error)}")
            return
        self.settings = fresh
        self.planner.queue_max = fresh.scheduler.queue_max
        for part in (self.triggers, self.watcher, self.teller):
            part.load(fresh)
        self.server.reload(fresh)
        self.say(f"settings read again: {len(fresh.pipelines)} pipelines")

    def _beat(self) -> None:
        self._beat_s = time.monotonic()
        self.planner.look_again()
        written = {
            "pid": os.getpid(),
            "host": os.uname().nodename,
            "started_s": self.started_s,
            "at_s": time.time(),
            "devices": self.settings.scheduler.device_count,
            "busy": len(self.jobs),
        }
        part = self.folder / "heartbeat.part"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(written), encoding="utf-8")
            part.replace(self.folder / "heartbeat.json")
        except OSError as error:
            raise PlasterError(f"the heartbeat cannot be written: {error}", "make room, or mlruns/ writable") from error


@contextmanager
def opened_service(
    settings: Settings, *, command: Command | None = None, say: Callable[[str], None]
) -> Iterator[Service]:
    """A service that holds the lock of the project's schedule, ready to `run`. Raises `Busy` where another has it."""
    lock = keep_schedule(settings.memory / "locks")
    try:
        with Journal.open(settings.memory, busy_timeout_s=LEDGER_TIMEOUT_S) as journal:
            with suppress(FileExistsError), (settings.memory / ".gitignore").open("x", encoding="utf-8") as ignored:
                ignored.write("*\n")
            service = _service(settings, journal, command, say)
            service.server = _served(settings, service)
            with service.server:
                yield service
    finally:
        os.close(lock)


def _service(settings: Settings, journal: Journal, command: Command | None, say: Callable[[str], None]) -> Service:
    ledger = SlotLedger(journal.file)
    planner = Planner(
        ledger=ledger,
        owner=this_owner(os.getpid()),
        is_alive=owner_lives,
        devices=settings.scheduler.device_count,
        queue_max=settings.scheduler.queue_max,
    )
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    return Service(
        settings=settings,
        planner=planner,
        trigger="service",
        command=command,
        say=say,
        inbox=inbox,
        triggers=Triggers(settings, ledger, journal),
        watcher=Watcher(settings, inbox.put),
        teller=Teller(settings),
    )


def _served(settings: Settings, service: Service) -> Server:
    """The status page. Where nobody asked for that address and another program has it, the service goes on without."""
    try:
        return serve(settings, service.why_not_alive)
    except UsageError as error:
        if "listen" in settings.scheduler.model_fields_set:
            raise
        service.say(f"without a status page: {error.message}; {error.next_step}")
        return Server()

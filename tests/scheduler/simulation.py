"""A scheduler's year on a clock of ours: outages, clock steps, pauses, runs of any length; and what must hold of it."""

import heapq
import random
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from plaster_ops.domain.schedule import Cadence
from plaster_ops.domain.slots import MissedPolicy, Rules, Slot
from plaster_ops.tracking.slots import Pause, SlotLedger
from scheduler.clockwork import Plan
from scheduler.planner import Planner

DAY_S = 86_400.0
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe")
POLICIES: tuple[MissedPolicy, ...] = ("run_once", "run_all", "skip")
LENGTHS_S = (5.0, 120.0, 900.0, 3_000.0, 9_000.0)
CODES, WEIGHTS = (0, 3, 10, 2, 124, 75), (90, 4, 3, 1, 1, 1)


def year_plans() -> dict[str, Plan]:
    """One pipeline a minute and nineteen an hour: in three zones, as lines that follow the clock on the wall and lines
    that follow the hours that pass, with each policy, some of them spread; the last one is an interval."""
    plans = {"minutely": Plan(cadence=Cadence(cron="* * * * *", timezone=ZONES[0]), rules=Rules(missed="run_once"))}
    for number in range(18):
        plans[f"hourly-{number:02}"] = Plan(
            cadence=Cadence(
                cron=f"{3 * number} {('*', '0-23')[number % 2]} * * *",
                timezone=ZONES[number % 3],
                jitter_s=600.0 if number in (4, 11) else 0.0,
            ),
            rules=Rules(
                missed=("run_once", "run_all", "skip")[number // 6], overlap=("skip", "queue")[number // 3 % 2]
            ),
            backoff_s=300.0,
        )
    plans["interval"] = Plan(cadence=Cadence(every_s=3600.0, start_s=1000.0), rules=Rules(overlap="queue"))
    return plans


@dataclass
class World:
    """The machine around the planner. `now_s` is its clock, which is set forward and back, never to before `began_s`.

    What is counted: how often each slot was `started`, and of those starts how many were `stopped` to go on later; the
    `codes` that ended it; the `gaps` in which nobody was there, or which the clock left out.
    """

    ledger: SlotLedger
    plans: Mapping[str, Plan]
    draw: random.Random
    began_s: float
    devices: int = 7
    queue_max: int = 100
    latest_s: float = 0.0
    started: Counter[tuple[str, str, float]] = field(default_factory=Counter)
    stopped: Counter[tuple[str, str, float]] = field(default_factory=Counter)
    codes: dict[tuple[str, str, float], int] = field(default_factory=dict)
    at_once: int = 0
    most_waiting: int = 0
    waits_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    gaps: list[tuple[float, float]] = field(default_factory=list)
    steps: Counter[str] = field(default_factory=Counter)
    _ends: list[tuple[float, int, Slot]] = field(default_factory=list)
    _paused: set[str] = field(default_factory=set)
    _number: int = 0
    _count: int = 0

    def __post_init__(self) -> None:
        self.now_s = self.began_s

    def live(self, end_s: float, *, days_between: float = 3.0) -> None:
        """Until the clock stands at `end_s`: every few days something happens to the service or to the clock."""
        planner = self.boot()
        while self.now_s < end_s:
            self.run(planner, min(end_s, self.now_s + self.draw.expovariate(1 / (days_between * DAY_S))))
            what = self.draw.choice(("die", "die", "drain", "clock", "clock", "pause", "pause", "reload"))
            self.steps[what] += 1
            if what in ("die", "drain"):
                planner = self._away(planner, drain=what == "drain")
            elif what == "clock":
                self._set_clock(self.draw.choice((-3 * DAY_S, -7_000.0, -90.0, -1.0, 1.0, 59.0, 3_700.0, 2 * DAY_S)))
            elif what == "pause":
                self._pause(self.draw.choice(list(self.plans)))
            else:
                planner.load(self.plans, self.now_s)
        for name in list(self._paused):
            self._pause(name)
        self.run(planner, self.now_s + 1.0)

    def boot(self) -> Planner:
        """A new service: whatever the old one ran is gone with it."""
        self._number += 1
        self._ends = []
        planner = Planner(
            ledger=self.ledger,
            owner=f"service-{self._number}",
            is_alive=lambda _owner: False,
            devices=self.devices,
            queue_max=self.queue_max,
        )
        planner.load(self.plans, self.now_s)
        return planner

    def run(self, planner: Planner, until_s: float) -> None:
        """Ticks as the service does: when something is due, has ended, or may be tried again."""
        ends = self._ends
        while True:
            begun = planner.tick(self.now_s)
            if begun:
                self._start(planner, begun)
            wake_s = planner.next_wake_s(self.now_s)
            next_s = until_s if wake_s is None else min(wake_s, until_s)
            if ends and ends[0][0] < next_s:
                next_s = ends[0][0]
            self.now_s = max(self.now_s, next_s)
            if next_s >= until_s:
                break
            while ends and ends[0][0] <= self.now_s:
                slot = heapq.heappop(ends)[2]
                code = self.codes[slot.name] = self.draw.choices(CODES, WEIGHTS)[0]
                planner.ended(slot, code, self.now_s, verdict=None, reason="as drawn")
        self.latest_s = max(self.latest_s, self.now_s)

    def _start(self, planner: Planner, begun: list[Slot]) -> None:
        running = {slot.pipeline for *_, slot in self._ends}
        for slot in begun:
            assert slot.pipeline not in running, f"two retrains of {slot.pipeline} at once"
            assert slot.pipeline not in self._paused, f"{slot.pipeline} is paused"
            self.started[slot.name] += 1
            self.codes.pop(slot.name, None)
            if slot.attempts == 1 and not slot.was_missed:
                self.waits_s[slot.pipeline] = max(self.waits_s[slot.pipeline], self.now_s - slot.due_s)
            length_s = self.draw.choice(LENGTHS_S)
            self._count += 1
            heapq.heappush(self._ends, (self.now_s + length_s, self._count, slot))
        self.at_once = max(self.at_once, len(self._ends))
        self.most_waiting = max(self.most_waiting, len(planner.waiting()))

    def _away(self, planner: Planner, *, drain: bool) -> Planner:
        """Nobody is there for seconds to days. `drain`: what ran was stopped in order."""
        for *_, slot in self._ends if drain else []:
            self.stopped[slot.name] += 1
            planner.interrupted(slot, "stopped")
        self._pass_over(self.draw.choice((5.0, 30.0, 300.0, 7_200.0, DAY_S, 4 * DAY_S)))
        return self.boot()

    def _pass_over(self, by_s: float) -> None:
        """Seconds that nobody is there for. A gap counts where the clock has not been there before, nor comes again."""
        if self.now_s >= self.latest_s:
            self.gaps.append((self.now_s, self.now_s + by_s))
        self.now_s += by_s
        self.latest_s = max(self.latest_s, self.now_s)

    def _set_clock(self, by_s: float) -> None:
        """The clock is set; what runs takes no longer for it."""
        by_s = max(by_s, self.began_s - self.now_s)
        if by_s > 0:
            self._pass_over(by_s)
        else:
            self.now_s += by_s
            self.gaps = [gap for gap in self.gaps if gap[1] < self.now_s]
        self._ends[:] = [(end_s + by_s, number, slot) for end_s, number, slot in self._ends]  # in the same order

    def _pause(self, name: str) -> None:
        """Paused, or not any more."""
        with self.ledger.write() as write:
            if name in self._paused:
                self._paused.remove(name)
                write.resume(name)
            else:
                self._paused.add(name)
                write.pause(name, Pause(at_s=self.now_s, by="the test", reason="a drill"))

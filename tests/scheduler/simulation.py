"""A scheduler's year on a clock of ours: outages, clock steps, runs of any length; and what must hold of the ledger."""

import heapq
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from plaster_ops.domain.slots import SlotState
from plaster_ops.tracking.slots import SlotLedger
from scheduler.planner import Plan, Planner

DAY_S = 86_400.0


@dataclass
class World:
    """The machine around the planner. `now_s` is its clock; it may be set forward and back."""

    ledger: SlotLedger
    plans: Mapping[str, Plan]
    draw: random.Random
    devices: int = 2
    now_s: float = 0.0
    started: Counter[tuple[str, float]] = field(default_factory=Counter)
    at_once: int = 0
    outages: list[tuple[float, float]] = field(default_factory=list)
    _ends: list[tuple[float, int, object]] = field(default_factory=list)
    _number: int = 0

    def boot(self) -> Planner:
        """A new service: whatever the old one ran is gone with it."""
        self._number += 1
        self._ends = []
        planner = Planner(
            ledger=self.ledger, owner=f"service-{self._number}", is_alive=lambda _owner: False, devices=self.devices
        )
        planner.load(self.plans, self.now_s)
        return planner

    def run(self, planner: Planner, until_s: float) -> None:
        """Ticks as the service does: when something is due, has ended, or may be tried again."""
        count = 0
        while True:
            for slot in planner.tick(self.now_s):
                self.started[slot.pipeline, slot.planned_s] += 1
                count += 1
                length_s = self.draw.choice((1.0, 20.0, 70.0, 600.0, 5_000.0))
                heapq.heappush(self._ends, (self.now_s + length_s, count, slot))
            self.at_once = max(self.at_once, len(planner.running()))
            times = [self._ends[0][0]] if self._ends else []
            wake_s = planner.next_wake_s(self.now_s)
            next_s = min([*times, *([wake_s] if wake_s is not None else [])], default=until_s)
            if next_s >= until_s:
                self.now_s = until_s
                return
            self.now_s = max(self.now_s, next_s)
            while self._ends and self._ends[0][0] <= self.now_s:
                _, _, slot = heapq.heappop(self._ends)
                code = self.draw.choices((0, 3, 10, 2, 124, 75), (90, 4, 3, 1, 1, 1))[0]
                planner.ended(slot, code, self.now_s, verdict=None, reason="it was so")  # type: ignore[arg-type]


def states(ledger: SlotLedger, pipeline: str) -> Counter[SlotState]:
    """How many slots of a pipeline ended how."""
    rows = ledger.file.rows("SELECT state, COUNT(*) AS n FROM slots WHERE pipeline = ? GROUP BY state", (pipeline,))
    return Counter({SlotState(row["state"]): row["n"] for row in rows})

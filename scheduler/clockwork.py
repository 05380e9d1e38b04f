"""The cadence of one pipeline as it runs: which of its slots are due and have no row yet."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from plaster_ops.domain.schedule import Cadence
from plaster_ops.domain.slots import Rules

AT_ONCE = 5_000
"""So many slots of one pipeline are decided on together; a year's that were missed are not all held in memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What the settings want of one pipeline. `cadence` None: only data, drift or a hand make it due."""

    cadence: Cadence | None = None
    rules: Rules = field(default_factory=Rules)
    priority: int = 0
    retries: int = 2
    backoff_s: float = 60.0


class Clockwork:
    """`upto_s`: every slot up to it is in the ledger. `upcoming_s`: the first one that is not (None: there is none),
    `due_s` when that is due (infinite: never). `known`: later slots that have their row all the same."""

    __slots__ = ("_slots", "due_s", "known", "name", "plan", "upcoming_s", "upto_s")

    def __init__(self, name: str, plan: Plan, upto_s: float, known: frozenset[float] = frozenset()) -> None:
        self.name, self.plan, self.upto_s, self.known = name, plan, upto_s, known
        self._slots: Iterator[float] = iter(()) if plan.cadence is None else plan.cadence.after(upto_s)
        self.due_s = -math.inf
        self._step()

    def take(self, now_s: float) -> list[tuple[float, float]]:
        """The next slots that are due, `(planned_s, due_s)`, `AT_ONCE` at most; they count as being in the ledger."""
        due: list[tuple[float, float]] = []
        while self.upcoming_s is not None and self.due_s <= now_s and len(due) < AT_ONCE:
            if self.upcoming_s not in self.known:
                due.append((self.upcoming_s, self.due_s))
            self.upto_s = self.upcoming_s
            self._step()
        return due

    def _step(self) -> None:
        self.upcoming_s = next(self._slots, None)
        if self.upcoming_s is None or self.plan.cadence is None:
            self.due_s = math.inf
        else:  # two slots do not change places, however much jitter there is
            self.due_s = max(self.due_s, self.plan.cadence.due_s(self.name, self.upcoming_s))

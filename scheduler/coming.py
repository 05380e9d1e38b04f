"""Slots to come: planned instant and jitter, of one pipeline or of several in order."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from heapq import merge

from plaster_ops.domain.schedule import Cadence


@dataclass(frozen=True, kw_only=True, slots=True)
class Coming:
    """A slot that is not due yet, or that nobody has taken up: seconds UTC. `due_s`: planned and jitter."""

    pipeline: str
    planned_s: float
    due_s: float

    @property
    def jitter_s(self) -> float:
        """How much later than planned it is due."""
        return self.due_s - self.planned_s


def coming(cadence: Cadence | None, pipeline: str, now_s: float) -> Iterator[Coming]:
    """The slots of a pipeline that are due later than now, as they were planned; without end unless the cadence has."""
    if cadence is None:
        return
    due_s = -math.inf
    for planned_s in cadence.after(now_s - cadence.jitter_s):
        due_s = max(due_s, cadence.due_s(pipeline, planned_s))  # two slots do not change places
        if due_s > now_s:
            yield Coming(pipeline=pipeline, planned_s=planned_s, due_s=due_s)


def next_slot(cadence: Cadence | None, pipeline: str, now_s: float) -> Coming | None:
    """The first of them; None where there is none."""
    return next(coming(cadence, pipeline, now_s), None)


def coming_of_all(cadences: Mapping[str, Cadence | None], now_s: float) -> Iterator[Coming]:
    """The slots of several pipelines, earliest planned first."""
    return merge(*(coming(cadence, name, now_s) for name, cadence in cadences.items()), key=lambda slot: slot.planned_s)


def first_unaccounted(cadence: Cadence | None, pipeline: str, upto_s: float, now_s: float) -> Coming | None:
    """The first slot that is due and not in the ledger, which reaches up to `upto_s`; None where there is none."""
    planned_s = None if cadence is None or upto_s >= now_s else cadence.next_after(upto_s)
    if cadence is None or planned_s is None:
        return None
    due_s = cadence.due_s(pipeline, planned_s)
    return Coming(pipeline=pipeline, planned_s=planned_s, due_s=due_s) if due_s <= now_s else None

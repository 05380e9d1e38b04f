"""How often to retrain, answered from a pipeline's own past: what its older models would have scored on each new piece.

For every piece of data (a *slot*: what arrived between two retrains) the scores of the models made 1, 2, 3, ...
retrains before it are known. A cadence of every m-th retrain has, at a random slot, a model of age 1 to m with equal
chance, so its score at that slot is the mean over these ages. Cadences are compared slot by slot, on the same slots,
which takes the difficulty of single days out. Neighbouring slots share models and are alike, so standard errors are
from overlapping batch means (Meketon and Schmeiser 1984) as long as the slowest cadence, with Student's t.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from plaster_ops.domain.student import half_width, one_sided_p

CANDIDATES = (1, 2, 3, 5, 7, 10, 14, 21, 30, 45, 60, 90)
FEWEST = 8
SPANS = 4
"""An answer rests on 8 slots at least, and on four times the slowest cadence looked at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """One piece of data. `by_age`: scores of the models made 1, 2, ... retrains before it, as far as there are any.

    `stale_s`: by the same ages, from the newest datum that the model was trained on to the end of the slot; empty
    where the source does not say when data came into being. Higher scores are better: turn the sign where they are not.
    """

    index: int
    by_age: tuple[float, ...]
    stale_s: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class CadenceRow:
    """One cadence: a retrain every `every` slots. `loss`: mean score of every = 1 less this one's, with its 95 %
    interval; both 0 for every = 1. `sure_ratio`: confidence that the loss is no larger than the margin.
    `stale_p95_s`: 95th percentile (nearest rank) over slots and ages; None where not known."""

    every: int
    score: float
    loss: float
    loss_ci95: tuple[float, float]
    sure_ratio: float
    stale_p95_s: float | None

    def is_within(self, margin: float) -> bool:
        """Whether the loss is shown to be no larger than the margin."""
        return self.loss_ci95[1] <= margin


@dataclass(frozen=True, kw_only=True, slots=True)
class CadenceAnswer:
    """`suggested` is the slowest cadence of `rows` whose loss is shown to stay within `margin`; 1 where none is.

    `reason` says why there is no answer; empty where there is. `slots`: what the answer rests on.
    """

    rows: tuple[CadenceRow, ...]
    suggested: int | None
    margin: float
    slots: int
    reason: str = ""

    @property
    def row(self) -> CadenceRow | None:
        """The suggested cadence's row."""
        return next((row for row in self.rows if row.every == self.suggested), None)


def answer(slots: Sequence[Slot], margin: float) -> CadenceAnswer:
    """Compares the cadences that the history is long enough for, on the slots that all of them have a model for."""
    longest = _longest(slots)
    if longest is None:
        known = sum(bool(slot.by_age) for slot in slots)
        reason = f"{known} slots with an earlier model, {FEWEST} are needed"
        return CadenceAnswer(rows=(), suggested=None, margin=margin, slots=known, reason=reason)
    used = [slot for slot in slots if len(slot.by_age) >= longest]
    block = max(longest, math.ceil(len(used) ** (1 / 3)))
    rows = tuple(_row(used, every, margin, block) for every in CANDIDATES if every <= longest)
    return CadenceAnswer(rows=rows, suggested=_slowest(rows, margin), margin=margin, slots=len(used))


def _longest(slots: Sequence[Slot]) -> int | None:
    """The slowest cadence for which enough slots have every age; None where not even one retrain a slot has."""
    fits = [
        every for every in CANDIDATES if sum(len(slot.by_age) >= every for slot in slots) >= max(FEWEST, SPANS * every)
    ]
    return max(fits, default=None)


def _row(slots: Sequence[Slot], every: int, margin: float, block: int) -> CadenceRow:
    scores = [statistics.fmean(slot.by_age[:every]) for slot in slots]
    losses = [slot.by_age[0] - score for slot, score in zip(slots, scores, strict=True)]
    loss = statistics.fmean(losses)
    error, freedom = _standard_error(losses, block)
    half = half_width(error, freedom)
    return CadenceRow(
        every=every,
        score=statistics.fmean(scores),
        loss=loss,
        loss_ci95=(loss - half, loss + half),
        sure_ratio=1.0 - one_sided_p((margin - loss) / error, freedom) if error else float(loss <= margin),
        stale_p95_s=_stale_p95(slots, every),
    )


def _standard_error(values: Sequence[float], block: int) -> tuple[float, int]:
    """Of the mean of neighbouring values that are alike over `block` places, and its degrees of freedom."""
    count, mean = len(values), statistics.fmean(values)
    spread = sum((statistics.fmean(values[place : place + block]) - mean) ** 2 for place in range(count - block + 1))
    variance = block / ((count - block) * (count - block + 1)) * spread
    return math.sqrt(variance), max(1, math.floor(1.5 * (count / block - 1)))


def _slowest(rows: Sequence[CadenceRow], margin: float) -> int:
    """The slowest cadence up to which every loss is shown to be within the margin."""
    found = 1
    for row in rows[1:]:
        if not row.is_within(margin):
            break
        found = row.every
    return found


def _stale_p95(slots: Sequence[Slot], every: int) -> float | None:
    if any(len(slot.stale_s) < every for slot in slots):
        return None
    ages = sorted(age for slot in slots for age in slot.stale_s[:every])
    return ages[math.ceil(0.95 * len(ages)) - 1]

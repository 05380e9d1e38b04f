"""Whose is a change of speed: the machine's or the model's?

The engine of an earlier run was measured when it was made and is measured again today. What moved between the two is
the environment's, since the engine did not change; what lies today between it and the new engine is the model's.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from plaster_ops.domain import student
from plaster_ops.domain.card import MEASURED_STATUSES, Card, Reading
from plaster_ops.domain.changes import Change
from plaster_ops.domain.earlier import Earlier, error_of, spread_of
from plaster_ops.domain.judgement import DECIDED, AgainstHistory, Comparison, Judgement
from plaster_ops.domain.metrics import E2E_P50_MS, SLO_BATCH_COUNT, Letter, Metric, Scale
from plaster_ops.domain.rule import as_ratio, corrected, ruled_by_history

_FREEDOM = 6
"""Of the error that two readings' own intervals give, three processes each."""
_MOST_NAMED = 4


class Cause(StrEnum):
    """Where what is seen comes from."""

    ENVIRONMENT = "environment"
    MODEL = "model"
    BOTH = "both"
    NONE = "none"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Again:
    """One metric of the earlier engine: as it was logged, and as it was measured again today."""

    metric: Metric
    logged: float
    today: float
    found: AgainstHistory

    def to_json(self) -> dict[str, Any]:
        """A row of `assessment.environment.rows`."""
        return {
            "key": self.metric.key,
            "logged": self.logged,
            "today": self.today,
            "change_ratio": self.found.change,
            "ci95": list(self.found.ci95) if self.found.ci95 else None,
            "verdict": self.found.judgement.value,
            "detectable": self.found.detectable,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Attribution:
    """The answer, in one sentence, with the rows that it rests on."""

    cause: Cause
    sentence: str
    rows: tuple[Again, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """`assessment.environment`."""
        return {
            "cause": self.cause.value,
            "sentence": self.sentence,
            "rows": [row.to_json() for row in self.rows],
        }


def measured_again(
    logged: Card,
    today: Card,
    *,
    margins: Mapping[str, float],
    history: Mapping[str, Earlier],
    noise: Mapping[str, float] | None = None,
) -> tuple[Again, ...]:
    """Every timed metric that both cards hold by the same method, judged by the verdict rule; a family of its own.

    The error of the change is that of the two intervals, or that of two values of `history`, or half of `noise` (two
    copies side by side), whichever is largest. What is measured at the batch that won the search, samples and energy,
    is left out where another batch won that day: one number then says two things.
    """
    found = []
    batches = logged.value(SLO_BATCH_COUNT), today.value(SLO_BATCH_COUNT)
    moved_batch = None not in batches and batches[0] != batches[1]
    for row in today:
        if moved_batch and row.metric.letter in (Letter.THROUGHPUT, Letter.ENERGY):
            continue
        then = logged.find(row.metric)
        if _counts(row) and _counts(then) and row.metric.margin is not None and row.metric.scale is Scale.RATIO:
            assert isinstance(row, Reading)
            assert isinstance(then, Reading)
            if row.metric.method == then.metric.method and not row.metric.from_history:
                key = row.metric.key
                margin = margins.get(key, row.metric.margin)
                past = history.get(key, Earlier()).values
                found.append((row, then, _held(row, then, margin, past, (noise or {}).get(key, 0.0))))
    judged = corrected([held for _, _, held in found])
    return tuple(
        Again(metric=row.metric, logged=then.value, today=row.value, found=held)
        for (row, then, _), held in zip(found, judged, strict=True)
    )


def _counts(row: object) -> bool:
    return isinstance(row, Reading) and row.value > 0 and row.status in MEASURED_STATUSES


def _held(today: Reading, logged: Reading, margin: float, past: Sequence[float], noise: float) -> AgainstHistory:
    logs = [math.log(value) for value in past if value > 0]
    error, freedom = max(math.hypot(error_of(today), error_of(logged)), math.log1p(noise) / 2), _FREEDOM
    if logs:
        spread = spread_of(logs, math.log1p(margin))
        if math.sqrt(2 * spread.variance) > error:
            error, freedom = math.sqrt(2 * spread.variance), spread.freedom
    else:
        error = max(error, math.sqrt(2) * math.log1p(margin) / 2)
    shown = as_ratio(student.estimate(math.log(today.value / logged.value), error, freedom))
    return ruled_by_history(shown, margin, today.direction, today.metric.scale, n=len(logs))


def attribute(
    again: Sequence[Again], rows: Sequence[Comparison], *, then: str, changes: Sequence[Change] = ()
) -> Attribution:
    """`again`: see `measured_again`. `rows`: the comparison side by side. `then`: what the earlier run is called.

    `changes`: what is known to differ in the environment since.
    """
    moved = [row for row in again if row.found.judgement in DECIDED]
    timed = {row.metric.key for row in again}
    model = [row for row in rows if row.metric.key in timed and row.how == "remeasured" and row.judgement in DECIDED]
    if moved:
        sentence = f"{_moved(moved, then)}: that is the environment's{_named(changes)}, not the model's"
        if model:
            sentence += f"; beside it today the new engine has {_change(model)}: that is the model's"
        return Attribution(cause=Cause.BOTH if model else Cause.ENVIRONMENT, sentence=sentence, rows=tuple(again))
    still = any(row.found.judgement is Judgement.SAME for row in again)
    known = f"the engine of {then} runs as it was logged" if still else f"the engine of {then} was measured beside it"
    if model:
        sentence = f"{known}, so {_change(model)} of the new engine is the model's"
        return Attribution(cause=Cause.MODEL, sentence=sentence, rows=tuple(again))
    if still:
        return Attribution(cause=Cause.NONE, sentence=f"{known}, and the new one like it", rows=tuple(again))
    return Attribution(cause=Cause.UNKNOWN, sentence=_unknown(again, rows, then), rows=tuple(again))


def _unknown(again: Sequence[Again], rows: Sequence[Comparison], then: str) -> str:
    widths = [row.found.detectable for row in again if row.found.detectable is not None]
    beside = any(row.metric is E2E_P50_MS and row.how == "remeasured" and row.then is not None for row in rows)
    if not widths and beside:
        return f"the engine of {then} was measured today, but not on its own day: it cannot be told what moved since"
    if not widths:
        return f"the engine of {then} was not measured again"
    return f"whether the engine of {then} runs as it was logged cannot be told: only changes of {min(widths):.0%} show"


def _first(keys: Sequence[str]) -> int:
    return keys.index(E2E_P50_MS.key) if E2E_P50_MS.key in keys else 0


def _moved(moved: Sequence[Again], then: str) -> str:
    """`the engine of run #1 is 14 % slower than it was logged (e2e_p50_ms 1.2 -> 1.37)`."""
    row = moved[_first([each.metric.key for each in moved])]
    change = row.found.change or 0.0
    name = row.metric.key.partition("/")[2]
    if row.metric is E2E_P50_MS:
        how, named = f"is {abs(change):.0%} {'slower' if change > 0 else 'faster'} than it was logged", f"{name} "
    else:
        how, named = f"shows {name} {abs(change):.0%} {'above' if change > 0 else 'below'} what was logged", ""
    return f"the engine of {then} {how} ({named}{row.logged:.4g} -> {row.today:.4g})"


def _change(rows: Sequence[Comparison]) -> str:
    row = rows[_first([each.metric.key for each in rows])]
    return f"{row.metric.key.partition('/')[2]} {(row.change or 0.0) * 100:+.1f} %"


def _named(changes: Sequence[Change]) -> str:
    if not changes:
        return " (nothing that is recorded of it changed)"
    told = [change.sentence for change in changes[:_MOST_NAMED]]
    more = len(changes) - len(told)
    return f" ({', '.join(told)}{f' and {more} more' if more else ''})"

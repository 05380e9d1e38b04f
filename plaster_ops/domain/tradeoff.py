"""All letters of a comparison in one word and one sentence. They are never averaged: a gain does not pay for a loss."""

from collections.abc import Iterable, Sequence

from plaster_ops.domain.gates import GATE_METRICS
from plaster_ops.domain.judgement import Comparison, Judgement, ReasonCode
from plaster_ops.domain.metrics import Scale

COUNTED = frozenset(metric.key for metric in GATE_METRICS.values())
"""The metrics that gates may speak of: the seven headlines and the rolling score."""

_MISSING = frozenset(
    (ReasonCode.STORED, ReasonCode.HOLDOUT_DIFFERS, ReasonCode.FINGERPRINT_DIFFERS, ReasonCode.METHOD_DIFFERS)
)
"""Codes of rows that could have been judged and were not: they keep "better" from being said."""


def overall(rows: Iterable[Comparison]) -> Judgement:
    """worse if any counted metric is; better if one is, none is worse and none went unjudged for what is missing; same
    if all that could be judged are; else inconclusive. not_comparable where nothing could be held together."""
    counted = [row for row in _counted(rows) if row.judgement is not Judgement.NOT_COMPARABLE]
    words = {row.judgement for row in counted}
    if not words:
        return Judgement.NOT_COMPARABLE
    if Judgement.WORSE in words:
        return Judgement.WORSE
    if Judgement.BETTER in words:
        missing = any(row.judgement is Judgement.INCONCLUSIVE and row.code in _MISSING for row in counted)
        return Judgement.INCONCLUSIVE if missing else Judgement.BETTER
    return Judgement.SAME if words == {Judgement.SAME} else Judgement.INCONCLUSIVE


def tradeoff(rows: Iterable[Comparison], now: str, then: str) -> str | None:
    """Which letters gained and which lost, in Pareto's terms; None where none is known to have done either.

    `now`, `then`: what the two are called. One dominates the other only where every other letter is known to be the
    same.
    """
    counted = _counted(rows)
    gained = [row for row in counted if row.judgement is Judgement.BETTER]
    lost = [row for row in counted if row.judgement is Judgement.WORSE]
    is_open = [row for row in counted if row.judgement in (Judgement.INCONCLUSIVE, Judgement.NOT_COMPARABLE)]
    if gained and lost:
        return f"{now} trades {_named(lost)} for {_named(gained)}: no sum of them is made"
    if not gained and not lost:
        return None
    moved, verb, other = (gained, "dominates", "worse") if gained else (lost, "is dominated by", "better")
    if is_open:
        told = "better" if gained else "worse"
        return f"{now} is {told} than {then} in {_named(moved)}; not settled: {', '.join(_letters(is_open))}"
    return f"{now} {verb} {then}: {_named(moved)}, {other} in none"


def _counted(rows: Iterable[Comparison]) -> list[Comparison]:
    return [row for row in rows if row.metric.key in COUNTED]


def _letters(rows: Sequence[Comparison]) -> list[str]:
    return list(dict.fromkeys(row.metric.letter.value for row in rows))


def _named(rows: Sequence[Comparison]) -> str:
    return " and ".join(f"{row.metric.letter.value} ({_change(row)})" for row in rows)


def _change(row: Comparison) -> str:
    name = row.metric.key.partition("/")[2]
    if row.change is None:
        return name
    shown = f"{row.change:+.4f}" if row.metric.scale is Scale.DIFFERENCE else f"{row.change * 100:+.1f} %"
    return f"{name} {shown}"

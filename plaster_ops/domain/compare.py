"""Is this engine better, worse or the same as that one? Every judged metric of two cards, with its reasons.

What was measured side by side is judged by the rule of `rule`; Benjamini-Hochberg goes over all that were tested.
Beside each stands the other question, whether the retrain is out of the ordinary (`earlier`), a family of its own.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from plaster_ops.domain import student
from plaster_ops.domain.card import Card, Reading, Row, Status, Unmeasured
from plaster_ops.domain.earlier import PRIOR_WEIGHT, Earlier, against_earlier
from plaster_ops.domain.judgement import DECIDED, AgainstHistory, Comparison, Judgement, ReasonCode
from plaster_ops.domain.metrics import ARCHITECTURE, Scale
from plaster_ops.domain.rule import Ruling, as_ratio, corrected, direction, rule
from plaster_ops.domain.sample import PairedDifference, PairedRatios
from plaster_ops.domain.student import Estimate

FEWEST_RESAMPLED = 6
"""Samples that a resampled difference needs: were all on one side, a sign test of fewer could not reach 5 %."""

Values = Earlier | Sequence[float] | Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What two engines showed side by side: paired numbers by metric key, and this machine's A/A half-widths if known.

    `noise` maps a metric key to the half-width (in the metric's scale) that two copies of one engine show here.
    """

    ratios: Mapping[str, PairedRatios]
    differences: Mapping[str, PairedDifference]
    noise: Mapping[str, float] | None = None


def compare_cards(
    now: Card,
    then: Card,
    evidence: Evidence,
    *,
    margins: Mapping[str, float] | None = None,
    history: Mapping[str, Values] | None = None,
    recorded: Card | None = None,
    differing: Sequence[str] = (),
    how: str = "remeasured",
) -> tuple[Comparison, ...]:
    """Compares every judged metric of two cards.

    `margins` overrides default margins by key. `history` maps keys to the values of earlier retrains, newest last;
    they are held against those of `recorded`, the card as its retrain logged it (None: `now`), so that what was
    measured again is never mixed with what was stored. `differing` names fields that must be equal but are not: timed
    rows are then not comparable. Raises nothing: a row that cannot be judged says why.
    """
    asked, known = margins or {}, history or {}
    rows = corrected(
        [
            _compare_row(row, then.find(row.metric), evidence, asked, known, differing, how)
            for row in now
            if row.metric.margin is not None
        ]
    )
    logged = now if recorded is None else recorded
    past = [
        None
        if row.how == "history"
        else against_earlier(logged.find(row.metric), Earlier.of(known.get(row.metric.key)), row.limit or 0.0)
        for row in rows
    ]
    judged = iter(corrected([found for found in past if found is not None]))
    beside = [None if found is None else next(judged) for found in past]
    return tuple(_with_history(row, found) for row, found in zip(rows, beside, strict=True))


def _with_history(row: Comparison, found: AgainstHistory | None) -> Comparison:
    """A decided row that the history does not confirm keeps its verdict and says so."""
    if found is None:
        return row
    row = replace(row, history=found)
    if row.judgement not in DECIDED or row.p_value is None or found.p_value is None:
        return row
    if found.judgement is row.judgement:
        return row
    reason = f"{ReasonCode.WITHIN_SEED_SPREAD}: no more than retrains bring here ({found.n} earlier ones)"
    return replace(row, code=ReasonCode.WITHIN_SEED_SPREAD, reason=reason)


def _compare_row(
    now: Row,
    then: Row | None,
    evidence: Evidence,
    margins: Mapping[str, float],
    history: Mapping[str, Values],
    differing: Sequence[str],
    how: str,
) -> Comparison:
    metric = now.metric
    limit = margins.get(metric.key, metric.margin or 0.0)
    base = Comparison(
        metric=metric,
        judgement=Judgement.NOT_COMPARABLE,
        now=now.value if isinstance(now, Reading) else None,
        then=then.value if isinstance(then, Reading) else None,
        limit=limit,
        how=how,
        better=now.direction,
    )
    if metric.from_history:
        return _against_history(base, now, Earlier.of(history.get(metric.key)))
    missing = _why_missing(now, then)
    if missing:
        return replace(base, code=missing[0], reason=missing[1])
    assert isinstance(now, Reading)
    assert isinstance(then, Reading)
    for row in (now, then):
        if row.status in (Status.ESTIMATED, Status.SUSPECT):
            reason = f"{row.status.value}: shown, but decides nothing ({row.reason or 'see its card'})"
            code = ReasonCode(row.status.value)
            return replace(base, judgement=Judgement.INCONCLUSIVE, reason=reason, code=code)
    if metric.scale is Scale.EXACT:
        return _exact(base, now.value, then.value)
    if metric.scale is Scale.DIFFERENCE:
        return _paired_difference(base, evidence.differences.get(metric.key))
    if differing:
        reason = "not comparable: " + "; ".join(differing)
        return replace(base, reason=reason, code=ReasonCode.FINGERPRINT_DIFFERS)
    return _paired_ratio(base, evidence.ratios.get(metric.key), (evidence.noise or {}).get(metric.key))


def _why_missing(now: Row, then: Row | None) -> tuple[ReasonCode, str] | None:
    if isinstance(now, Unmeasured):
        return ReasonCode.NOT_MEASURED, f"not measured now: {now.reason}"
    if then is None:
        return ReasonCode.NOT_MEASURED, "not measured then: that run's card does not hold it"
    if isinstance(then, Unmeasured):
        return ReasonCode.NOT_MEASURED, f"not measured then: {then.reason}"
    if now.metric.method != then.metric.method:
        return ReasonCode.METHOD_DIFFERS, f"method {now.metric.method} against {then.metric.method}"
    return None


def _exact(base: Comparison, now: float, then: float) -> Comparison:
    if now == then:
        return replace(base, judgement=Judgement.SAME, change=0.0, reason="exact")
    change = now / then - 1.0 if then else math.copysign(1.0, now)
    limit = base.limit or 0.0
    if abs(change) <= limit:
        return replace(base, judgement=Judgement.SAME, change=change, reason="exact, within the margin")
    told = direction(base.better, change)
    if base.metric.key in ARCHITECTURE:
        code = ReasonCode.ARCHITECTURE_CHANGED
        return replace(base, judgement=told, change=change, reason=code.value, code=code)
    return replace(base, judgement=told, change=change, reason="exact")


def _paired_difference(base: Comparison, paired: PairedDifference | None) -> Comparison:
    if paired is None:
        assert base.now is not None
        assert base.then is not None
        code, reason = (
            (ReasonCode.STORED, "stored: the two engines were not scored side by side, so single samples are unknown")
            if base.how == "stored"
            else (
                ReasonCode.HOLDOUT_DIFFERS,
                "holdout_differs: the two runs were not scored on the same samples",
            )
        )
        change = base.now - base.then
        return replace(base, judgement=Judgement.INCONCLUSIVE, change=change, reason=reason, code=code)
    limit = base.limit or 0.0
    few = replace(
        base, judgement=Judgement.INCONCLUSIVE, change=paired.delta, ci95=None, code=ReasonCode.TOO_FEW_SAMPLES
    )
    if paired.ci95 is None or paired.ci90 is None or paired.p_value is None:
        why = "one says nothing of the spread" if paired.n == 1 else "the score is not defined on resamples of them"
        reason = f"undetermined with {paired.n} sample{'' if paired.n == 1 else 's'}: {why}"
        return replace(few, reason=reason)
    interval = Estimate(paired.delta, paired.ci95, paired.ci90, paired.p_value)
    if paired.method in ("paired_bootstrap", "paired_t") and paired.n < FEWEST_RESAMPLED:
        reason = f"undetermined with {paired.n} samples: fewer than {FEWEST_RESAMPLED} show no difference at 95 %"
        return replace(few, reason=reason)
    judged = _judge(base, interval, limit)
    if judged.judgement is not Judgement.INCONCLUSIVE or not paired.ci95[0] <= 0 <= paired.ci95[1]:
        return judged
    needed = samples_needed(paired, limit)
    more = f", about {needed} would tell" if needed else ""
    return replace(judged, reason=f"{judged.reason}; undetermined with {paired.n} samples{more}")


def samples_needed(paired: PairedDifference, margin: float) -> int | None:
    """Samples at which the intervals, narrowing with the root of n around the same difference, would settle it.

    Inside the margin its 90 % interval must fit in; beyond it the 95 % interval must exclude 0. None at the margin, and
    without intervals.
    """
    if paired.ci95 is None or paired.ci90 is None:
        return None
    room = margin - abs(paired.delta)
    low, high = paired.ci90 if room > 0 else paired.ci95
    allowed = room if room > 0 else abs(paired.delta)
    if abs(room) < 1e-9 or allowed <= 0:
        return None
    return max(paired.n + 1, math.ceil(paired.n * ((high - low) / 2 / allowed) ** 2))


def _paired_ratio(base: Comparison, paired: PairedRatios | None, noise: float | None) -> Comparison:
    limit = base.limit or 0.0
    if paired is None or not paired.per_process:
        assert base.now is not None
        assert base.then is not None
        change = base.now / base.then - 1.0 if base.then else None
        return replace(
            base,
            judgement=Judgement.INCONCLUSIVE,
            change=change,
            reason="stored: the engines were not measured side by side, so the machine's own drift is in the figure",
            code=ReasonCode.STORED,
        )
    shown = as_ratio(interval_of_processes(paired, limit))
    if noise is not None and noise > limit:
        return _beyond_noise(base, shown, noise)
    return _judge(base, shown, limit)


def _beyond_noise(base: Comparison, shown: Estimate, noise: float) -> Comparison:
    """On a machine noisier than the margin that noise is the margin; and two engines are never shown to be the same."""
    low, high = shown.ci95
    if (low > 0 or high < 0) and abs(shown.value) > noise:
        return _judge(base, shown, base.limit or 0.0)
    seen, margin = _told_apart(noise, base.limit or 0.0)
    return replace(
        base,
        judgement=Judgement.INCONCLUSIVE,
        change=shown.value,
        ci95=shown.ci95,
        reason=f"too_noisy: two copies of one engine differ by up to {seen} here, more than the margin {margin}",
        code=ReasonCode.TOO_NOISY,
        detectable=max(noise, (high - low) / 2),
    )


def _told_apart(one: float, other: float) -> tuple[str, str]:
    """Both as percentages, with as many places as it takes to see that they differ."""
    pairs = [(f"{one:.{places}%}", f"{other:.{places}%}") for places in range(1, 5)]
    return next((pair for pair in pairs if pair[0] != pair[1]), pairs[-1])


def interval_of_processes(paired: PairedRatios, limit: float) -> Estimate:
    """Moderated t interval of the mean log ratio over fresh processes.

    S^2 = (d0 s0^2 + (m-1) s^2) / (d0 + m - 1), df = d0 + m - 1, with prior s0 = the larger of a quarter of the margin
    and the typical within-process standard error. The unit of evidence is the process, not the request.
    """
    values = paired.per_process
    m = len(values)
    within = math.sqrt(statistics.fmean(error**2 for error in paired.within_se)) if paired.within_se else 0.0
    spread = student.moderated(
        statistics.variance(values) if m > 1 else 0.0,
        m - 1,
        prior=max(math.log1p(limit) / 4.0, within),
        weight=PRIOR_WEIGHT,
    )
    return student.estimate(statistics.fmean(values), student.error_of_mean(spread.variance, m), spread.freedom)


def _against_history(base: Comparison, now: Row, earlier: Earlier) -> Comparison:
    """One value against those of earlier retrains, where a retrain gives only one."""
    found = against_earlier(now, earlier, base.limit or 0.0)
    if found is None:
        return replace(base, reason="not measured now", code=ReasonCode.NOT_MEASURED)
    reason = found.reason
    if found.p_value is not None:
        reason = f"{reason or ''} (against {found.n} earlier retrains)".strip()
    return replace(
        base,
        how="history",
        judgement=found.judgement,
        change=found.change,
        ci95=found.ci95,
        p_value=found.p_value,
        reason=reason,
        code=found.code,
        detectable=found.detectable,
    )


def _judge(base: Comparison, interval: Estimate, margin: float) -> Comparison:
    """The row with the rule's verdict on that interval."""
    found: Ruling = rule(interval, margin, base.better, base.metric.scale)
    return replace(
        base,
        change=interval.value,
        ci95=interval.ci95,
        p_value=interval.p_value,
        judgement=found.judgement,
        reason=found.reason,
        code=found.code,
        detectable=found.detectable,
    )

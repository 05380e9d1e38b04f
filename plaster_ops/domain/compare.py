"""Is this engine better, worse or the same as that one? One rule for every letter, with its reasons.

worse / better: the 95 % interval excludes no change and the estimate lies beyond the margin, after Benjamini-Hochberg
over all tested letters. same: the 90 % interval lies inside the margin (two one-sided tests). Anything else is
inconclusive and says what would have been seen. "same" is never concluded from a large p-value.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from plaster_ops.domain import student
from plaster_ops.domain.card import Card, Reading, Row, Status, Unmeasured
from plaster_ops.domain.judgement import Comparison, Judgement
from plaster_ops.domain.metrics import ARCHITECTURE, Better, Scale
from plaster_ops.domain.sample import PairedDifference, PairedRatios
from plaster_ops.domain.student import Estimate

PRIOR_WEIGHT = 4
"""Degrees of freedom of the prior variance (moderated t): two or three processes do not pretend to certainty."""

FALSE_DISCOVERY_RATE = 0.05

FEWEST_RESAMPLED = 6
"""Samples that a resampled difference needs: were all on one side, a sign test of fewer could not reach 5 %."""

FEWEST_EARLIER = 3
"""Earlier retrains that a metric measured once a retrain needs before it is judged: two show no spread of their own."""


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
    history: Mapping[str, Sequence[float]] | None = None,
    differing: Sequence[str] = (),
    how: str = "remeasured",
) -> tuple[Comparison, ...]:
    """Compares every judged metric of two cards.

    `margins` overrides default margins by key. `history` maps keys that one retrain measures once to the values of
    earlier retrains, newest last. `differing` names fields that must be equal but are not: timed rows are then not
    comparable. Raises nothing: a row that cannot be judged says why.
    """
    rows = [
        _compare_row(row, then.find(row.metric), evidence, margins or {}, history or {}, differing, how)
        for row in now
        if row.metric.margin is not None
    ]
    return _correct_for_family(rows)


def _compare_row(
    now: Row,
    then: Row | None,
    evidence: Evidence,
    margins: Mapping[str, float],
    history: Mapping[str, Sequence[float]],
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
        return _against_history(base, history.get(metric.key, ()))
    missing = _why_missing(now, then)
    if missing:
        return replace(base, reason=missing)
    assert isinstance(now, Reading)
    assert isinstance(then, Reading)
    for row in (now, then):
        if row.status in (Status.ESTIMATED, Status.SUSPECT):
            reason = f"{row.status.value}: shown, but decides nothing ({row.reason or 'see its card'})"
            return replace(base, judgement=Judgement.INCONCLUSIVE, reason=reason)
    if metric.scale is Scale.EXACT:
        return _exact(base, now.value, then.value)
    if metric.scale is Scale.DIFFERENCE:
        return _paired_difference(base, evidence.differences.get(metric.key))
    if differing:
        return replace(base, reason="not comparable: " + "; ".join(differing))
    return _paired_ratio(base, evidence.ratios.get(metric.key), (evidence.noise or {}).get(metric.key))


def _why_missing(now: Row, then: Row | None) -> str | None:
    if isinstance(now, Unmeasured):
        return f"not measured now: {now.reason}"
    if then is None:
        return "not measured then: that run's card does not hold it"
    if isinstance(then, Unmeasured):
        return f"not measured then: {then.reason}"
    if now.metric.method != then.metric.method:
        return f"method {now.metric.method} against {then.metric.method}"
    return None


def _exact(base: Comparison, now: float, then: float) -> Comparison:
    if now == then:
        return replace(base, judgement=Judgement.SAME, change=0.0, reason="exact")
    change = now / then - 1.0 if then else math.copysign(1.0, now)
    limit = base.limit or 0.0
    if abs(change) <= limit:
        return replace(base, judgement=Judgement.SAME, change=change, reason="exact, within the margin")
    reason = "architecture_changed" if base.metric.key in ARCHITECTURE else "exact"
    return replace(base, judgement=_direction(base, change), change=change, reason=reason)


def _direction(base: Comparison, change: float) -> Judgement:
    rises = change > 0
    good = rises if base.better is Better.HIGHER else not rises
    return Judgement.BETTER if good else Judgement.WORSE


def _paired_difference(base: Comparison, paired: PairedDifference | None) -> Comparison:
    if paired is None:
        assert base.now is not None
        assert base.then is not None
        return replace(
            base,
            judgement=Judgement.INCONCLUSIVE,
            change=base.now - base.then,
            reason="stored: the two engines were not scored side by side, so nothing is known of single samples"
            if base.how == "stored"
            else "holdout_differs: the two runs were not scored on the same samples",
        )
    limit = base.limit or 0.0
    if paired.ci95 is None or paired.ci90 is None or paired.p_value is None:
        reason = f"undetermined with {paired.n} samples: the score is not defined on resamples of them"
        return replace(base, judgement=Judgement.INCONCLUSIVE, change=paired.delta, reason=reason)
    interval = Estimate(paired.delta, paired.ci95, paired.ci90, paired.p_value)
    if paired.method in ("paired_bootstrap", "paired_t") and paired.n < FEWEST_RESAMPLED:
        reason = f"undetermined with {paired.n} samples: fewer than {FEWEST_RESAMPLED} show no difference at 95 %"
        return replace(base, judgement=Judgement.INCONCLUSIVE, change=paired.delta, reason=reason)
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
        )
    interval = interval_of_processes(paired, limit)
    judged = _judge(base, _as_ratio(interval), limit)
    if noise is not None and noise > limit:
        seen, margin = _told_apart(noise, limit)
        reason = f"too_noisy: two copies of one engine differ by up to {seen} here, more than the margin {margin}"
        return replace(judged, judgement=Judgement.INCONCLUSIVE, reason=reason, p_value=None)
    return judged


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


def _against_history(base: Comparison, earlier: Sequence[float]) -> Comparison:
    """One value against those of earlier retrains: moderated t on the logs, prior sd half the margin."""
    past = [value for value in earlier if value > 0][-20:]
    if base.now is None or base.now <= 0:
        return replace(base, reason="not measured now")
    if len(past) < FEWEST_EARLIER:
        change = base.now / past[-1] - 1.0 if past else None
        reason = f"no_history: {len(past)} earlier retrains have this value, {FEWEST_EARLIER} are needed"
        return replace(base, judgement=Judgement.INCONCLUSIVE, change=change, reason=reason, how="history")
    limit = base.limit or 0.0
    logs = [math.log(value) for value in past]
    m = len(past)
    spread = student.moderated(
        statistics.variance(logs) if m > 1 else 0.0,
        m - 1,
        prior=math.log1p(limit) / 2.0,
        weight=0 if m >= 10 else PRIOR_WEIGHT,
    )
    error = math.sqrt(spread.variance * (1 + 1 / m))
    interval = student.estimate(math.log(base.now) - statistics.fmean(logs), error, spread.freedom)
    shown = replace(base, how="history")
    judged = _judge(shown, _as_ratio(interval), limit)
    return replace(judged, reason=f"{judged.reason or ''} (against {m} earlier retrain{'s' if m > 1 else ''})".strip())


def _as_ratio(interval: Estimate) -> Estimate:
    """An interval of log ratios as changes: 0.05 is five per cent more."""
    low, high = (math.expm1(bound) for bound in interval.ci95)
    inner_low, inner_high = (math.expm1(bound) for bound in interval.ci90)
    return Estimate(math.expm1(interval.value), (low, high), (inner_low, inner_high), interval.p_value)


def _judge(base: Comparison, interval: Estimate, margin: float) -> Comparison:
    """The rule, on changes: the interval and the margin are in the unit that is shown."""
    low, high = interval.ci95
    shown = replace(base, change=interval.value, ci95=interval.ci95, p_value=interval.p_value)
    excludes_zero = low > 0 or high < 0
    if excludes_zero and abs(interval.value) > margin:
        return replace(shown, judgement=_direction(base, interval.value))
    if interval.ci90[0] >= -margin and interval.ci90[1] <= margin:
        return replace(shown, judgement=Judgement.SAME)
    if excludes_zero:
        reason = "beyond_zero_within_margin: a small change, below the margin"
    else:
        reason = f"too_noisy: this comparison can show changes of {_amount(base, (high - low) / 2)} or more"
    return replace(shown, judgement=Judgement.INCONCLUSIVE, reason=reason)


def _amount(base: Comparison, half: float) -> str:
    return f"{half:.4f}" if base.metric.scale is Scale.DIFFERENCE else f"{half:.1%}"


def _correct_for_family(rows: Iterable[Comparison]) -> tuple[Comparison, ...]:
    """Benjamini-Hochberg over the rows with a p-value; a row that does not survive is no longer better or worse."""
    found = list(rows)
    tested = [i for i, row in enumerate(found) if row.p_value is not None]
    adjusted = benjamini_hochberg([found[i].p_value or 0.0 for i in tested])
    for i, p_adjusted in zip(tested, adjusted, strict=True):
        row = replace(found[i], p_adjusted=p_adjusted)
        decided = row.judgement in (Judgement.BETTER, Judgement.WORSE)
        if decided and p_adjusted > FALSE_DISCOVERY_RATE:
            reason = f"not significant after correction for {len(tested)} metrics (adjusted p {p_adjusted:.3f})"
            row = replace(row, judgement=Judgement.INCONCLUSIVE, reason=reason)
        found[i] = row
    return tuple(found)


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the given order (scipy.stats.false_discovery_control)."""
    import numpy as np
    from scipy.stats import false_discovery_control

    return [float(p) for p in false_discovery_control(np.clip(p_values, 0.0, 1.0))] if p_values else []

"""R over many retrains: how often, how fresh, how much. The journal's history as rows of a card."""

from collections.abc import Sequence
from dataclasses import dataclass

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Reading, Row, Unmeasured
from plaster_ops.plaster.adherence import Schedule, schedule_rows
from plaster_ops.plaster.deployments import (
    CYCLES,
    DAY_S,
    FEW,
    WEEK_S,
    Deployment,
    absorbed,
    done,
    possible_per_day,
    staleness_p95_s,
)
from plaster_ops.plaster.learning import given


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """What happened up to now, this retrain included.

    `now_s`: seconds since the epoch. `cycles_s`: seconds of finished retrains, oldest first, this one's so far last.
    `deployments`: every promotion, oldest first. `finished`: runs that ended with an engine; `promoted`: those of them
    that have been champion. `has_source`: whether the pipeline tells what is new. `schedule`: None where there is none,
    and `why_no_schedule`.
    """

    now_s: float
    cycles_s: Sequence[float]
    deployments: Sequence[Deployment]
    finished: int
    promoted: int
    has_source: bool
    schedule: Schedule | None = None
    why_no_schedule: str = "the pipeline has no cadence"


def pace_rows(pace: Pace) -> list[Row]:
    """The rows of the pace."""
    today = done(pace.deployments, pace.now_s, DAY_S)
    learned = absorbed(pace.deployments, pace.now_s) if pace.has_source else None
    why_not = (
        "a champion of the last 24 h does not tell what it learned" if pace.has_source else "no source is declared"
    )
    return [
        _possible(pace.cycles_s),
        Reading(metric=m.RETRAINS_DONE_PER_DAY, value=today),
        Reading(
            metric=m.RETRAINS_DONE_WEEKLY_PER_DAY,
            value=done(pace.deployments, pace.now_s, WEEK_S) / 7,
            reason=_why_few_days(pace),
        ),
        given(m.LEARNED_SAMPLES_PER_DAY, learned, why_not),
        *schedule_rows(pace.schedule, pace.why_no_schedule, pace.now_s),
        _staleness(pace),
        Reading(metric=m.PROMOTION_RATIO, value=pace.promoted / pace.finished, n=pace.finished)
        if pace.finished
        else Unmeasured(metric=m.PROMOTION_RATIO, reason="no run has finished"),
    ]


def _why_few_days(pace: Pace) -> str | None:
    """What to know of a mean over seven days where the pipeline is younger."""
    age_s = pace.now_s - min((each.at_s for each in pace.deployments), default=pace.now_s)
    return None if age_s >= WEEK_S else f"the first engine is {age_s / DAY_S:.1f} days old"


def _possible(cycles_s: Sequence[float]) -> Row:
    value = possible_per_day(cycles_s)
    if value is None:
        return Unmeasured(metric=m.RETRAINS_POSSIBLE_PER_DAY, reason="no retrain has finished")
    used = min(len(cycles_s), CYCLES)
    reason = f"fewer than {FEW} cycles: the longest counts" if used < FEW else None
    return Reading(metric=m.RETRAINS_POSSIBLE_PER_DAY, value=value, n=used, reason=reason)


def _staleness(pace: Pace) -> Row:
    found = staleness_p95_s(pace.deployments, pace.now_s)
    if found is None:
        told = any(each.newest_trained_at is not None for each in pace.deployments)
        reason = (
            "no champion before this one tells when its newest training datum came into being"
            if told
            else "the source does not say when its samples came into being"
        )
        return Unmeasured(metric=m.STALENESS_P95_S, reason=reason)
    return Reading(metric=m.STALENESS_P95_S, value=found[0], reason=f"watched for {found[1]:.0f} s")

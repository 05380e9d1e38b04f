"""R, rate of learning: from the trigger, and from the newest datum, to an accepted engine; all in between counts."""

from collections.abc import Mapping, Sequence
from typing import Any

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Reading, Row, Unmeasured
from plaster_ops.domain.metrics import Metric


def read(
    *,
    train_to_engine_s: float,
    cycle_s: float | None,
    fit: Mapping[str, Any],
    train_wall_s: float | None = None,
    restarts: int | None = None,
    new_samples: int | None = None,
    arrived_at_s: float | None = None,
    deployed_at_s: float | None = None,
) -> list[Row]:
    """All learning rows.

    `train_to_engine_s`: trigger to accepted engine, measuring excluded. `cycle_s`: the whole command; None while it
    still runs. `fit`: the fit's result mapping. `arrived_at_s`, `deployed_at_s`: seconds since the epoch when the
    newest datum used became visible and when the promoted engine first answered; None: unknown, not promoted.
    """
    rows: list[Row] = [
        Reading(metric=m.TRAIN_TO_ENGINE_S, value=train_to_engine_s),
        _given(m.CYCLE_S, cycle_s, "the command has not ended"),
        _given(m.TRAIN_WALL_S, train_wall_s, "the fit's wall time is not known"),
        _given(m.TRAIN_SAMPLES_PER_S, fit.get("train_samples_per_s"), "a batch does not tell its size"),
        _given(m.NEW_SAMPLES_COUNT, new_samples, "the source does not count its samples"),
        _given(m.EPOCHS_COUNT, fit.get("epochs"), "the fit did not count its epochs"),
        _given(m.RESTARTS_COUNT, restarts, "restarts were not counted"),
        _given(m.TIME_TO_TARGET_S, fit.get("time_to_target_s"), _why_no_target(fit.get("reached_target"))),
        _skew_row(fit.get("rank_times_s") or ()),
    ]
    if arrived_at_s is None:
        rows.append(Unmeasured(metric=m.DATA_TO_DEPLOY_S, reason="the source does not say when data arrived"))
    elif deployed_at_s is None:
        rows.append(Unmeasured(metric=m.DATA_TO_DEPLOY_S, reason="not promoted: nothing was deployed"))
    else:
        rows.append(Reading(metric=m.DATA_TO_DEPLOY_S, value=max(0.0, deployed_at_s - arrived_at_s)))
    return rows


def _given(metric: Metric, value: float | None, reason: str) -> Row:
    return Unmeasured(metric=metric, reason=reason) if value is None else Reading(metric=metric, value=value)


def _why_no_target(reached: bool | None) -> str:
    return "no target score was set" if reached is None else "the target score was not reached"


def _skew_row(rank_times_s: Sequence[float]) -> Row:
    if len(rank_times_s) < 2 or min(rank_times_s) <= 0:
        return Unmeasured(metric=m.DDP_RANK_SKEW_RATIO, reason="one rank")
    return Reading(metric=m.DDP_RANK_SKEW_RATIO, value=max(rank_times_s) / min(rank_times_s), n=len(rank_times_s))


def optimise_rows(
    how: Mapping[str, Any], refits: int, *, optimize_s: float | None = None, penalty_ratio: float | None = None
) -> list[Row]:
    """What the engine cost, and what putting weights into the last one saved. `how`: see `flow.optimise.Built`.

    `penalty_ratio`: p50 of the refitted engine / p50 of a full build of it, where both were measured side by side.
    """
    decision = str(how.get("decision", "build"))
    full_s, stage_s = how.get("full_build_stage_s"), how.get("stage_s")
    saved_s = None if decision == "build" or full_s is None or stage_s is None else float(full_s) - float(stage_s)
    return [
        _given(m.OPTIMIZE_S, optimize_s, "nothing was optimised"),
        Reading(metric=m.REFIT_USED_COUNT, value=1 if decision == "refit" else 0, reason=how.get("why") or None),
        Reading(metric=m.REFITS_SINCE_BUILD_COUNT, value=refits),
        _given(m.REFIT_SAVED_S, saved_s, f"the engine was built: {how.get('why') or decision}"),
        _given(
            m.REFIT_PENALTY_RATIO,
            penalty_ratio,
            "no refitted engine and full build of it were measured side by side in this retrain",
        ),
    ]

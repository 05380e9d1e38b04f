"""R, rate of learning: from the trigger, and from the newest datum, to an accepted engine; all in between counts.

The pace over many retrains is in `pace`.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Reading, Row, Status, Unmeasured
from plaster_ops.domain.metrics import Metric
from plaster_ops.plaster.ages import ages_at
from plaster_ops.plaster.convergence import Convergence
from plaster_ops.plaster.peaks import mfu_ratio, peak_flops_per_s

NOT_PROMOTED = "not promoted: nothing was deployed"
CLOCK_TOLERANCE_S = 1.0
"""Data that arrived later than it was read, by more than this: one of the clocks is wrong."""


def fit_rows(
    fit: Mapping[str, Any],
    *,
    restarts: int | None = None,
    resumes: int | None = None,
    new_samples: int | None = None,
    convergence: Convergence | None = None,
    race_s: float | None = None,
) -> list[Row]:
    """What one fit gave. `fit`: the fit's result mapping. `convergence`: the check of its samples to target.

    `race_s`: seconds that a race of two starts took; None where there was none. Where `fit` says `target_by` snapshots
    the target was looked for in them, with the pipeline's own score, and the row of the time tells both.
    """
    rate, ranks = fit.get("train_samples_per_s"), int(fit.get("world_size") or 0)
    why_no_rate = "no batch of known size came after the first tenth of the first epoch"
    why_no_target, note = _why_no_target(fit), _both_targets(fit)
    learned_reason = str(fit.get("learned_reason") or "the fit did not count them")
    samples = fit.get("samples_to_target")
    why_no_samples = learned_reason if fit.get("epochs_to_target") else why_no_target
    return [
        given(m.TRAIN_SAMPLES_PER_S, rate, why_no_rate),
        given(m.TRAIN_DEVICE_SAMPLES_PER_S, rate / ranks if rate is not None and ranks else None, why_no_rate),
        given(m.SAMPLES_LEARNED_COUNT, fit.get("samples_learned"), learned_reason),
        given(m.NEW_SAMPLES_COUNT, new_samples, "the source does not count its samples"),
        given(m.EPOCHS_COUNT, fit.get("epochs"), "the fit did not count its epochs"),
        given(m.RESTARTS_COUNT, restarts, "restarts were not counted"),
        given(m.RESUMES_COUNT, resumes, "resumes were not counted"),
        given(m.TIME_TO_TARGET_S, fit.get("time_to_target_s"), why_no_target, note),
        given(m.EPOCHS_TO_TARGET_COUNT, fit.get("epochs_to_target"), why_no_target),
        _samples_to_target(samples, convergence, why_no_samples),
        _skew_row(fit),
        given(m.RACE_S, race_s, "the start was not raced"),
    ]


def span_rows(
    *,
    train_to_engine_s: float,
    phases: Mapping[str, float],
    faults: Sequence[str] = (),
    schedule_delay_s: float | None = None,
    schedule_reason: str = "",
) -> list[Row]:
    """Where the seconds went. `train_to_engine_s`: trigger to accepted engine, measuring excluded. `phases`: seconds
    by phase and `cycle_s`, so far. `faults`: why they do not account for the cycle. `schedule_delay_s`: None where
    no slot was due, or it is not known when; `schedule_reason` says which."""
    broken = "; ".join(faults)
    status = Status.SUSPECT if faults else Status.MEASURED
    return [
        Reading(metric=m.TRAIN_TO_ENGINE_S, value=train_to_engine_s),
        Reading(metric=m.DATA_PREP_S, value=phases["data_s"]),
        Reading(metric=m.TRAIN_WALL_S, value=phases["launch_s"] + phases["fit_s"]),
        Reading(metric=m.EXPORT_S, value=phases["export_s"]),
        Reading(metric=m.EVAL_S, value=phases["eval_s"]),
        Reading(metric=m.CYCLE_S, value=phases["cycle_s"], status=status, reason=broken or None),
        given(m.SCHEDULE_DELAY_S, schedule_delay_s, schedule_reason or "the run was started for no slot"),
    ]


def deploy_rows(
    *,
    deploy_s: float | None,
    deployed_at_s: float | None,
    arrived_at_s: float | None,
    read_at_s: float | None = None,
    times: Mapping[str, Any] | None = None,
    new_samples: int | None = None,
) -> list[Row]:
    """From the data to the promoted engine.

    Instants are seconds since the epoch: `deployed_at_s` the promotion (None: not promoted), `arrived_at_s` when the
    newest datum used became visible, `read_at_s` when the data stage had read it. `times`: see `ages.summary`.
    """
    if deployed_at_s is None:
        metrics = (m.DEPLOY_S, m.DATA_TO_DEPLOY_S, m.DATA_AGE_AT_DEPLOY_P50_S, m.DATA_AGE_AT_DEPLOY_P95_S)
        return [Unmeasured(metric=metric, reason=NOT_PROMOTED) for metric in metrics]
    return [
        given(m.DEPLOY_S, deploy_s, "the promotion was not timed"),
        _data_to_deploy(deployed_at_s, arrived_at_s, read_at_s),
        *_age_rows(deployed_at_s, times, new_samples),
    ]


def staleness_row(*, newest_at_s: float | None, learned_at_s: float | None, has_champion: bool) -> list[Row]:
    """How far the champion was behind when this retrain began, on the clock of the data: seconds since the epoch when
    the newest datum there, and the newest that it was trained on, came into being; None where the source does not say.
    """
    if not has_champion:
        return [Unmeasured(metric=m.DATA_STALENESS_S, reason="there was no champion yet")]
    if newest_at_s is None or learned_at_s is None:
        reason = "the source does not say when its samples came into being"
        return [Unmeasured(metric=m.DATA_STALENESS_S, reason=reason)]
    return [Reading(metric=m.DATA_STALENESS_S, value=newest_at_s - learned_at_s)]


def _data_to_deploy(deployed_at_s: float, arrived_at_s: float | None, read_at_s: float | None) -> Row:
    if arrived_at_s is None:
        return Unmeasured(metric=m.DATA_TO_DEPLOY_S, reason="the source does not say when data arrived")
    known_by_s = deployed_at_s if read_at_s is None else read_at_s
    if arrived_at_s > known_by_s + CLOCK_TOLERANCE_S:
        reason = (
            f"the source says that data arrived {arrived_at_s - known_by_s:.0f} s after it was read: a clock is wrong"
        )
        return Unmeasured(metric=m.DATA_TO_DEPLOY_S, reason=reason)
    return Reading(metric=m.DATA_TO_DEPLOY_S, value=deployed_at_s - arrived_at_s)


def _age_rows(deployed_at_s: float, times: Mapping[str, Any] | None, new_samples: int | None) -> list[Row]:
    metrics = (m.DATA_AGE_AT_DEPLOY_P50_S, m.DATA_AGE_AT_DEPLOY_P95_S)
    known = int(times["samples"]) if times else 0
    if times is None or not known:
        reason = "the source does not say when its samples came into being"
        return [Unmeasured(metric=metric, reason=reason) for metric in metrics]
    if known != new_samples:
        reason = f"the source gives times for {known} of {new_samples} new samples"
        return [Unmeasured(metric=metric, reason=reason) for metric in metrics]
    if float(times["newest"]) > deployed_at_s + CLOCK_TOLERANCE_S:
        reason = "the source says that samples came into being after they were learned: a clock is wrong"
        return [Unmeasured(metric=metric, reason=reason) for metric in metrics]
    ages = ages_at(times, deployed_at_s)
    return [
        Reading(metric=metric, value=age_s, n=known)
        for metric, age_s in zip(metrics, ages, strict=True)
        if age_s is not None
    ]


def device_rows(
    fit: Mapping[str, Any],
    *,
    device: str,
    precision: str,
    forward_flops: float | None,
    one_rank_rates: Sequence[float],
) -> list[Row]:
    """How well the devices are used. `device`: what trained. `precision`: as Lightning's Trainer calls it.
    `forward_flops`: of one sample; None or 0: not counted. `one_rank_rates`: samples per second of earlier fits alike
    by one rank on such a device, oldest first; the median of the newest five counts."""
    ranks, rate = int(fit.get("world_size") or 0), fit.get("train_samples_per_s")
    efficiency: Row
    if ranks < 2:
        efficiency = Unmeasured(metric=m.DDP_EFFICIENCY_RATIO, reason="one rank")
    elif rate is None or not one_rank_rates:
        reason = f"no fit alike by one rank on {device} is in the history" if rate else "the rate is not known"
        efficiency = Unmeasured(metric=m.DDP_EFFICIENCY_RATIO, reason=reason)
    else:
        newest = one_rank_rates[-5:]
        alone = statistics.median(newest)
        shared = None if fit.get("device_name") else "the ranks share the cores of one machine"
        value = float(rate) / (ranks * alone)
        efficiency = Reading(metric=m.DDP_EFFICIENCY_RATIO, value=value, n=len(newest), reason=shared)
    peak = peak_flops_per_s(device, precision)
    missing = next(
        (
            reason
            for lacks, reason in (
                (peak is None, f"the peak of {device} in {precision} is not known"),
                (not forward_flops, "the model's FLOPs were not counted"),
                (rate is None, "the rate is not known"),
            )
            if lacks
        ),
        None,
    )
    if missing or peak is None or not forward_flops or rate is None:
        return [efficiency, Unmeasured(metric=m.MFU_RATIO, reason=str(missing))]
    value = mfu_ratio(forward_flops=forward_flops, samples_per_s=float(rate), devices=ranks, peak_per_s=peak)
    return [efficiency, Reading(metric=m.MFU_RATIO, value=value, reason="three times the forward's FLOPs a step")]


def given(metric: Metric, value: float | None, reason: str, note: str | None = None) -> Row:
    """A reading of the value, with that note; unmeasured for that reason where there is none."""
    if value is None:
        return Unmeasured(metric=metric, reason=reason)
    return Reading(metric=metric, value=value, reason=note)


def missing_rows(rows: Sequence[Row], reason: str) -> list[Row]:
    """Every metric of this letter that `rows` do not have, unmeasured for that reason."""
    present = {row.metric.key for row in rows}
    return [Unmeasured(metric=metric, reason=reason) for metric in m.LEARNING if metric.key not in present]


def _why_no_target(fit: Mapping[str, Any]) -> str:
    if fit.get("reached_target") is None:
        return "no target score was set"
    if fit.get("target_by") != "snapshots":
        return "the target score was not reached"
    logged = fit.get("logged_target_s")
    told = "" if logged is None else f"; the logged {fit.get('target_metric')} had it after {logged:.1f} s"
    return f"no snapshot's own score reached the target{told}"


def _both_targets(fit: Mapping[str, Any]) -> str | None:
    """Whose score it was that reached the target, where two were looked at."""
    if fit.get("target_by") != "snapshots":
        return None
    every = int(fit.get("looked_every") or 1)
    coarse = f", one every {every} epochs" if every > 1 else ""
    logged = fit.get("logged_target_s")
    beside = "did not" if logged is None else f"had it after {logged:.1f} s"
    return f"by the pipeline's score of its snapshots{coarse}; the logged {fit.get('target_metric')} {beside}"


def _samples_to_target(samples: int | None, convergence: Convergence | None, reason: str) -> Row:
    if samples is None or convergence is None:
        return given(m.SAMPLES_TO_TARGET_COUNT, samples, reason)
    status = Status.SUSPECT if convergence.flag else Status.MEASURED
    return Reading(metric=m.SAMPLES_TO_TARGET_COUNT, value=samples, status=status, reason=convergence.note)


def _skew_row(fit: Mapping[str, Any]) -> Row:
    works = fit.get("rank_works_s") or ()
    if int(fit.get("world_size") or 0) < 2:
        return Unmeasured(metric=m.DDP_RANK_SKEW_RATIO, reason="one rank")
    if len(works) < 2 or min(works) <= 0:
        reason = "a rank on a GPU works unseen: its time apart from waiting is not measured"
        return Unmeasured(metric=m.DDP_RANK_SKEW_RATIO, reason=reason)
    return Reading(metric=m.DDP_RANK_SKEW_RATIO, value=max(works) / min(works), n=len(works))


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
        given(m.OPTIMIZE_S, optimize_s, "nothing was optimised"),
        Reading(metric=m.REFIT_USED_COUNT, value=1 if decision == "refit" else 0, reason=how.get("why") or None),
        Reading(metric=m.REFITS_SINCE_BUILD_COUNT, value=refits),
        given(m.REFIT_SAVED_S, saved_s, f"the engine was built: {how.get('why') or decision}"),
        given(
            m.REFIT_PENALTY_RATIO,
            penalty_ratio,
            "no refitted engine and full build of it were measured side by side in this retrain",
        ),
    ]

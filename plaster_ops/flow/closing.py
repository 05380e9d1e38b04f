"""The end of a card: what is known only once a retrain is decided, and how it stands in the pipeline's history."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from plaster_ops.domain.card import Card
from plaster_ops.domain.metrics import (
    SAMPLES_TO_TARGET_COUNT,
    TRAIN_SAMPLES_PER_S,
    TRAIN_TO_ENGINE_S,
    Metric,
)
from plaster_ops.domain.slots import Slot
from plaster_ops.domain.timeline import Instant
from plaster_ops.flow import moments
from plaster_ops.flow import record as records
from plaster_ops.flow.context import Context
from plaster_ops.flow.curve import fit_with_target
from plaster_ops.flow.optimise import Built
from plaster_ops.flow.sections import data_section
from plaster_ops.flow.sheet import Sheet
from plaster_ops.flow.takeover import resumes
from plaster_ops.flow.timetable import schedule_of, slot_of
from plaster_ops.flow.train import Trained
from plaster_ops.plaster import learning, machine
from plaster_ops.plaster.convergence import Convergence, check
from plaster_ops.plaster.deployments import CYCLES, Deployment
from plaster_ops.plaster.pace import Pace, pace_rows
from plaster_ops.tracking.journal_learning import FitReading

_SAME_FIT = ("train.step_samples", "start", "train.tune", "train.target_score", "train.target_metric")


def write_fit(sheet: Sheet, ctx: Context, trained: Trained, built: Built, prepared: Mapping[str, Any]) -> None:
    """What the fit gave, held against earlier fits alike: same model, batch, start, what is tuned, and target."""
    fit = fit_with_target(ctx, trained)
    mine = records.fit_params(ctx, trained)
    earlier = _readings(ctx, SAMPLES_TO_TARGET_COUNT, built)
    alike = [
        each.value
        for each in earlier
        if all(each.params.get(key) == mine.get(key) for key in _SAME_FIT)
        and (each.tags.get(records.TARGET_BY) or "logged") == fit["target_by"]
    ]
    sheet.add(
        learning.fit_rows,
        fit,
        restarts=trained.restarts,
        resumes=resumes(ctx.journal, ctx.uid),
        new_samples=prepared["new_samples"],
        convergence=_convergence(fit, alike),
        race_s=trained.race_s,
    )
    _write_devices(sheet, ctx, trained, built)


def _convergence(fit: Mapping[str, Any], alike: Sequence[float]) -> Convergence | None:
    samples, epochs = fit.get("samples_to_target"), fit.get("epochs_to_target")
    looked = max(1, int(epochs or 0) // int(fit.get("looked_every") or 1))
    return check(int(samples), alike, looked) if samples and epochs else None


def _write_devices(sheet: Sheet, ctx: Context, trained: Trained, built: Built) -> None:
    result, device = trained.result, trained_on(trained)
    mine = records.fit_params(ctx, trained)
    rank_samples = (result.step_samples or 0) / result.world_size
    alone = [
        each.value
        for each in _readings(ctx, TRAIN_SAMPLES_PER_S, built)
        if each.params.get("train.devices") == "1"
        and float(each.params.get("train.step_samples", "nan")) == rank_samples
        and each.tags.get("plaster.trained_on") == device
        and _trainer(each.params) == _trainer(mine)
    ]
    macs = built.export["facts"].get("sample_macs")
    sheet.add(
        learning.device_rows,
        result.to_json(),
        device=device,
        precision=str(ctx.pipeline.train.trainer.get("precision", "32-true")),
        forward_flops=None if macs is None else 2.0 * float(macs),
        one_rank_rates=alone,
    )


def _trainer(params: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in params.items() if key.startswith("train.trainer.")}


def _readings(ctx: Context, metric: Metric, built: Built) -> list[FitReading]:
    """Earlier values of the same model, newest last."""
    graph = built.manifest["graph_digest"]
    found = ctx.journal.fit_readings(ctx.name, metric.key)
    return [each for each in found if each.tags.get("plaster.graph_digest") == graph]


def trained_on(trained: Trained) -> str:
    """The model of the device that trained."""
    return trained.result.device_name or machine.cpu_model()


def close(
    ctx: Context, told: records.Measured, slot: str | None, gate: Instant, faults: tuple[str, ...]
) -> records.Measured:
    """The card with the rows that the decision makes known, and the moments of the retrain.

    `gate`: when it was decided; a promotion is as of now. `faults`: what the self-test of the spans found by then.
    """
    now = ctx.timeline.now()
    deployed = now if told.decision.promotes else None
    times = told.prepared.get("times")
    read = ctx.journal.stages(ctx.uid).get("prepare", {}).get("ended") or {}
    mine = slot_of(ctx, slot)
    spread_s = 0.0 if mine is None else mine.due_s - mine.planned_s
    delay_s, why_no_delay = moments.schedule_delay(slot, moments.first_trigger(ctx), spread_s=spread_s)
    sheet = told.sheet
    rows = [
        *sheet.add(
            learning.span_rows,
            train_to_engine_s=told.card.value(TRAIN_TO_ENGINE_S) or 0.0,
            phases=ctx.timeline.to_json(),
            faults=faults,
            schedule_delay_s=delay_s,
            schedule_reason=why_no_delay,
        ),
        *sheet.add(
            learning.deploy_rows,
            deploy_s=now.offset_s - gate.offset_s,
            deployed_at_s=deployed.utc_s if deployed else None,
            arrived_at_s=told.prepared["arrived_at"],
            read_at_s=read.get("utc_s"),
            times=times,
            new_samples=told.prepared["new_samples"],
        ),
        *sheet.add(learning.staleness_row, **_behind(ctx, told.prepared)),
        *sheet.add(pace_rows, _pace(ctx, told.prepared, now, promoted=deployed is not None, mine=mine)),
    ]
    keys = {row.metric.key for row in rows}
    others = [row for row in told.card if row.metric.key not in keys]
    return replace(
        told,
        card=Card.of([*others, *rows]),
        timeline=moments.document(
            ctx,
            told.prepared,
            moments.Told(
                slot=slot,
                gate=gate,
                deployed=deployed,
                faults=faults,
                stage=told.trained.stage,
                fit=fit_with_target(ctx, told.trained),
            ),
        ),
    )


def _behind(ctx: Context, prepared: Mapping[str, Any]) -> dict[str, Any]:
    row = ctx.journal.champion(ctx.name)
    record = None if row is None else ctx.journal.record(row.uid)
    return {
        "newest_at_s": (prepared.get("times") or {}).get("newest"),
        "learned_at_s": None if record is None else record.data.get("newest_trained_at"),
        "has_champion": record is not None,
    }


def _pace(ctx: Context, prepared: Mapping[str, Any], now: Instant, *, promoted: bool, mine: Slot | None) -> Pace:
    data = data_section(prepared)
    now_s = now.utc_s if now.utc_s is not None else ctx.clock.now_utc()
    deployments = [_deployment(each.at_s, each.data, is_again=each.is_again) for each in ctx.journal.promoted(ctx.name)]
    if promoted:
        deployments.append(_deployment(now_s, data, is_again=False))
    champions, finished = ctx.journal.ended(ctx.name)
    schedule, why_not = schedule_of(ctx, mine, now_s)
    return Pace(
        now_s=now_s,
        cycles_s=[*ctx.journal.cycles_s(ctx.name, CYCLES - 1), now.offset_s],
        deployments=deployments,
        finished=finished + 1,
        promoted=champions + promoted,
        has_source=prepared["window"]["end"] is not None,
        schedule=schedule,
        why_no_schedule=why_not,
    )


def _deployment(at_s: float, data: Mapping[str, Any], *, is_again: bool) -> Deployment:
    return Deployment(
        at_s=at_s,
        absorbed=data.get("absorbed_samples"),
        newest_trained_at=data.get("newest_trained_at"),
        is_again=is_again,
    )

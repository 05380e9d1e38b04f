"""`retrain --dry-run`: what would be done, without training, building, or writing anything but the journal file."""

from collections.abc import Mapping
from typing import Any

from plaster_ops.engines.ladder import candidates, check_candidates
from plaster_ops.flow.baseline import Baseline, choose_baseline
from plaster_ops.flow.decide import decide_engine
from plaster_ops.flow.retrain import Request
from plaster_ops.flow.scratch import scratch_context
from plaster_ops.flow.sketches import inspection_spec
from plaster_ops.flow.start import SCRATCH, WARM, StartPlan
from plaster_ops.flow.train import check_train, plan_of, warm_weights
from plaster_ops.flow.wiring import open_ports
from plaster_ops.plaster.profiles import find_profile
from plaster_ops.settings import Settings
from plaster_ops.training.launchers.registry import name_for


def describe_plan(settings: Settings, name: str | None, request: Request) -> str:
    """The plan as lines of text. Raises what the retrain itself would raise before it trains."""
    found, pipeline = settings.pipeline(name)
    pipeline = request.applied_to(pipeline)
    check_candidates(pipeline.engine.backends, pipeline.engine.options)
    with (
        open_ports(settings) as ports,
        scratch_context(ports, found, pipeline, purpose="plan", tell=lambda _event: None) as ctx,
    ):
        check_train(pipeline.train, request.part.nodes)
        champion = choose_baseline(ports.journal, found, "champion")
        shown = choose_baseline(ports.journal, found, request.compare or "last")
        start = plan_of(ctx, champion, warm_weights(ctx, champion))
        spec = {**ctx.data_spec(arrived=True), "inspect": inspection_spec(ctx)}
        prepared = ctx.child("prepare", spec, timeout_s=pipeline.train.timeout_s)
        last = choose_baseline(ports.journal, found, "last")
        decided = decide_engine(ctx, last, force_ladder=request.ladder)
    window = prepared["window"]
    lines = [f"pipeline   {found} ({pipeline.ref})", f"data       source: {prepared['source']}"]
    if prepared["skip"]:
        return "\n".join([*lines, f"           would skip: {prepared['skip']}"])
    profile = find_profile(pipeline.measure.profile)
    server = ", server mode too" if pipeline.measure.server else ""
    lines += [
        f"           window {window['learned']} -> {window['cut']}, held out up to {window['end']}",
        f"           new {prepared['new_samples']}, train on {prepared['train_samples']}, "
        f"evaluate on {prepared['eval_samples']}, {_golden(prepared)}",
        *(f"           {note}" for note in (prepared.get("drift") or {}).get("notes", ())),
        f"start      {_start(start, champion)}",
        f"ranks      {pipeline.train.devices} x {request.part.nodes} node{'' if request.part.nodes == 1 else 's'}, "
        f"launcher {name_for(pipeline.train.launcher, request.part.nodes)}",
        f"engine     {_told(decided)}",
        "           "
        + "; ".join(
            f"{rung.backend} {rung.precision}" + (f" (not here: {rung.reason})" if rung.reason else "")
            for rung in candidates(pipeline.engine.backends, pipeline.engine.precisions, device=decided["device"])
        ),
        f"measure    {profile.name}, {profile.processes} fresh processes, about {profile.total_s:.0f} s{server}"
        if request.measure
        else "measure    nothing (--no-measure)",
        f"compare    {shown.which + ' = #' + str(shown.record.index) if shown else 'no earlier run: a baseline'}",
        *(
            f"gate       {gate.name}: {gate.metric.key} {gate.words}"
            for gate in pipeline.declared_gates(has_golden=prepared["golden_samples"] is not None)
        ),
    ]
    return "\n".join(lines)


def _golden(prepared: Mapping[str, Any]) -> str:
    count = prepared["golden_samples"]
    return "no golden set" if count is None else f"golden {count}"


def _start(plan: StartPlan, champion: Baseline | None) -> str:
    source = f" from #{champion.record.index}" if champion and plan.used == WARM else ""
    race = f", raced against {WARM if plan.used == SCRATCH else SCRATCH}" if plan.race else ""
    return f"{plan.used}{source}{race}: {plan.why}"


def _told(decided: Mapping[str, Any]) -> str:
    if decided["kind"] == "ladder":
        return f"every candidate is tried: {decided['why']}"
    engine = decided["last"]["engine"]
    again = "reused, refitted or built anew, as its digests say"
    how = f"built anew: {decided['rebuild']}" if decided["rebuild"] else again
    return f"{engine['backend']} {engine['precision']} of #{decided['last']['index']}, {how}"

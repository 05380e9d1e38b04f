"""`retrain --dry-run`: what would be done, without training, building, or writing anything but the journal file."""

import tempfile
from pathlib import Path

from plaster_ops.engines.ladder import candidates, engine_device
from plaster_ops.flow.baseline import choose_baseline
from plaster_ops.flow.retrain import Request
from plaster_ops.flow.wiring import open_ports
from plaster_ops.plaster.profiles import find_profile
from plaster_ops.processes.gang import Limits, run_stage
from plaster_ops.settings import Settings


def describe_plan(settings: Settings, name: str | None, request: Request) -> str:
    """The plan as lines of text. Raises what the retrain itself would raise before it trains."""
    found, pipeline = settings.pipeline(name)
    with open_ports(settings) as ports:
        seen, learned = ports.journal.watermarks(found)
        champion = choose_baseline(ports.journal, found, "champion")
        shown = choose_baseline(ports.journal, found, request.compare or "last")
    work = settings.memory / "work"
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work, prefix="plan-") as folder:
        prepared = run_stage(
            "prepare",
            {
                "reference": pipeline.ref,
                "project": str(settings.project),
                "seen": seen,
                "learned": learned,
                "needed": pipeline.trigger.min_new_samples,
            },
            folder=Path(folder),
            limits=Limits(timeout_s=pipeline.train.timeout_s, idle_s=None),
            on_event=lambda _event: None,
            project=settings.project,
            env={"PLASTER_PROJECT": str(settings.project)},
        )
    window = prepared["window"]
    lines = [f"pipeline   {found} ({pipeline.ref})", f"data       source: {prepared['source']}"]
    if prepared["skip"]:
        return "\n".join([*lines, f"           would skip: {prepared['skip']}"])
    device = engine_device(pipeline.engine.device, pipeline.engine.backends)
    profile = find_profile(request.profile or pipeline.measure.profile)
    lines += [
        f"           window {window['learned']} -> {window['cut']}, held out up to {window['end']}",
        f"           new {prepared['new_samples']}, train on {prepared['train_samples']}, "
        f"evaluate on {prepared['eval_samples']}, golden {prepared['golden_samples']}",
        f"start      {'scratch' if request.scratch or champion is None else pipeline.start}"
        + (f" from #{champion.record.index}" if champion and not request.scratch else ""),
        f"ranks      {request.devices or pipeline.train.devices} x {request.nodes or pipeline.train.nodes} node",
        "engines    "
        + "; ".join(
            f"{rung.backend} {rung.precision}" + (f" (not here: {rung.reason})" if rung.reason else "")
            for rung in candidates(pipeline.engine.backends, pipeline.engine.precisions, device=device)
        ),
        f"measure    {profile.name}, {profile.processes} fresh processes, about {profile.total_s:.0f} s"
        if request.measure
        else "measure    nothing (--no-measure)",
        f"compare    {shown.which + ' = #' + str(shown.record.index) if shown else 'no earlier run: a baseline'}",
        *(
            f"gate       {gate.name}: {gate.metric.key} may get worse by {gate.limit:g}"
            for gate in pipeline.declared_gates()
        ),
    ]
    return "\n".join(lines)

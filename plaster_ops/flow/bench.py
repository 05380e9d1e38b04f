"""`bench`: the ladder and the seven letters of a model without training it; nothing is recorded or promoted."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from plaster_ops.domain.card import Card
from plaster_ops.domain.run import RunRecord
from plaster_ops.domain.timeline import Phase
from plaster_ops.engines.artifact import Manifest, verify
from plaster_ops.engines.ladder import check_candidates, engine_device, stack
from plaster_ops.errors import BuildFailed, UsageError
from plaster_ops.flow.baseline import choose_baseline
from plaster_ops.flow.candidates import FAILURES, Opponent, evaluate, one_line
from plaster_ops.flow.cards import NOT_TIMED, machine_fingerprint, user_code, write_guesses, write_model, write_noise
from plaster_ops.flow.context import Context
from plaster_ops.flow.decide import wanted_engine
from plaster_ops.flow.ladder import Ladder, Rung, climb
from plaster_ops.flow.optimise import Built, export
from plaster_ops.flow.retrain import calibration_samples
from plaster_ops.flow.scratch import scratch_context
from plaster_ops.flow.sections import data_section, engine_section
from plaster_ops.flow.sheet import Sheet
from plaster_ops.flow.sidebyside import SideBySide, measure, with_missing, write_timed
from plaster_ops.flow.wiring import Ports, open_ports
from plaster_ops.plaster import accuracy, learning, phase_energy
from plaster_ops.ports import EventSink
from plaster_ops.report.json_text import run_payload
from plaster_ops.settings import Settings, explain_values
from plaster_ops.settings_sections import PipelineSettings

_WHY_NO_TRAINING = "bench trains nothing"


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchRequest:
    """What the command line asked for; None: as the settings say. `keep`: where the chosen engine is copied to."""

    pipeline: str | None = None
    backends: tuple[str, ...] | None = None
    precisions: tuple[str, ...] | None = None
    objective: str | None = None
    device: str | None = None
    threads: int | None = None
    profile: str = "smoke"
    server: bool = False
    measure: bool = True
    keep: Path | None = None


def run_bench(
    settings: Settings, target: str, request: BenchRequest, *, tell: EventSink, start_s: float
) -> dict[str, Any]:
    """A `--json` object for `target`: a pipeline, a run of one, or an engine folder.

    Raises `UsageError` for what is none of them, `BuildFailed` where no engine could be used.
    """
    if request.keep is not None and request.keep.exists():
        raise UsageError(f"--keep {request.keep}: exists already", "name a folder that does not exist yet")
    folder = Path(target)
    is_engine = (folder / "manifest.json").is_file()
    run = target if not is_engine and _names_a_run(target) else None
    name, pipeline = _pipeline(settings, None if is_engine or run else target, request)
    with (
        open_ports(settings) as ports,
        scratch_context(ports, name, pipeline, purpose="bench", tell=tell, start_s=start_s) as ctx,
    ):
        if is_engine:
            return _engine(ctx, folder.resolve(), target, request)
        return _model(ctx, ports, target, run, request)


def _names_a_run(target: str) -> bool:
    plain = target.lstrip("#")
    return plain.isdecimal() or (len(plain) >= 6 and all(c in "0123456789abcdef" for c in plain))


def _pipeline(settings: Settings, target: str | None, request: BenchRequest) -> tuple[str, PipelineSettings]:
    if target is not None and "/" in target:
        raise UsageError(f"{target!r} is no engine folder: it holds no manifest.json", "name the folder of an engine")
    name, pipeline = settings.pipeline(request.pipeline or target)
    changes = {
        "backends": request.backends,
        "precisions": request.precisions,
        "objective": request.objective,
        "device": request.device,
        "threads": request.threads,
    }
    plain = pipeline.model_dump()
    plain["engine"] |= {key: value for key, value in changes.items() if value is not None}
    plain["measure"] |= {"profile": request.profile} | ({"server": True} if request.server else {})
    try:
        return name, PipelineSettings.model_validate(plain)
    except ValueError as error:
        raise UsageError(f"that cannot be benched: {explain_values(error)}", "see: plaster-ops bench --help") from None


@dataclass(frozen=True, kw_only=True, slots=True)
class Climbed:
    """A ladder with the data and the export that it was built from."""

    prepared: Mapping[str, Any]
    exported: Mapping[str, Any]
    ladder: Ladder
    device: str


def build_ladder(ctx: Context, weights: str | None) -> Climbed:
    """Data, export and the ladder of the model with these weights (a file; None: as `model()` makes them).

    Its engines are in folders under `ctx.folder`. Raises `BuildFailed` where no engine could be used.
    """
    engine = ctx.pipeline.engine
    check_candidates(engine.backends, engine.options)
    device = engine_device(engine.device, engine.backends)
    prepared = _prepare(ctx)
    exported = ctx.once("export", Phase.EXPORT, lambda: export(ctx, weights, prepared, eager=device))
    ladder = climb(ctx, exported, str(exported["weights"]), prepared, device)
    return Climbed(prepared=prepared, exported=exported, ladder=ladder, device=device)


def _model(ctx: Context, ports: Ports, target: str, run: str | None, request: BenchRequest) -> dict[str, Any]:
    weights, whose = _weights(ctx, ports, run)
    climbed = build_ladder(ctx, weights)
    prepared, exported, ladder, device = climbed.prepared, climbed.exported, climbed.ladder, climbed.device
    engine = ctx.pipeline.engine
    stored = str(exported["weights"])
    rung, evaluation = _first_accepted(ctx, ladder, stored, prepared)
    how = {
        "decision": "build",
        "why": "bench",
        "chosen": ladder.why,
        "stage_s": rung.stage_s,
        "full_build_stage_s": rung.stage_s,
        "stack": stack(engine.backends, device),
        "wanted": wanted_engine(ctx.pipeline, ctx.project, device),
    }
    built = Built(
        folder=rung.folder,
        manifest=rung.manifest,
        export=exported,
        evaluation=evaluation,
        tried=tuple(ladder.rows),
        how=how,
    )
    measured = _measure(ctx, rung.folder, prepared["samples"], device, exported["eager"]) if request.measure else None
    if request.keep is not None:
        shutil.copytree(rung.folder, request.keep)
    return _payload(ctx, target, built, measured, [f"weights: {whose}", ladder.why], prepared)


def _first_accepted(
    ctx: Context, ladder: Ladder, weights: str, prepared: Mapping[str, Any]
) -> tuple[Rung, Mapping[str, Any]]:
    """The best engine that a second look accepts too, and its evaluation; marks it, and those refused, in the rows."""
    rows = {(row["backend"], row["precision"]): row for row in ladder.rows}
    for rung in ladder.rungs:
        label, engines = rung.candidate.label, [Opponent(label="now", folder=rung.folder)]
        row = rows[rung.candidate.backend, rung.candidate.precision]
        try:
            evaluation = ctx.once(
                f"evaluate {label}",
                Phase.EVAL,
                partial(evaluate, ctx, weights=weights, prepared=prepared, engines=engines, folder=f"evaluate-{label}"),
                within=(Phase.PARITY, "parity_s"),
            )
        except FAILURES as error:
            evaluation = {"accepted": False, "reason": one_line(error)}
        if evaluation["accepted"]:
            row["chosen"] = True
            return rung, evaluation
        row |= {"ok": False, "reason": evaluation["reason"]}
    reasons = "; ".join(f"{row['backend']} {row['precision']}: {row['reason']}" for row in ladder.rows)
    raise BuildFailed(f"no engine could be used: {reasons}", "see `plaster-ops engines` for the backends here")


def _weights(ctx: Context, ports: Ports, run: str | None) -> tuple[str | None, str]:
    """The weights file of the run, else of the champion, and whose they are; None for a model as it is made."""
    baseline = choose_baseline(ports.journal, ctx.name, run or "champion")
    if baseline is None:
        return None, "as model() makes them, untrained"
    file = baseline.record.weights_file
    if file and Path(file).is_file():
        return file, f"of run #{baseline.record.index}"
    if run:
        raise UsageError(f"the weights of run {run} are gone", "name another run, or the pipeline")
    return None, f"as model() makes them, untrained: those of champion #{baseline.record.index} are gone"


def _prepare(ctx: Context) -> dict[str, Any]:
    spec = ctx.data_spec(calibration_samples=calibration_samples(ctx))
    prepared = ctx.once("prepare", Phase.DATA, lambda: ctx.child("prepare", spec))
    if prepared["skip"]:
        raise UsageError(f"there is no data to measure with: {prepared['skip']}", "let data arrive, then try again")
    return prepared


def _measure(ctx: Context, folder: Path, samples: str, device: str, eager: str | None) -> SideBySide:
    with ctx.timeline.phase(Phase.MEASURE):
        engines = [Opponent(label="now", folder=folder)]
        return measure(ctx, engines, samples=samples, eager=Path(eager) if eager else None, device=device)


def _engine(ctx: Context, folder: Path, target: str, request: BenchRequest) -> dict[str, Any]:
    """A stored engine: measured and scored as it is, on the data of the pipeline that was named or is the default."""
    manifest = verify(folder)
    prepared = _prepare(ctx)
    evaluation = ctx.once(
        "evaluate",
        Phase.EVAL,
        lambda: evaluate(ctx, weights=None, prepared=prepared, engines=[Opponent(label="now", folder=folder)]),
    )
    device = manifest.spec.device
    measured = _measure(ctx, folder, prepared["samples"], device, None) if request.measure else None
    if request.keep is not None:
        shutil.copytree(folder, request.keep)
    built = _as_built(manifest, folder, evaluation)
    return _payload(ctx, target, built, measured, [f"engine {folder}, as it was built"], prepared)


def _as_built(manifest: Manifest, folder: Path, evaluation: Mapping[str, Any]) -> Built:
    plain = manifest.to_json() | {"folder": str(folder), "digest": manifest.digest}
    row = {
        "backend": manifest.spec.backend,
        "precision": manifest.spec.precision,
        "ok": True,
        "built": True,
        "chosen": True,
        "reason": None,
        "build_s": manifest.build_s,
        "engine_bytes": plain["engine_bytes"],
    }
    return Built(
        folder=folder,
        manifest=plain,
        export={"facts": {}, "inputs": plain["spec"]["inputs"]},
        evaluation=evaluation,
        tried=(row,),
        decision="reuse",
        how={"decision": "reuse", "why": "a stored engine"},
    )


def _payload(
    ctx: Context,
    target: str,
    built: Built,
    measured: SideBySide | None,
    reasons: Sequence[str],
    prepared: Mapping[str, Any],
) -> dict[str, Any]:
    evidence = measured.evidence if measured is not None else None
    sheet = Sheet(evidence, built.evaluation)
    if measured is not None:
        write_timed(sheet, measured, "now")
    write_model(sheet, built, evidence, user_code(ctx, built))
    sheet.add(accuracy.read, built.evaluation, "now", alone="bench compares with no other engine")
    write_guesses(sheet, ctx)
    write_noise(sheet, ctx, evidence, {})
    sheet.add(phase_energy.unmeasured, _WHY_NO_TRAINING)
    spent_s = sum(ctx.timeline.spent_s(phase) for phase in (Phase.EXPORT, Phase.BUILD, Phase.PARITY, Phase.EVAL))
    sheet.add(learning.optimise_rows, built.how, int(built.manifest["refits"]), optimize_s=spent_s)
    rows = [*sheet.rows, *learning.missing_rows(sheet.rows, _WHY_NO_TRAINING)]
    record = RunRecord(
        uid="",
        pipeline=ctx.name,
        index=0,
        trigger="manual",
        started_at="",
        ended_at="",
        verdict="benched",
        exit_code=0,
        reasons=tuple(reasons),
        fingerprint=machine_fingerprint(ctx, built, prepared, measured).to_json(),
        card=tuple(Card.of(with_missing(rows, NOT_TIMED)).to_json()),
        phases=ctx.timeline.to_json(),
        engine=engine_section(built),
        data=data_section(prepared),
    )
    payload = run_payload(record, dict.fromkeys(("tracking_uri", "experiment", "run_id", "model_version")))
    return payload | {"run": None, "target": target}

"""The record of a retrain, put together: what `--json` shows, and what the tracker keeps."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from plaster_ops import __version__
from plaster_ops.domain.card import Card
from plaster_ops.domain.fingerprint import Fingerprint
from plaster_ops.domain.judgement import Comparison
from plaster_ops.domain.run import RunRecord, Verdict
from plaster_ops.engines.artifact import read_manifest
from plaster_ops.errors import PlasterError
from plaster_ops.flow.assessment import Against, assess
from plaster_ops.flow.canary import CANARY
from plaster_ops.flow.code_identity import CODE_DIGEST, GIT, code_digest, code_of, git_state
from plaster_ops.flow.context import Context, adapter_files
from plaster_ops.flow.curve import CURVE
from plaster_ops.flow.curve import FORMAT as CURVE_FORMAT
from plaster_ops.flow.optimise import Built
from plaster_ops.flow.promote import Decision
from plaster_ops.flow.sections import data_section, datasets, engine_section
from plaster_ops.flow.sheet import Sheet
from plaster_ops.flow.sketches import SKETCH
from plaster_ops.flow.train import Trained
from plaster_ops.plaster import machine
from plaster_ops.plaster.answer_record import ANSWERS
from plaster_ops.tracking.journal_rows import RunRow

WORKING, SAMPLES, EVALUATION = "working.json", "samples", "evaluation.json"
"""Of the artifacts those that every number of the card can be had from once more."""

TARGET_BY = "plaster.target_by"
"""The tag that says in what a target was looked for: the `logged` metric, or the `snapshots`' scores."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """All that a finished retrain knows, before it is told."""

    prepared: Mapping[str, Any]
    trained: Trained
    built: Built
    card: Card
    rows: Sequence[Comparison]
    baseline: Mapping[str, Any] | None
    fingerprint: Fingerprint
    decision: Decision
    raw: Sequence[Path]
    sheet: Sheet
    """The working of the card."""
    terms: Mapping[str, Any] | None = None
    """On which terms `rows` were judged; see `sidebyside.terms_of`."""
    need: Mapping[str, Any] = field(default_factory=dict)
    """See `plaster.need.need_of`."""
    against: Against | None = None
    """The run that `rows` compare with."""
    curve: Mapping[str, Any] = field(default_factory=dict)
    """The section `curve` of `--json`."""
    timeline: Mapping[str, Any] = field(default_factory=dict)
    """The document of `moments`; empty until the card is closed."""


def finished(ctx: Context, row: RunRow, told: Measured, exit_code: int) -> RunRecord:
    """The record of a retrain that ended with an engine; writes its artifacts into `<run>/artifacts`."""
    window = told.prepared["window"]
    _write_artifacts(ctx, told)
    record = RunRecord(
        uid=ctx.uid,
        pipeline=ctx.name,
        index=ctx.index,
        trigger=row.trigger,
        slot=row.slot,
        started_at=row.started_at,
        ended_at=now_iso(),
        verdict=told.decision.verdict,
        exit_code=exit_code,
        reasons=told.decision.reasons,
        fingerprint=told.fingerprint.to_json(),
        baseline=told.baseline,
        card=tuple(told.card.to_json()),
        comparison=tuple(row.to_json() for row in told.rows),
        gates=told.decision.to_json(),
        phases=ctx.timeline.to_json(),
        engine=_engine_section(told),
        data=data_section(told.prepared),
        datasets=datasets(told.prepared),
        start=start_section(ctx, told),
        curve=told.curve,
        curves=(*told.trained.result.curves, *_scored_curve(told.trained)),
        params=_params(ctx, told),
        tags=_tags(ctx, told),
        artifacts=str(ctx.folder / "artifacts"),
        engine_folder=str(told.built.folder),
        weights_file=told.trained.weights,
        learned=window["cut"],
        seen=window["end"],
    )
    if told.against is None:
        return record
    return replace(record, assessment=assess(record, told.rows, told.against, ctx.pipeline.margins()))


def failed(ctx: Context, row: RunRow, error: PlasterError) -> RunRecord:
    """The record of a retrain that ended without an engine: how far it came, and why it stopped."""
    prepared = ctx.journal.stages(ctx.uid).get("prepare", {})
    return RunRecord(
        uid=ctx.uid,
        pipeline=ctx.name,
        index=ctx.index,
        trigger=row.trigger,
        slot=row.slot,
        started_at=row.started_at,
        ended_at=now_iso(),
        verdict=Verdict.FAILED,
        exit_code=int(error.exit_code),
        reasons=(error.message,),
        phases=ctx.timeline.to_json(),
        data=data_section(prepared),
        tags={"plaster.error": type(error).__name__, "plaster.version": __version__},
    )


def start_section(ctx: Context, told: Measured) -> dict[str, Any]:
    """The section `start` of `--json`; the next retrain decides by it."""
    return {"asked": ctx.pipeline.start, **told.trained.section(), "race_s": told.trained.race_s, **told.need}


def _scored_curve(trained: Trained) -> list[dict[str, Any]]:
    """The scores of the snapshots as points beside what the module logged."""
    return [
        {"key": "curve/rolling_score", "step": point["step"], "value": point["score"]}
        for point in trained.curve.get("points") or ()
        if point["score"] is not None
    ]


def _engine_section(told: Measured) -> dict[str, Any]:
    return {**engine_section(told.built), "start": told.trained.start}


def _params(ctx: Context, told: Measured) -> dict[str, str]:
    """Only what a human may have changed."""
    engine, measure = ctx.pipeline.engine, ctx.pipeline.measure
    plain: dict[str, Any] = {
        "ref": ctx.pipeline.ref,
        **fit_params(ctx, told.trained),
        "engine.backend": told.built.manifest["spec"]["backend"],
        "engine.precision": told.built.manifest["spec"]["precision"],
        "engine.objective": engine.objective,
        "engine.threads": engine.threads,
        **{f"engine.options.{name}": value for name, value in engine.options.items()},
        "engine.max_batch": ctx.pipeline.max_batch(),
        "measure.profile": measure.profile,
        "measure.slo_ms": measure.slo_ms,
    }
    return {name: str(value) for name, value in plain.items() if value is not None}


def fit_params(ctx: Context, trained: Trained) -> dict[str, str]:
    """The part of them that a fit depends on; `train.step_samples` are those behind one step of the optimiser."""
    train = ctx.pipeline.train
    plain: dict[str, Any] = {
        "start": trained.start,
        "train.devices": trained.result.world_size,
        "train.max_epochs": (train.warm_epochs if trained.start == "warm" else None) or train.max_epochs,
        "train.tune": ", ".join(train.tune) if trained.start == "warm" and train.tune else None,
        "train.patience": train.patience,
        "train.min_delta": train.min_delta if train.patience is not None else None,
        "train.step_samples": trained.result.step_samples,
        "train.target_score": train.target_score,
        "train.target_metric": train.target_metric if train.target_score is not None else None,
        "train.seed": train.seed,
        **{f"train.trainer.{name}": value for name, value in train.trainer.items()},
        **trained.result.hyperparameters,
    }
    return {name: str(value) for name, value in plain.items() if value is not None}


def _code_tags(ctx: Context, told: Measured) -> dict[str, str]:
    """The code that prepared the data and was exported, the adapters with it; the commit of the project."""
    adapters = code_of(map(Path, adapter_files(ctx.settings, ctx.pipeline)), ctx.project.resolve())
    digest = code_digest(told.prepared.get("code") or {}, told.built.export.get("code") or {}, adapters)
    return {CODE_DIGEST: digest, GIT: git_state(ctx.project)}


def _tags(ctx: Context, told: Measured) -> dict[str, str]:
    built, result, race = told.built, told.trained.result, told.trained.race or {}
    return {
        "plaster.graph_digest": built.manifest["graph_digest"],
        "plaster.weights_digest": built.manifest["weights_digest"],
        "plaster.engine_key": built.manifest["key"],
        "plaster.engine_decision": built.decision,
        "plaster.engine_why": str(built.how.get("why") or ""),
        "plaster.engine_chosen": str(built.how.get("chosen") or ""),
        "plaster.eval_digest": told.prepared["eval_digest"],
        "plaster.golden_digest": told.prepared["golden_digest"] or "",
        "plaster.lightning": result.lightning,
        "plaster.trained_on": result.device_name or machine.cpu_model(),
        "plaster.launcher": told.trained.launcher,
        "plaster.nodes": str(told.trained.nodes),
        **{f"plaster.env.{name}": value for name, value in told.trained.environment.items()},
        "plaster.warm_from": str(told.trained.warm_from or ""),
        "plaster.start_why": told.trained.why,
        "plaster.start_race": str(race.get("won") or ""),
        "plaster.stopped": str(result.stopped or ""),
        TARGET_BY: "snapshots" if told.trained.curve.get("points") else "logged",
        "plaster.gates": "; ".join(outcome.sentence for outcome in told.decision.gates),
        "plaster.energy.scope": _energy_scope(told.raw),
        "plaster.version": __version__,
        **_code_tags(ctx, told),
    }


def _energy_scope(raw: Sequence[Path]) -> str:
    """What the joules of the measurement are joules of; "none" where nothing was counted."""
    if not raw:
        return "none"
    energy = json.loads((raw[0] / "result.json").read_text(encoding="utf-8")).get("energy", {})
    return str(energy.get("scope") or "none")


def _write_artifacts(ctx: Context, told: Measured) -> None:
    """compare.json, timeline.json, parity.json, evaluation.json, manifest.json, every answer and the raw samples."""
    folder = ctx.folder / "artifacts"
    folder.mkdir(parents=True, exist_ok=True)
    answers = ctx.folder / str(told.built.evaluation.get("answers") or ANSWERS)
    documents = {
        "compare.json": {"baseline": told.baseline, "rows": [row.to_json() for row in told.rows]},
        "timeline.json": told.timeline,
        "parity.json": told.built.evaluation.get("parity"),
        EVALUATION: told.built.evaluation,
        "manifest.json": told.built.manifest,
        "graph.json": told.built.export.get("facts"),
        "ladder.json": {
            "why": told.built.how.get("why"),
            "chosen": told.built.how.get("chosen"),
            "tried": told.built.tried,
        },
        CURVE: {"format": CURVE_FORMAT, **told.trained.curve, "logged": list(told.trained.result.curves)},
        "start.json": start_section(ctx, told),
        WORKING: {"format": 1, "card": told.sheet.steps, "terms": told.terms, "answers": answers.is_file()},
        "gates.json": [outcome.to_json() for outcome in told.decision.gates],
    }
    for name, content in documents.items():
        text = json.dumps(content, ensure_ascii=False, indent=1, default=str)
        (folder / name).write_text(text, encoding="utf-8")
    if answers.is_file():
        shutil.copyfile(answers, folder / ANSWERS)
    canary = ctx.folder / str(told.built.evaluation.get("canary") or "")
    if canary.is_file():
        shutil.copyfile(canary, ctx.folder / CANARY)  # real inputs: beside the artifacts, so that no server gets them
    sketch = Path((told.prepared.get("drift") or {}).get("sketch") or "")
    if sketch.is_file():
        shutil.copyfile(sketch, folder / SKETCH)
    for process, raw in enumerate(told.raw):
        for kept in ("raw.npz", "result.json"):
            if (raw / kept).is_file():
                target = folder / SAMPLES / f"p{process}"
                target.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(raw / kept, target / kept)


def manifest_digest(built: Built) -> str:
    """The digest of the engine's manifest as it stands on disk."""
    return read_manifest(built.folder).digest


def now_iso() -> str:
    """Now, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat()

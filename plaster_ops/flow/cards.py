"""All seven letters of the new engine on one card."""

from collections.abc import Mapping
from typing import Any

from plaster_ops.domain.card import Card, Status
from plaster_ops.domain.fingerprint import Fingerprint
from plaster_ops.domain.gates import GateState
from plaster_ops.domain.metrics import E2E_P50_MS, GATE_PASSED_COUNT, ROLLING_SCORE, SLO_SAMPLES_PER_S
from plaster_ops.domain.timeline import Phase
from plaster_ops.engines.artifact import read_manifest
from plaster_ops.engines.registry import find_backend
from plaster_ops.flow.baseline import Baseline
from plaster_ops.flow.closing import write_fit
from plaster_ops.flow.context import Context
from plaster_ops.flow.noise import noise_of
from plaster_ops.flow.optimise import Built
from plaster_ops.flow.promote import Decision
from plaster_ops.flow.sections import input_shapes
from plaster_ops.flow.sheet import Sheet
from plaster_ops.flow.sidebyside import SideBySide, value_of, with_missing, write_timed
from plaster_ops.flow.takeover import count_resumes
from plaster_ops.flow.train import START_RACE, Trained
from plaster_ops.plaster import (
    accuracy,
    energy,
    energy_band,
    inputs,
    latency,
    learning,
    machine,
    phase_energy,
    programmability,
    size,
)
from plaster_ops.plaster.evidence import Evidence
from plaster_ops.plaster.noise import noise_rows
from plaster_ops.plaster.programmability import UserCode
from plaster_ops.plaster.turns import EAGER

_TENSORRT, _LEVEL = "tensorrt", "optimization_level"
_DIGESTS = ("train_digest", "eval_digest", "golden_digest")
NOT_TIMED = "not timed: --no-measure"


def build_card(
    ctx: Context,
    *,
    prepared: Mapping[str, Any],
    trained: Trained,
    built: Built,
    measured: SideBySide | None,
    accepted_s: float,
    noise: Mapping[str, float],
    baseline: str | None = None,
) -> tuple[Card, Sheet]:
    """Every row that this retrain can give before it is decided, and the working; `closing.close` gives the rest.

    `accepted_s`: seconds from the trigger to the accepted engine. `noise`: this machine's, as it was calibrated.
    """
    evidence = measured.evidence if measured is not None else None
    sheet = Sheet(evidence, built.evaluation)
    if measured is not None:
        write_timed(sheet, measured, "now")
    write_model(sheet, built, evidence, user_code(ctx, built), training(ctx, trained))
    sheet.add(accuracy.read, built.evaluation, "now", baseline=baseline)
    sheet.add(inputs.input_rows, (prepared.get("drift") or {}).get("figures"))
    write_guesses(sheet, ctx)
    spans = ctx.ledger.spans if ctx.ledger else ()
    sheet.add(phase_energy.read, spans, trained.result.to_json(), stage=trained.stage if trained.race else None)
    spent = (Phase.EXPORT, Phase.BUILD, Phase.PARITY, Phase.EVAL)
    sheet.add(
        learning.optimise_rows,
        built.how,
        int(built.manifest["refits"]),
        optimize_s=sum(ctx.timeline.spent_s(phase) for phase in spent) - aside_s(ctx),
        penalty_ratio=refit_penalty(built, evidence) if evidence else None,
    )
    sheet.add(learning.span_rows, train_to_engine_s=accepted_s, phases=ctx.timeline.to_json())
    write_fit(sheet, ctx, trained, built, prepared)
    write_noise(sheet, ctx, evidence, noise)
    return Card.of(with_missing(sheet.rows, NOT_TIMED)), sheet


def aside_s(ctx: Context) -> float:
    """Seconds of the phases of optimising that went into scoring weights: of a race, and of the learning curve."""
    stages = ctx.journal.stages(ctx.uid) if ctx.uid else {}
    return sum(float(stages.get(name, {}).get("took_s") or 0.0) for name in (START_RACE, "curve"))


def write_noise(sheet: Sheet, ctx: Context, evidence: Evidence | None, known: Mapping[str, float]) -> None:
    """How noisy the machine is: as it was calibrated and as this measurement shows, the larger of the two."""
    widths = noise_of(evidence, ("now",), ctx.pipeline.margins(), known) if evidence else dict(known)
    sheet.add(noise_rows, widths, "not calibrated, and too few turns to tell it from this measurement")


def write_guesses(sheet: Sheet, ctx: Context) -> None:
    """What the sheet lacks of energy: a reason where nothing was timed, and the guesses."""
    wanted = ctx.pipeline.measure
    present = {row.metric.key for row in sheet.rows}
    sheet.rows += [row for row in energy.unmeasured(NOT_TIMED) if row.metric.key not in present]
    part = energy_band.Part(tdp_w=wanted.cpu_tdp_w, threads=wanted.cpu_threads)
    sheet.add(energy_band.read, wanted.estimate_energy, part, value_of(sheet.rows, SLO_SAMPLES_PER_S.key))


def write_model(
    sheet: Sheet, built: Built, evidence: Evidence | None, user: UserCode, trained: size.Trained | None = None
) -> None:
    """P and S of an engine, after its latency; `trained` None where nothing was trained."""
    sheet.add(
        programmability.read,
        built.manifest,
        built.tried,
        p50_ms=value_of(sheet.rows, E2E_P50_MS.key),
        **(_beside_eager(sheet, evidence) if evidence else {}),
        decision=built.decision,
        ladder="chosen" in built.how,
        user=user,
    )
    sheet.add(
        size.read,
        built.export["facts"],
        built.manifest,
        evidence.results if evidence else (),
        package_bytes=size.folder_bytes(built.folder),
        engine_memory_bytes=evidence.engine_memory_bytes("now") if evidence else None,
        engine_memory_reason=evidence.why_no_memory("now") if evidence else "",
        trained=trained,
    )


def _beside_eager(sheet: Sheet, evidence: Evidence) -> dict[str, Any]:
    """Eager's median, as far as the engine's may be trusted; none where the two ran on different devices."""
    mine, theirs = evidence.device_of("now"), evidence.device_of(EAGER)
    if mine != theirs:
        return {"speedup_reason": f"eager ran on {theirs}, the engine on {mine}"}
    row = next((row for row in sheet.rows if row.metric is E2E_P50_MS), None)
    trust = {} if row is None or row.status is Status.MEASURED else {"status": row.status, "reason": row.reason}
    named = {f"speedup_{name}": value for name, value in trust.items()}
    return {"eager_p50_ms": latency.p50_ms(evidence, EAGER, EAGER), **named}


def training(ctx: Context, trained: Trained) -> size.Trained:
    """What the fit left on disk and took on its GPUs."""
    return size.Trained(
        checkpoint_bytes=size.checkpoint_bytes(ctx.folder / "checkpoints"),
        peak_gpu_bytes=trained.result.peak_gpu_bytes,
        on_gpu=trained.result.accelerator == "gpu",
    )


def user_code(ctx: Context, built: Built) -> UserCode:
    """What the user wrote and set for the engine of this run."""
    engine = ctx.pipeline.engine
    files = [ctx.project / file for file in engine.adapters]
    lines, unread = programmability.count_code_lines(files)
    kept_out = str(next((v for k, v in engine.options.items() if k.endswith("torch_executed_ops")), ""))
    return UserCode(
        adapter_lines=lines,
        unread=unread,
        adapters=len(files),
        options=len(engine.options),
        custom_ops=tuple(built.export["facts"].get("custom_ops") or ()),
        torch_executed=len([name for name in kept_out.split(",") if name.strip()]),
        resumes=count_resumes(ctx.journal.stages(ctx.uid)) if ctx.uid else 0,
    )


def refit_penalty(built: Built, evidence: Evidence) -> float | None:
    """p50 of the refitted engine / p50 of a full build under the same key, where today's measurement holds both."""
    mine = latency.p50_ms(evidence, "now")
    for opponent in built.opponents:
        other = read_manifest(opponent.folder)
        theirs = latency.p50_ms(evidence, opponent.label)
        if not other.key or other.key != built.manifest["key"] or not mine or not theirs:
            continue
        refits = int(built.manifest["refits"]), other.refits
        if (refits[0] == 0) != (refits[1] == 0):
            return mine / theirs if refits[0] else theirs / mine
    return None


def with_gate(card: Card, sheet: Sheet, decision: Decision, champion: Baseline | None) -> Card:
    """The card with what became of the accuracy gate."""
    outcome = next((o for o in decision.gates if o.gate.metric is ROLLING_SCORE), None)
    if champion is None:
        rows = sheet.add(accuracy.gate_rows, None, "the first retrain: there is no champion to hold it against")
    elif outcome is None:
        rows = sheet.add(accuracy.gate_rows, None, "no accuracy gate is declared")
    else:
        answers = {GateState.PASSED: True, GateState.FAILED: False}
        rows = sheet.add(accuracy.gate_rows, answers.get(outcome.state), outcome.sentence)
    return Card.of([*(other for other in card if other.metric.key != GATE_PASSED_COUNT.key), *rows])


def machine_fingerprint(
    ctx: Context, built: Built, prepared: Mapping[str, Any], measured: SideBySide | None = None
) -> Fingerprint:
    """This machine as the engine saw it; as environment also how it was built, and digests of the data."""
    spec = built.manifest["spec"]
    data = {f"data.{name.removesuffix('_digest')}": str(prepared[name])[:16] for name in _DIGESTS if prepared.get(name)}
    return machine.fingerprint(
        spec["device"],
        int(spec["threads"]),
        input_shapes(built.export),
        environment={
            "backend": spec["backend"],
            "precision": built.manifest["effective_precision"],
            **{f"engine.{name}": str(version) for name, version in built.manifest["versions"].items()},
            **_builder(ctx, spec),
            **data,
            **({"measure.affinity": measured.evidence.affinity} if measured else {}),
        },
    )


def _builder(ctx: Context, spec: Mapping[str, Any]) -> dict[str, str]:
    """TensorRT's optimisation level and the digest of its timing cache; nothing for builders that have neither.

    A backend of the user's own is not asked: its module stays out of this process.
    """
    if spec["backend"] != _TENSORRT:
        return {}
    level = spec["options"].get(_LEVEL, find_backend(_TENSORRT).capabilities().options[_LEVEL])
    timed = machine.timing_cache_digest(ctx.settings.memory / "cache")
    return {"builder.optimization_level": str(level), "builder.timing_cache": timed[:16] if timed else "none"}

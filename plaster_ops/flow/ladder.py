"""The ladder: all candidates built, tried on real data, raced, and ranked. What happened to each is a row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plaster_ops.domain.timeline import Phase
from plaster_ops.engines.artifact import engine_bytes, read_manifest
from plaster_ops.engines.choice import Raced, choose, finalists
from plaster_ops.engines.ladder import Candidate, candidates
from plaster_ops.errors import BuildFailed
from plaster_ops.flow.candidates import build_candidate
from plaster_ops.flow.context import Context
from plaster_ops.flow.race import race
from plaster_ops.flow.trial import try_candidates


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """An accepted engine of the ladder: its candidate, folder, manifest, and the seconds of its build stage."""

    candidate: Candidate
    folder: Path
    manifest: Mapping[str, Any]
    stage_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Ladder:
    """`rungs` from the best to the last, `rows` one a candidate in the order tried, `why` the best is best."""

    rungs: tuple[Rung, ...]
    rows: list[dict[str, Any]] = field(default_factory=list)
    why: str = ""


def climb(
    ctx: Context,
    exported: Mapping[str, Any],
    weights: str,
    prepared: Mapping[str, Any],
    device: str,
    tried: Mapping[str, str] | None = None,
) -> Ladder:
    """Builds, tries and ranks every candidate. `tried`: labels that have failed today already, with their reasons.

    Raises `BuildFailed` with every candidate's reason where no engine may be used.
    """
    calibration = prepared.get("calibration")
    listed = candidates(
        ctx.pipeline.engine.backends,
        ctx.pipeline.engine.precisions,
        device=device,
        no_calibration="" if calibration and calibration["file"] else _no_calibration(calibration),
    )
    rows = {c.label: _row(c, (tried or {}).get(c.label) or c.reason) for c in listed}
    for c in listed:
        if c.last_resort and not c.reason:
            rows[c.label]["reason"] = "the last resort: not needed"
    regular = [c for c in listed if not rows[c.label]["reason"]]
    built = {c.label: r for c in regular if (r := _build(ctx, c, exported, calibration, device, rows)) is not None}
    accepted = _try(ctx, exported, weights, prepared, built, rows)
    if not accepted:
        last = next((c for c in listed if c.last_resort and not c.reason), None)
        if last is not None:
            built = {last.label: _eager_rung(exported, last, rows)}
            accepted = _try(ctx, exported, weights, prepared, built, rows)
    if not accepted:
        reasons = "; ".join(f"{row['backend']} {row['precision']}: {row['reason']}" for row in rows.values())
        raise BuildFailed(
            f"no engine could be used: {reasons}",
            "see `plaster-ops engines` for the backends here, and the logs under " + str(ctx.folder),
        )
    return _rank(ctx, accepted, built, prepared, device, rows)


def _rank(
    ctx: Context,
    accepted: Sequence[Raced],
    built: Mapping[str, Rung],
    prepared: Mapping[str, Any],
    device: str,
    rows: dict[str, dict[str, Any]],
) -> Ladder:
    objective = ctx.pipeline.engine.objective
    raced = list(accepted)
    if len(accepted) > 1 and objective != "size":
        raced = best = finalists(accepted, objective)
        if len(best) > 1:
            folders = {engine.label: built[engine.label].folder for engine in best}
            result = race(ctx, best, folders, samples=prepared["samples"], device=device)
            raced = result.raced
            for engine in raced:
                rows[engine.label] |= _numbers(engine)
            for label, reason in result.failed.items():
                rows[label] |= {"ok": False, "reason": reason}
    chosen = choose(raced or list(accepted), objective, of=len(accepted))
    rest = [engine.label for engine in accepted if engine.label not in chosen.order and rows[engine.label]["ok"]]
    for place, label in enumerate([*chosen.order, *rest], start=1):
        rows[label] |= {"place": place}
    ctx.tell({"event": "note", "text": f"chosen for {objective}: {chosen.sentence}"})
    return Ladder(
        rungs=tuple(built[label] for label in [*chosen.order, *rest]),
        rows=list(rows.values()),
        why=f"{objective}: {chosen.sentence}",
    )


def _build(
    ctx: Context,
    candidate: Candidate,
    exported: Mapping[str, Any],
    calibration: Mapping[str, Any] | None,
    device: str,
    rows: dict[str, dict[str, Any]],
) -> Rung | None:
    """The built engine; None with its reason in the row where there is none that runs here."""
    row = rows[candidate.label]
    found = build_candidate(ctx, candidate, exported, calibration, device)
    row["stage_s"] = found["stage_s"]
    manifest = found["manifest"]
    if manifest is None:
        row["reason"] = found["reason"]
        return None
    row |= _facts(manifest)
    if candidate.only_built:
        row["reason"] = "built for its coverage: its engines do not run on this machine"
        return None
    return Rung(
        candidate=candidate, folder=Path(manifest["folder"]), manifest=manifest, stage_s=float(found["stage_s"])
    )


def _eager_rung(exported: Mapping[str, Any], candidate: Candidate, rows: dict[str, dict[str, Any]]) -> Rung:
    """The eager engine that the export made to be timed beside the others."""
    folder = Path(exported["eager"])
    manifest = read_manifest(folder)
    plain = manifest.to_json() | {"folder": str(folder), "digest": manifest.digest}
    rows[candidate.label] |= _facts(plain) | {"stage_s": manifest.build_s}
    return Rung(candidate=candidate, folder=folder, manifest=plain, stage_s=manifest.build_s)


def _try(
    ctx: Context,
    exported: Mapping[str, Any],
    weights: str,
    prepared: Mapping[str, Any],
    built: Mapping[str, Rung],
    rows: dict[str, dict[str, Any]],
) -> list[Raced]:
    """Those of the built engines that answer rightly and keep the score, with the trial's rough numbers."""
    if not built:
        return []
    folders = {label: rung.folder for label, rung in built.items()}
    name = "trial" if not next(iter(built.values())).candidate.last_resort else "trial-eager"
    results = ctx.once(
        name,
        Phase.EVAL,
        lambda: try_candidates(ctx, folders, exported, weights, prepared, name=name),
        within=(Phase.PARITY, "parity_s"),
    )["results"]
    accepted = []
    for label, rung in built.items():
        result = results[label]
        rows[label] |= _trial_numbers(result) | {"ok": result["accepted"], "reason": result["reason"] or None}
        if result["accepted"]:
            rate = result["rough_batch_ms"] and 1e3 * min(8, ctx.pipeline.max_batch()) / result["rough_batch_ms"]
            accepted.append(
                Raced(
                    label=label,
                    engine_bytes=engine_bytes(read_manifest(rung.folder)),
                    p50_ms=result["rough_ms"],
                    samples_per_s=rate,
                )
            )
    return accepted


def _row(candidate: Candidate, reason: str) -> dict[str, Any]:
    return {"backend": candidate.backend, "precision": candidate.precision, "ok": False, "reason": reason or None}


def _facts(manifest: Mapping[str, Any]) -> dict[str, Any]:
    coverage = manifest["coverage"]
    return {
        "built": True,
        "build_s": manifest["build_s"],
        "engine_bytes": manifest["engine_bytes"],
        "effective_precision": manifest["effective_precision"],
        "engine_flops_ratio": coverage["flops_ratio"],
        "engines_count": coverage["engines"],
        "fallback_ops": list(coverage["fallback_ops"]),
    }


def _trial_numbers(result: Mapping[str, Any]) -> dict[str, Any]:
    parity, retention = result.get("parity") or {}, result.get("retention") or {}
    return {
        "rel_err_max": parity.get("rel_err_max"),
        "score": retention.get("engine"),
        "reference_score": retention.get("reference"),
        "score_loss": retention.get("loss"),
        "score_loss_ci90": retention.get("loss_ci90"),
        "retained_ratio": retention.get("retained_ratio"),
        "rough_ms": result.get("rough_ms"),
    }


def _numbers(engine: Raced) -> dict[str, Any]:
    return {
        "p50_ms": engine.p50_ms,
        "samples_per_s": engine.samples_per_s,
        "slo_samples_per_s": engine.slo_samples_per_s,
        "inferences_per_j": engine.inferences_per_j,
        "cpu_time_per_inference_s": engine.cpu_s,
    }


def _no_calibration(calibration: Mapping[str, Any] | None) -> str:
    return str(calibration["reason"]) if calibration else "none was put aside"

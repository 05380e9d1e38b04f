"""What every candidate of an engine goes through in children of its own: a build, with limits, and its evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from plaster_ops.domain.timeline import Phase
from plaster_ops.engines.ladder import Candidate, ask_backend
from plaster_ops.engines.options import options_for
from plaster_ops.errors import BuildFailed, ChildFailed, PlasterError, TimedOut
from plaster_ops.flow.canary import CANARY
from plaster_ops.flow.context import Context
from plaster_ops.plaster.answer_record import ANSWERS

FAILURES = (BuildFailed, ChildFailed, TimedOut)
"""Ways in which one candidate may end without ending the retrain."""
_FREE_SHARE = 0.8


@dataclass(frozen=True, kw_only=True, slots=True)
class Opponent:
    """An engine to be measured against: `label` is how it is called in evidence, `folder` its engine folder."""

    label: str
    folder: Path


def build_spec(
    ctx: Context,
    candidate: Candidate,
    exported: Mapping[str, Any],
    calibration: Mapping[str, Any] | None,
    device: str,
    folder: Path,
) -> dict[str, Any]:
    """What the stage `build` is asked."""
    return {
        "program": exported["program"],
        "spec": engine_spec(ctx, candidate, calibration, device) | {"inputs": exported["inputs"]},
        "weights_digest": exported["weights_digest"],
        "graph_digest": exported["graph_digest"],
        "calibration": (calibration or {}).get("file"),
        "out": str(folder),
    }


def engine_spec(
    ctx: Context, candidate: Candidate, calibration: Mapping[str, Any] | None, device: str
) -> dict[str, Any]:
    """The `EngineSpec` of a candidate as JSON, without its inputs."""
    settings = ctx.pipeline.engine
    largest = ctx.pipeline.max_batch()
    capabilities = ask_backend(candidate.backend).capabilities
    schema = capabilities.options if capabilities else None
    options = options_for(settings.objective, candidate.backend, settings.options, schema)
    is_calibrated = candidate.precision in ("int8", "fp8")
    return {
        "backend": candidate.backend,
        "precision": candidate.precision,
        "device": device,
        "batch": [1, min(8, largest), largest],
        "threads": settings.threads,
        "options": {} if candidate.last_resort else options,
        "calibration": str((calibration or {}).get("digest") or "") if is_calibrated else "",
    }


def build_candidate(
    ctx: Context,
    candidate: Candidate,
    exported: Mapping[str, Any],
    calibration: Mapping[str, Any] | None,
    device: str,
    *,
    name: str | None = None,
) -> dict[str, Any]:
    """`{"manifest", "reason", "stage_s"}` of one build, kept in the journal; a failure is a reason, not an error.

    `stage_s` is the whole stage, the start of its process included.
    """
    rung = name or candidate.label

    def work() -> dict[str, Any]:
        folder = ctx.folder / f"engine-{rung}"
        began_s = ctx.clock.monotonic_s()
        manifest, reason = None, ""
        try:
            manifest = ctx.child(
                "build",
                build_spec(ctx, candidate, exported, calibration, device, folder),
                folder=f"build-{rung}",
                timeout_s=ctx.pipeline.engine.timeout_s,
                memory_bytes=memory_limit(ctx),
            )
        except FAILURES as error:
            reason = one_line(error)
            ctx.tell({"event": "note", "text": f"{candidate.backend} {candidate.precision}: {reason}"})
        return {"manifest": manifest, "reason": reason, "stage_s": ctx.clock.monotonic_s() - began_s}

    return ctx.once(f"build {rung}", Phase.BUILD, work)


def evaluate(
    ctx: Context,
    *,
    weights: str | None,
    prepared: Mapping[str, Any],
    engines: Sequence[Opponent],
    folder: str = "evaluate",
) -> dict[str, Any]:
    """Scores every engine on today's evaluation sets; the first is held against eager FP32 of `weights`, too.

    `answers` and `canary` of the result are the files, below the run's folder, that keep what each of them answered,
    and a few answers of the first as they are.
    """
    asked = {
        **evaluation_spec(ctx, weights, engines),
        "window": prepared["window"],
        "samples": prepared["samples"],
    }
    found = ctx.child(
        "evaluate",
        asked,
        folder=folder,
        timeout_s=ctx.pipeline.engine.timeout_s,
        memory_bytes=memory_limit(ctx),
    )
    return found | {"answers": f"{folder}/{ANSWERS}", "canary": f"{folder}/{CANARY}"}


def evaluation_spec(ctx: Context, weights: str | None, engines: Sequence[Opponent]) -> dict[str, Any]:
    """What the stage `evaluate` is asked, but for the data."""
    return {
        "reference": ctx.pipeline.ref,
        "project": str(ctx.project),
        "weights": weights,
        "engines": [{"label": e.label, "folder": str(e.folder)} for e in engines],
        "max_batch": ctx.pipeline.max_batch(),
        **score_limits(ctx),
    }


def score_limits(ctx: Context) -> dict[str, Any]:
    """How much of the score an engine must keep."""
    settings = ctx.pipeline.engine
    return {
        "retained_ratio": settings.retained_ratio,
        "max_lost_score": settings.max_lost_score,
        "inconclusive": settings.inconclusive,
    }


def memory_limit(ctx: Context) -> int:
    """What one child may take: as the settings say, or four fifths of what is free now."""
    return ctx.pipeline.engine.memory_bytes or int(_FREE_SHARE * psutil.virtual_memory().available)


def one_line(error: PlasterError) -> str:
    """The reason of a failed child in one line, with the last line of its log where it gave none itself."""
    text = error.message
    if isinstance(error, ChildFailed) and error.log_tail:
        text = f"{text}: {_telling_line(error.log_tail)}".removesuffix(": ")
    return " ".join(text.split())[:500]


def _telling_line(log: str) -> str:
    """Where Python was when the process died, if it wrote that down; else the last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip() and not line.startswith("Extension modules:")]
    frames = [line for line in lines if line.startswith('File "') and " in " in line]
    if any(line.startswith(("Fatal Python error:", "Current thread")) for line in lines) and frames:
        return frames[0]
    return lines[-1] if lines else ""

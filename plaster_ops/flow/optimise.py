"""From trained weights to an accepted engine: export once, build candidates, keep the first that proves itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plaster_ops.domain.timeline import Phase
from plaster_ops.engines.ladder import candidates
from plaster_ops.engines.registry import find_backend
from plaster_ops.errors import BuildFailed, ChildFailed, PlasterError, TimedOut, UsageError
from plaster_ops.flow.baseline import Baseline
from plaster_ops.flow.context import Context


@dataclass(frozen=True, kw_only=True, slots=True)
class Opponent:
    """An engine to be measured against: `label` is how it is called in evidence, `folder` its engine folder."""

    label: str
    folder: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """The accepted engine: its folder and manifest, the facts of its graph, how it scored, and all that was tried.

    `opponents` are the engines that were scored beside it.
    """

    folder: Path
    manifest: Mapping[str, Any]
    export: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    tried: tuple[Mapping[str, Any], ...]
    opponents: tuple[Opponent, ...] = ()

    def opponent_labels(self) -> tuple[str, ...]:
        """What the opponents are called."""
        return tuple(opponent.label for opponent in self.opponents)


def optimise(
    ctx: Context,
    *,
    weights: str,
    prepared: Mapping[str, Any],
    opponents_of: Callable[[Mapping[str, Any]], Sequence[Opponent]],
) -> Built:
    """Builds the engine of a retrain. Raises `BuildFailed` with every candidate's reason where none may be used.

    `opponents_of(exported)` gives the engines that the new one is scored against on the same samples.
    """
    exported = ctx.once("export", Phase.EXPORT, lambda: export(ctx, weights, prepared))
    opponents = opponents_of(exported)
    tried: list[dict[str, Any]] = []
    for backend, precision, refused in _ladder(ctx):
        row: dict[str, Any] = {"backend": backend, "precision": precision, "ok": False, "reason": refused}
        tried.append(row)
        if refused:
            continue
        try:
            manifest, evaluation, folder = _try_candidate(
                ctx, backend, precision, exported, weights, prepared, opponents
            )
        except (BuildFailed, ChildFailed, TimedOut) as error:
            row["reason"] = _one_line(error)
            ctx.tell({"event": "note", "text": f"{backend} {precision}: {row['reason']}"})
            continue
        row |= {"ok": True, "reason": None, "build_s": manifest.get("build_s")}
        return Built(
            folder=folder,
            manifest=manifest,
            export=exported,
            evaluation=evaluation,
            tried=tuple(tried),
            opponents=tuple(opponents),
        )
    reasons = "; ".join(f"{row['backend']} {row['precision']}: {row['reason']}" for row in tried)
    raise BuildFailed(
        f"no engine could be used: {reasons or 'no backend is configured'}",
        "see `plaster-ops doctor` for the backends here, and the logs under " + str(ctx.folder),
    )


def export(
    ctx: Context, weights: str, prepared: Mapping[str, Any], folder: str = "export", *, eager: bool = True
) -> dict[str, Any]:
    """Exports the model with those weights, with an eager engine beside it; the stage's result."""
    return ctx.child(
        "export",
        {
            "reference": ctx.pipeline.ref,
            "project": str(ctx.project),
            "weights": weights,
            "window": prepared["window"],
            "samples": prepared["samples"],
            "max_batch": ctx.pipeline.max_batch(),
            "device": "cpu",
            "eager": {"threads": ctx.pipeline.engine.threads} if eager else None,
        },
        folder=folder,
        timeout_s=ctx.pipeline.engine.timeout_s,
    )


def rebuild(ctx: Context, baseline: Baseline, prepared: Mapping[str, Any]) -> Opponent | None:
    """The engine of an earlier run built anew from its stored weights, on today's stack; None where that fails."""
    weights, engine = baseline.record.weights_file, baseline.record.engine
    if not weights or not Path(weights).is_file():
        return None
    name = f"rebuilt-{baseline.label}"
    ctx.tell(
        {"event": "note", "text": f"engine of run {baseline.record.index} is gone: rebuilding it from its weights"}
    )
    try:
        with ctx.timeline.phase(Phase.BUILD):
            exported = export(ctx, weights, prepared, folder=f"{name}-export", eager=False)
            folder = ctx.folder / name
            spec = _build_spec(ctx, engine["backend"], engine["precision"], exported, folder)
            ctx.child("build", spec, folder=f"{name}-build", timeout_s=ctx.pipeline.engine.timeout_s)
    except (BuildFailed, ChildFailed, TimedOut, UsageError, KeyError) as error:
        ctx.tell({"event": "note", "text": f"run {baseline.record.index} cannot be rebuilt: {error}"})
        return None
    return Opponent(label=baseline.label, folder=folder)


def _build_spec(
    ctx: Context, backend: str, precision: str, exported: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    settings = ctx.pipeline.engine
    largest = ctx.pipeline.max_batch()
    return {
        "program": exported["program"],
        "spec": {
            "backend": backend,
            "precision": precision,
            "device": "cpu",
            "inputs": exported["inputs"],
            "batch": [1, min(8, largest), largest],
            "threads": settings.threads,
            "options": dict(settings.options),
        },
        "weights_digest": exported["weights_digest"],
        "graph_digest": exported["graph_digest"],
        "out": str(folder),
    }


def _ladder(ctx: Context) -> list[tuple[str, str, str]]:
    """`(backend, precision, why not)` in the order of preference."""
    wanted = ctx.pipeline.engine
    rungs = candidates(wanted.backends, wanted.precisions, lambda name: find_backend(name).probe())
    return [(rung.backend, rung.precision, rung.reason) for rung in rungs]


def _try_candidate(
    ctx: Context,
    backend: str,
    precision: str,
    exported: Mapping[str, Any],
    weights: str,
    prepared: Mapping[str, Any],
    opponents: Sequence[Opponent],
) -> tuple[dict[str, Any], dict[str, Any], Path]:
    settings = ctx.pipeline.engine
    rung = f"{backend.replace(':', '.')}-{precision}"
    folder = ctx.folder / f"engine-{rung}"
    spec = _build_spec(ctx, backend, precision, exported, folder)
    manifest = ctx.once(
        f"build {rung}",
        Phase.BUILD,
        lambda: ctx.child("build", spec, folder=f"build-{rung}", timeout_s=settings.timeout_s),
    )
    evaluation = ctx.once(
        f"evaluate {rung}",
        Phase.EVAL,
        lambda: evaluate(
            ctx,
            weights=weights,
            prepared=prepared,
            engines=[Opponent(label="now", folder=folder), *opponents],
            folder=f"evaluate-{rung}",
        ),
        within=(Phase.PARITY, "parity_s"),
    )
    if not evaluation["accepted"]:
        raise BuildFailed(evaluation["reason"])
    return manifest, evaluation, folder


def evaluate(
    ctx: Context,
    *,
    weights: str | None,
    prepared: Mapping[str, Any],
    engines: Sequence[Opponent],
    folder: str = "evaluate",
) -> dict[str, Any]:
    """Scores every engine on today's evaluation sets; the first is held against eager FP32 of `weights`, too."""
    asked = {
        **evaluation_spec(ctx, weights, engines),
        "window": prepared["window"],
        "samples": prepared["samples"],
    }
    return ctx.child("evaluate", asked, folder=folder, timeout_s=ctx.pipeline.engine.timeout_s)


def evaluation_spec(ctx: Context, weights: str | None, engines: Sequence[Opponent]) -> dict[str, Any]:
    """What the stage `evaluate` is asked, but for the data."""
    return {
        "reference": ctx.pipeline.ref,
        "project": str(ctx.project),
        "weights": weights,
        "engines": [{"label": e.label, "folder": str(e.folder)} for e in engines],
        "max_batch": ctx.pipeline.max_batch(),
        "retained_ratio": ctx.pipeline.engine.retained_ratio,
        "max_lost_score": ctx.pipeline.engine.max_lost_score,
    }


def _one_line(error: PlasterError) -> str:
    text = error.message
    if isinstance(error, ChildFailed) and error.log_tail:
        last = [line for line in error.log_tail.strip().splitlines() if line.strip()]
        text = f"{text}: {last[-1].strip()}" if last else text
    return " ".join(text.split())[:500]

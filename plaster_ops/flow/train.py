"""The training step of a retrain: warm from the champion or from scratch, by a gang of ranks."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plaster_ops.domain.timeline import Phase
from plaster_ops.flow.baseline import Baseline
from plaster_ops.flow.context import Context
from plaster_ops.processes.gang import Limits
from plaster_ops.settings_sections import Train
from plaster_ops.training.launch import fit, place_of
from plaster_ops.training.launchers.registry import find_launcher, name_for
from plaster_ops.training.messages import FitResult, FitSpec
from plaster_ops.training.network import recorded


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What the fit gave, how it was started, and how often the gang was restarted."""

    result: FitResult
    start: str
    restarts: int
    warm_from: int | None
    launcher: str = "local"
    nodes: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of NCCL, gloo and torch that were set for it."""

    @property
    def weights(self) -> str:
        """The weights file."""
        return self.result.weights_file


def train(ctx: Context, prepared: Mapping[str, Any], champion: Baseline | None) -> Trained:
    """Trains on the prepared window. Raises `TrainingFailed`, `TimedOut`, `Interrupted`."""
    warm = _warm_start(ctx, champion)
    settings = ctx.pipeline.train
    check_train(settings, ctx.part.nodes)
    spec = FitSpec(
        reference=ctx.pipeline.ref,
        project=str(ctx.project),
        window=prepared["window"],
        max_epochs=settings.max_epochs,
        checkpoint_folder=str(ctx.folder / "checkpoints"),
        start="warm" if warm else "scratch",
        warm_weights=str(warm) if warm else None,
        devices=settings.devices,
        nodes=ctx.part.nodes,
        threads=settings.threads,
        seed=settings.seed,
        target_score=settings.target_score,
        target_metric=settings.target_metric,
        target_higher_is_better=prepared["better"] != "lower",
        trainer=settings.trainer,
    )
    done = ctx.once("fit", Phase.LAUNCH, lambda: _fit(ctx, spec), within=(Phase.FIT, "gained_s"))
    return Trained(
        result=FitResult.from_json(done["result"]),
        start=spec.start,
        restarts=int(done["restarts"]),
        launcher=str(done.get("launcher", "local")),
        nodes=int(done.get("nodes", 1)),
        environment=dict(done.get("environment", {})),
        warm_from=champion.record.index if warm and champion else None,
    )


def check_train(settings: Train, nodes: int = 1) -> None:
    """Raises `UsageError` for a launcher, nodes or devices that no fit can have here."""
    find_launcher(settings.launcher, nodes)
    place_of(settings.devices)


def _fit(ctx: Context, spec: FitSpec) -> dict[str, Any]:
    settings = ctx.pipeline.train
    moments: dict[str, Any] = {}

    def tell(event: Mapping[str, Any]) -> None:
        """Keeps when training began first and ended last; the other ranks do so within the same step."""
        kind = str(event.get("event"))
        if kind == "fit_ended" or (kind == "fit_started" and kind not in moments):
            moments[kind] = ctx.timeline.now().to_json()
        ctx.tell(event)

    outcome = fit(
        spec,
        folder=ctx.folder / "fit",
        limits=Limits(timeout_s=settings.timeout_s, idle_s=settings.idle_timeout_s),
        on_event=tell,
        max_restarts=settings.max_restarts,
        launcher=settings.launcher,
        nodes=ctx.nodes,
    )
    return {
        "result": outcome.result.to_json(),
        "gained_s": outcome.wall_s - outcome.launch_s,
        "restarts": outcome.restarts,
        "attempts": outcome.attempts,
        "launcher": name_for(settings.launcher, spec.nodes),
        "nodes": spec.nodes,
        "environment": recorded(os.environ),
        "began": moments.get("fit_started"),
        "trained": moments.get("fit_ended"),
    }


def _warm_start(ctx: Context, champion: Baseline | None) -> Path | None:
    """The champion's weights; None for a scratch start, or where there is no champion with weights."""
    if ctx.pipeline.start == "scratch" or champion is None:
        return None
    weights = champion.record.weights_file
    if weights is None or not Path(weights).is_file():
        ctx.tell({"event": "note", "text": f"weights of champion #{champion.record.index} are gone: from scratch"})
        return None
    return Path(weights)

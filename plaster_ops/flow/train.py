"""The training step of a retrain: warm from the champion or from scratch, by a gang of ranks."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plaster_ops.domain.timeline import Phase
from plaster_ops.errors import UsageError
from plaster_ops.flow.baseline import Baseline
from plaster_ops.flow.context import Context
from plaster_ops.processes.gang import Limits
from plaster_ops.settings_sections import Train
from plaster_ops.training.launch import fit, place_of
from plaster_ops.training.messages import FitResult, FitSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What the fit gave, how it was started, and how often the gang was restarted."""

    result: FitResult
    start: str
    restarts: int
    warm_from: int | None
    prepared: dict[str, Any]
    """As it was handed in, with the window, count and digest of what this start was really trained on."""

    @property
    def weights(self) -> str:
        """The weights file."""
        return self.result.weights_file


def train(ctx: Context, prepared: Mapping[str, Any], champion: Baseline | None) -> Trained:
    """Trains on the prepared window. Raises `TrainingFailed`, `TimedOut`, `Interrupted`."""
    warm = _warm_start(ctx, champion)
    prepared = _replaying(ctx, prepared) if warm else prepared
    settings = ctx.pipeline.train
    check_train(settings)
    spec = FitSpec(
        reference=ctx.pipeline.ref,
        project=str(ctx.project),
        window=prepared["window"],
        max_epochs=settings.max_epochs,
        checkpoint_folder=str(ctx.folder / "checkpoints"),
        start="warm" if warm else "scratch",
        warm_weights=str(warm) if warm else None,
        devices=settings.devices,
        nodes=settings.nodes,
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
        warm_from=champion.record.index if warm and champion else None,
        prepared=dict(prepared),
    )


def _replaying(ctx: Context, prepared: Mapping[str, Any]) -> Mapping[str, Any]:
    """With a draw of old rows in the place of all of them, where the settings ask for it."""
    ratio = ctx.pipeline.data.replay_ratio
    if ratio is None or prepared.get("warm_train_digest") is None:
        return prepared
    counted = {"train_samples": prepared["warm_train_samples"], "train_digest": prepared["warm_train_digest"]}
    return {**prepared, **counted, "window": {**prepared["window"], "replay_ratio": ratio}}


def check_train(settings: Train) -> None:
    """Raises `UsageError` for a launcher, nodes or devices that no fit can have here."""
    if settings.launcher != "local":
        raise UsageError(
            f"train.launcher = {settings.launcher!r} is not in this release", "set it to local, or leave it out"
        )
    place_of(settings.nodes, settings.devices)


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
    )
    return {
        "result": outcome.result.to_json(),
        "gained_s": outcome.wall_s - outcome.launch_s,
        "restarts": outcome.restarts,
        "attempts": outcome.attempts,
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

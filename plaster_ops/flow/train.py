"""The training step of a retrain: warm from the champion or from scratch, by a gang of ranks; or both, in a race."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from plaster_ops.domain.metrics import ROLLING_SCORE
from plaster_ops.domain.timeline import Phase
from plaster_ops.errors import ChildFailed, TimedOut, TrainingFailed, WeightsDiffer
from plaster_ops.flow.baseline import Baseline
from plaster_ops.flow.candidates import FAILURES, one_line
from plaster_ops.flow.context import Context
from plaster_ops.flow.start import SCRATCH, WARM, StartPlan, StartUsed, judge_race, plan_start
from plaster_ops.flow.weight_scores import score_weights
from plaster_ops.processes.gang import Limits
from plaster_ops.settings_sections import Train
from plaster_ops.training.launch import fit, place_of
from plaster_ops.training.launchers.registry import find_launcher, name_for
from plaster_ops.training.messages import FitResult, FitSpec
from plaster_ops.training.network import recorded

FIT = "fit"
"""The journal's stage of the fit that the plan wants; that of a race's second fit is `fit warm` or `fit scratch`."""
START_RACE = "start-race"
"""The stage that scores the two fits of a race. `race` is that of the engines: one retrain may have both."""
AUTO_SNAPSHOTS, AUTO_SHARE = 20, 0.02
"""What `train.snapshots = "auto"` keeps at most, and the part of the training that it may cost."""
_LAUNCH_S = 300.0
"""Beyond its training a second fit may take so long to start and to end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What the fit gave, how it was started and why, and how often the gang was restarted.

    `stage` is its stage in the journal, `race` the section of the race that it won (None: there was none), `race_s`
    the seconds that the other fit and the scoring took. `curve`: see `curve.learning_curve`; empty until it is scored.
    `prepared`: as it was handed in, with the window, count and digest of what this start was really trained on.
    """

    result: FitResult
    start: str
    restarts: int
    warm_from: int | None
    prepared: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
    stage: str = FIT
    race: Mapping[str, Any] | None = None
    race_s: float | None = None
    curve: Mapping[str, Any] = field(default_factory=dict)
    launcher: str = "local"
    nodes: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of NCCL, gloo and torch that were set for it."""

    @property
    def weights(self) -> str:
        """The weights file."""
        return self.result.weights_file

    def section(self) -> dict[str, Any]:
        """The section `start` of `--json`, but for whether the retrain was needed."""
        return {
            "used": self.start,
            "why": self.why,
            "warm_from": self.warm_from,
            "race": dict(self.race) if self.race else None,
            "trained_ratio": self.result.trained_ratio,
            "stopped": self.result.stopped,
        }


def train(ctx: Context, prepared: Mapping[str, Any], champion: Baseline | None) -> Trained:
    """Trains on the prepared window. Raises `TrainingFailed`, `TimedOut`, `Interrupted`."""
    check_train(ctx.pipeline.train, ctx.part.nodes)
    weights = warm_weights(ctx, champion)
    plan = plan_of(ctx, champion, weights)
    fits = _Fits(ctx, prepared, weights)
    try:
        used, why = plan.used, plan.why
        done = fits.favoured(used)
    except WeightsDiffer as error:
        if ctx.pipeline.start != "auto":
            raise
        used, why = SCRATCH, error.message
        ctx.once("unfit", Phase.OTHER, lambda: {"reason": why})
        ctx.tell({"event": "note", "text": f"{why}; from scratch"})
        done = fits.favoured(SCRATCH)
        plan = StartPlan(used=SCRATCH, race=False, why=why)
    found = _trained(done, used, why, champion, fits.prepared_for(used))
    return _raced(ctx, prepared, fits, found, champion) if plan.race else found


def plan_of(ctx: Context, champion: Baseline | None, weights: Path | None) -> StartPlan:
    """How this retrain starts, decided once; as the journal has it where the run is resumed."""
    unfit = ctx.journal.stages(ctx.uid).get("unfit") if ctx.uid else None
    if unfit is not None:
        return StartPlan(used=SCRATCH, race=False, why=str(unfit["reason"]))

    def decide() -> dict[str, Any]:
        plan = plan_start(
            ctx.pipeline.start,
            has_champion=champion is not None,
            weights=weights is not None,
            earlier=ctx.journal.starts(ctx.name),
            every=ctx.pipeline.auto.every,
        )
        return {"used": plan.used, "race": plan.race, "why": plan.why}

    kept = ctx.once("start", Phase.OTHER, decide) if ctx.uid else decide()
    return StartPlan(used=kept["used"], race=kept["race"], why=kept["why"])


def _replaying(ctx: Context, prepared: Mapping[str, Any]) -> Mapping[str, Any]:
    """With a draw of old rows in the place of all of them, where the settings ask for it."""
    ratio = ctx.pipeline.data.replay_ratio
    if ratio is None or prepared.get("warm_train_digest") is None:
        return prepared
    counted = {"train_samples": prepared["warm_train_samples"], "train_digest": prepared["warm_train_digest"]}
    return {**prepared, **counted, "window": {**prepared["window"], "replay_ratio": ratio}}


def check_train(settings: Train, nodes: int = 1) -> None:
    """Raises `UsageError` for a launcher, nodes or devices that no fit can have here."""
    find_launcher(settings.launcher, nodes)
    place_of(settings.devices)


def snapshot_folder(ctx: Context, stage: str) -> Path:
    """Where the fit of that stage keeps its snapshots."""
    return ctx.folder / _place("snapshots", stage)


def _place(what: str, stage: str) -> str:
    return what + stage.removeprefix(FIT).replace(" ", "-")


class _Fits:
    """The fits of one retrain, each with a stage and folders of its own."""

    def __init__(self, ctx: Context, prepared: Mapping[str, Any], weights: Path | None) -> None:
        self._ctx, self._prepared, self._weights = ctx, prepared, weights

    def prepared_for(self, start: StartUsed) -> Mapping[str, Any]:
        """What a fit of that start trains on."""
        return _replaying(self._ctx, self._prepared) if start == WARM else self._prepared

    def favoured(self, start: StartUsed) -> dict[str, Any]:
        """The fit that the retrain uses unless a race says otherwise."""
        return self._once(FIT, start, None)

    def other(self, start: StartUsed) -> dict[str, Any]:
        """The second fit of a race, bounded; `{"lost": reason}` where it gave no weights. It never ends the retrain."""
        stage = f"{FIT} {start}"
        lost = self._ctx.journal.stages(self._ctx.uid).get(f"lost {stage}")
        if lost is not None:
            return dict(lost)
        began_s = self._ctx.clock.monotonic_s()
        try:
            return self._once(stage, start, self._ctx.pipeline.auto.max_s)
        except (TrainingFailed, ChildFailed, TimedOut) as error:
            told = {"lost": one_line(error), "wall_s": self._ctx.clock.monotonic_s() - began_s}
            return self._ctx.once(f"lost {stage}", Phase.OTHER, lambda: told)

    def _once(self, stage: str, start: StartUsed, max_s: float | None) -> dict[str, Any]:
        spec = self._spec(stage, start, max_s)
        return self._ctx.once(stage, Phase.LAUNCH, lambda: _fit(self._ctx, spec, stage), within=(Phase.FIT, "gained_s"))

    def _spec(self, stage: str, start: StartUsed, max_s: float | None) -> FitSpec:
        ctx, settings, prepared = self._ctx, self._ctx.pipeline.train, self.prepared_for(start)
        warm = start == WARM
        return FitSpec(
            reference=ctx.pipeline.ref,
            project=str(ctx.project),
            window=prepared["window"],
            max_epochs=(settings.warm_epochs if warm else None) or settings.max_epochs,
            checkpoint_folder=str(ctx.folder / _place("checkpoints", stage)),
            start=start,
            warm_weights=str(self._weights) if warm and self._weights else None,
            devices=settings.devices,
            nodes=ctx.part.nodes,
            threads=settings.threads,
            seed=settings.seed,
            target_score=settings.target_score,
            target_metric=settings.target_metric,
            target_higher_is_better=prepared["better"] != "lower",
            trainer=settings.trainer,
            checkpoint_every_s=settings.checkpoint_every_s,
            max_s=max_s,
            tune=settings.tune if warm else (),
            patience=settings.patience,
            min_delta=settings.min_delta,
            snapshots=AUTO_SNAPSHOTS if settings.snapshots == "auto" else settings.snapshots,
            snapshot_folder=str(snapshot_folder(ctx, stage)),
            snapshot_share=AUTO_SHARE if settings.snapshots == "auto" else None,
        )


def _trained(
    done: Mapping[str, Any],
    used: StartUsed,
    why: str,
    champion: Baseline | None,
    prepared: Mapping[str, Any],
    stage: str = FIT,
) -> Trained:
    return Trained(
        result=FitResult.from_json(done["result"]),
        start=used,
        restarts=int(done["restarts"]),
        warm_from=champion.record.index if used == WARM and champion else None,
        prepared=dict(prepared),
        why=why,
        stage=stage,
        launcher=str(done.get("launcher", "local")),
        nodes=int(done.get("nodes", 1)),
        environment=dict(done.get("environment", {})),
    )


def _fit(ctx: Context, spec: FitSpec, stage: str) -> dict[str, Any]:
    settings = ctx.pipeline.train
    moments: dict[str, Any] = {}

    def tell(event: Mapping[str, Any]) -> None:
        """Keeps when training began first and ended last; the other ranks do so within the same step."""
        kind = str(event.get("event"))
        if kind == "fit_ended" or (kind == "fit_started" and kind not in moments):
            moments[kind] = ctx.timeline.now().to_json()
        ctx.tell(event)

    timeout_s = settings.timeout_s if spec.max_s is None else min(settings.timeout_s, spec.max_s + _LAUNCH_S)
    outcome = fit(
        spec,
        folder=ctx.folder / _place("fit", stage),
        limits=Limits(timeout_s=timeout_s, idle_s=settings.idle_timeout_s, grace_s=0.0, farewell_s=settings.grace_s),
        on_event=tell,
        max_restarts=settings.max_restarts,
        launcher=settings.launcher,
        nodes=ctx.nodes,
    )
    return {
        "result": outcome.result.to_json(),
        "gained_s": outcome.wall_s - outcome.launch_s,
        "wall_s": outcome.wall_s,
        "restarts": outcome.restarts,
        "attempts": outcome.attempts,
        "launcher": name_for(settings.launcher, spec.nodes),
        "nodes": spec.nodes,
        "environment": recorded(os.environ),
        "began": moments.get("fit_started"),
        "trained": moments.get("fit_ended"),
    }


def _raced(
    ctx: Context, prepared: Mapping[str, Any], fits: _Fits, favoured: Trained, champion: Baseline | None
) -> Trained:
    """The better of two fits; the favoured one where the other gave nothing or the two could not be scored."""
    other: StartUsed = SCRATCH if favoured.start == WARM else WARM
    stage = f"{FIT} {other}"
    mine, second = dict(ctx.journal.stages(ctx.uid)[FIT]), fits.other(other)
    seconds = {favoured.start: mine.get("wall_s"), other: second.get("wall_s")}
    section: dict[str, Any] = {"won": favoured.start, "seconds": seconds, "why": "", "scores": {}, "paired": None}
    spent_s = float(second.get("wall_s") or 0.0)
    if "lost" in second:
        section["why"] = f"{other} gave no weights ({second['lost']}): {favoured.start} is used"
        ctx.tell({"event": "note", "text": section["why"]})
        return replace(favoured, race=section, race_s=spent_s)
    rival = _trained(second, other, favoured.why, champion, fits.prepared_for(other), stage)
    files = {favoured.start: favoured.weights, other: rival.weights}
    scored = ctx.once(START_RACE, Phase.EVAL, lambda: _score(ctx, prepared, files))
    spent_s += float(scored["took_s"])
    if "lost" in scored:
        section["why"] = f"the two could not be scored ({scored['lost']}): {favoured.start} is used"
    else:
        margin = ctx.pipeline.margins().get(ROLLING_SCORE.key, ROLLING_SCORE.margin or 0.0)
        won, section["why"] = judge_race(scored, margin)
        section |= {"won": won, "scores": scored["scores"], "paired": scored["paired"][WARM], "n": scored["n"]}
    ctx.tell({"event": "note", "text": section["why"]})
    winner = rival if section["won"] == other else favoured
    return replace(winner, why=section["why"], race=section, race_s=spent_s)


def _score(ctx: Context, prepared: Mapping[str, Any], files: Mapping[str, str]) -> dict[str, Any]:
    """Both on the rolling set, scratch held against warm; `{"lost": reason}` where that fails."""
    began_s = ctx.clock.monotonic_s()
    try:
        weights = [{"label": label, "file": files[label]} for label in (SCRATCH, WARM)]
        found = score_weights(ctx, prepared, folder=START_RACE, weights=weights, pair=True)
    except FAILURES as error:
        found = {"lost": one_line(error)}
    return found | {"took_s": ctx.clock.monotonic_s() - began_s}


def warm_weights(ctx: Context, champion: Baseline | None) -> Path | None:
    """The champion's weights; None for a scratch start, or where there is no champion with weights."""
    if ctx.pipeline.start == SCRATCH or champion is None:
        return None
    weights = champion.record.weights_file
    if weights is None or not Path(weights).is_file():
        ctx.tell({"event": "note", "text": f"weights of champion #{champion.record.index} are gone: from scratch"})
        return None
    return Path(weights)

"""The learning curve of a fit: its snapshots scored once it is over, by the pipeline's own score on the rolling set.

Scoring is no part of the fit and none of train-to-engine: it comes after the engine is accepted.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plaster_ops.domain.timeline import Phase
from plaster_ops.flow.baseline import Baseline
from plaster_ops.flow.candidates import FAILURES, one_line
from plaster_ops.flow.context import Context
from plaster_ops.flow.train import AUTO_SHARE, Trained, snapshot_folder
from plaster_ops.flow.weight_scores import score_weights
from plaster_ops.plaster.curves import first_at_target

CURVE = "learning_curve.json"
FORMAT = 1


def learning_curve(ctx: Context, trained: Trained, prepared: Mapping[str, Any]) -> dict[str, Any]:
    """`{"points", "reason", "better", "n", "target", "took_s"}`; no points and a `reason` where none were scored.

    A point: `epoch`, `step`, `samples` (learned so far), `fit_s` (of training, when these weights came to be), `score`,
    `ci95`, `metrics` (what the module logged there), `reason` (where there is no score). `target`: when the first point
    that reaches `train.target_score` was made, or None. The snapshots of the retrain are gone afterwards.
    """
    curve = ctx.once("curve", Phase.EVAL, lambda: _scored(ctx, trained, prepared))
    for folder in ctx.folder.glob("snapshots*"):
        shutil.rmtree(folder, ignore_errors=True)
    return curve


def earlier_curve(baseline: Baseline | None) -> tuple[dict[str, Any], str]:
    """The learning curve of an earlier run, and why there is none; one of the two is empty."""
    if baseline is None:
        return {}, "the first retrain: there is no earlier curve"
    name = f"run #{baseline.record.index}"
    try:
        found = json.loads((Path(baseline.record.artifacts or "") / CURVE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}, f"the learning curve of {name} is gone"
    if not isinstance(found, dict) or not found.get("points"):
        return {}, f"the snapshots of {name} were not scored"
    return found, ""


def _scored(ctx: Context, trained: Trained, prepared: Mapping[str, Any]) -> dict[str, Any]:
    began_s = ctx.clock.monotonic_s()
    empty: dict[str, Any] = {"points": [], "reason": _why_not(ctx, trained), "better": prepared["better"], "n": None}
    empty |= {"target": None, "took_s": 0.0}
    if empty["reason"]:
        return empty
    result = trained.result
    last = {
        "label": "last",
        "file": trained.weights,
        "epoch": result.epochs,
        "step": result.steps,
        "samples": result.samples_learned,
        "fit_s": result.fit_s if result.weights_s is None else result.weights_s,
    }
    folder = snapshot_folder(ctx, trained.stage)
    try:
        found = score_weights(ctx, prepared, folder="curve", weights=[last], snapshots=folder)
    except FAILURES as error:
        reason = f"the snapshots could not be scored: {one_line(error)}"
        ctx.tell({"event": "note", "text": reason})
        return empty | {"reason": reason, "took_s": ctx.clock.monotonic_s() - began_s}
    points = [_point(row, trained) for row in found["points"]]
    target = ctx.pipeline.train.target_score
    return {
        "points": points,
        "reason": "",
        "better": found["better"],
        "n": found["n"],
        "target": None if target is None else first_at_target(points, target, found["better"]),
        "took_s": ctx.clock.monotonic_s() - began_s,
    }


def _point(row: Mapping[str, Any], trained: Trained) -> dict[str, Any]:
    logged = {str(one["key"]): one["value"] for one in trained.result.curves if one["step"] == row["step"]}
    kept = {name: row[name] for name in ("epoch", "step", "samples", "fit_s", "ci95", "reason")}
    return {**kept, "score": row["value"], "metrics": logged}


def _why_not(ctx: Context, trained: Trained) -> str:
    """Why there is nothing to score, or why it would cost too much; empty where neither is so."""
    wanted = ctx.pipeline.train.snapshots
    if wanted == 0:
        return "train.snapshots = 0"
    folder = snapshot_folder(ctx, trained.stage)
    if trained.result.epochs > 1 and not any(folder.glob("epoch-*.safetensors")):
        return trained.result.snapshots_reason or "writing snapshots would have taken over 2 % of the training"
    fit_s = ctx.timeline.spent_s(Phase.FIT) + ctx.timeline.spent_s(Phase.LAUNCH)
    likely_s = ctx.timeline.spent_s(Phase.DATA)
    if wanted == "auto" and likely_s > AUTO_SHARE * fit_s:
        return (
            f"a child that reads this data takes {likely_s:.1f} s, over {AUTO_SHARE:.0%} of the {fit_s:.1f} s of"
            " training: train.snapshots = 20 scores them all the same"
        )
    return ""


def fit_with_target(ctx: Context, trained: Trained) -> dict[str, Any]:
    """The fit's result as rows are read from it. Where snapshots were scored time, epochs and samples to the target are
    theirs (`target_by` snapshots; None: none reached it), and what the module's own metric said is `logged_target_s`.
    """
    fit = trained.result.to_json()
    settings, points = ctx.pipeline.train, trained.curve.get("points") or ()
    fit |= {"target_by": "logged", "logged_target_s": fit["time_to_target_s"], "target_metric": settings.target_metric}
    if settings.target_score is None or not points:
        return fit
    found = trained.curve.get("target") or {}
    names = ("time_to_target_s", "epochs_to_target", "samples_to_target", "looked_every")
    return fit | {"target_by": "snapshots", "reached_target": bool(found), **{name: found.get(name) for name in names}}

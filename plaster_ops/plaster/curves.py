"""R: what the scored snapshots of a fit say: when it first reached its target, and how it learned beside the last fit.

A point is `{"epoch", "step", "samples", "fit_s", "score", ...}`; one without a score or a count of samples is left out.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Row, Unmeasured
from plaster_ops.domain.metrics import Better
from plaster_ops.plaster.learning import given

_COMPARED = (m.DELTA_AT_EQUAL_SAMPLES_SCORE, m.SAMPLES_TO_COMMON_RATIO, m.SECONDS_TO_COMMON_RATIO)
_AXES = ("samples", "fit_s")


def first_at_target(points: Sequence[Mapping[str, Any]], target: float, better: str) -> dict[str, Any] | None:
    """Time, epochs and samples of the first point that reaches the target; None where none does.

    `looked_every`: epochs between it and the point before it, so far the target may have been reached earlier.
    """
    sign = _sign(better)
    before = 0
    for point in points:
        if point["score"] is not None and sign * point["score"] >= sign * target:
            return {
                "time_to_target_s": point["fit_s"],
                "epochs_to_target": point["epoch"],
                "samples_to_target": point["samples"],
                "looked_every": max(1, point["epoch"] - before),
            }
        before = point["epoch"]
    return None


def compare_curves(
    now: Sequence[Mapping[str, Any]], then: Sequence[Mapping[str, Any]], better: str
) -> tuple[dict[str, Any], str]:
    """How two fits learned from equally much data, and why that cannot be said; one of the two is empty.

    `samples`: the most that both have learned, where `score_now` and `score_then` are read. `common_score`: the best
    that both reached; `samples_now`, `samples_then`, `seconds_now`, `seconds_then`: what each needed for it. Between
    two points scores are taken as lying on a line.
    """
    sign = _sign(better)
    mine, theirs = _clean(now), _clean(then)
    if len(mine) < 2 or len(theirs) < 2:
        whose = "this fit" if len(mine) < 2 else "the last one"
        return {}, f"{whose} has fewer than two scored points whose samples are known"
    low, high = max(mine[0]["samples"], theirs[0]["samples"]), min(mine[-1]["samples"], theirs[-1]["samples"])
    if low > high:
        return {}, f"the two curves share no range: from {low:,} samples on, up to {high:,}"
    common = min(max(sign * point["score"] for point in points) for points in (mine, theirs)) * sign
    found: dict[str, Any] = {
        "samples": high,
        "score_now": _score_at(mine, high),
        "score_then": _score_at(theirs, high),
        "common_score": common,
    }
    for which, points in (("now", mine), ("then", theirs)):
        samples, seconds = _needed(points, common, sign)
        found |= {f"samples_{which}": samples, f"seconds_{which}": seconds}
    return found, ""


def curve_rows(compared: Mapping[str, Any] | None, reason: str, note: str | None = None) -> list[Row]:
    """The rows of a comparison of two curves. `reason`: why there is none. `note`: what else to know of it."""
    if not compared:
        return [Unmeasured(metric=metric, reason=reason) for metric in _COMPARED]
    delta = compared["score_now"] - compared["score_then"]
    values = [delta, _ratio(compared, "samples"), _ratio(compared, "seconds")]
    return [
        given(metric, value, "the last fit had that score from the beginning", note)
        for metric, value in zip(_COMPARED, values, strict=True)
    ]


def _ratio(compared: Mapping[str, Any], what: str) -> float | None:
    then = float(compared[f"{what}_then"])
    return float(compared[f"{what}_now"]) / then if then > 0 else None


def _sign(better: str) -> float:
    return 1.0 if Better(better) is Better.HIGHER else -1.0


def _clean(points: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    known = [point for point in points if point["score"] is not None and point["samples"] is not None]
    return sorted(known, key=lambda point: int(point["samples"]))


def _score_at(points: Sequence[Mapping[str, Any]], samples: float) -> float:
    for before, after in itertools.pairwise(points):
        if before["samples"] <= samples <= after["samples"]:
            width = after["samples"] - before["samples"]
            part = (samples - before["samples"]) / width if width else 1.0
            return float(before["score"] + part * (after["score"] - before["score"]))
    return float(points[-1]["score"])


def _needed(points: Sequence[Mapping[str, Any]], score: float, sign: float) -> tuple[float, float]:
    """Samples and seconds up to the first moment at which the curve has that score; it does somewhere."""
    previous: Mapping[str, Any] | None = None
    for point in points:
        if sign * point["score"] >= sign * score:
            if previous is None:
                return float(point["samples"]), float(point["fit_s"])
            part = (score - previous["score"]) / (point["score"] - previous["score"])
            samples, seconds = (float(previous[axis] + part * (point[axis] - previous[axis])) for axis in _AXES)
            return samples, seconds
        previous = point
    return float(points[-1]["samples"]), float(points[-1]["fit_s"])

"""Stage `scores`: several weights of one model scored on the rolling set, eager in FP32, with the pipeline's own score.

All answer the same samples, so that those that are asked for can be paired with the first.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plaster_ops.data.batches import labelled_batches, rolling_loader
from plaster_ops.domain.metrics import ROLLING_SCORE
from plaster_ops.domain.window import Window
from plaster_ops.errors import PlasterError
from plaster_ops.flow.loading import load_pipeline
from plaster_ops.flow.stages.examiner import Reference, joined, pieces_of
from plaster_ops.plaster.accuracy import Answers, SetScore, direction, evaluate_set
from plaster_ops.plaster.score_pairs import pair_scores
from plaster_ops.ports import EventSink
from plaster_ops.training.snapshots import read_snapshots

_BUDGET_S = 0.5


def run(spec: Mapping[str, Any], folder: Path, emit: EventSink) -> dict[str, Any]:
    """spec: reference, project, window, max_batch, weights [{label, file, ...}], snapshots (a folder, or None), pair.

    The snapshots join the weights; one of the epoch of a named point gives way to it. With `pair` the first is held
    against each other. Result: `better`, `n`, `points` (what each was given as, with `value`, `ci95`, `reason`),
    `scores` by label, `paired` by label. Weights that give no finite score have `value` None and a reason.
    """
    del folder
    pipeline = load_pipeline(spec["reference"], Path(spec["project"]))
    example = pipeline.sample_batch(2)
    batches = labelled_batches(rolling_loader(pipeline.data(Window.from_json(spec["window"]))), example, pipeline)
    pieces = [piece for inputs, targets in batches for piece in pieces_of(inputs, targets, int(spec["max_batch"]))]
    rows = _rows(spec)
    first: SetScore | None = None
    scored: dict[str, SetScore] = {}
    points: list[dict[str, Any]] = []
    for row in rows:
        emit({"event": "note", "text": f"scoring {row['label']}"})
        try:
            found = _score(pipeline, example, row["file"], pieces, first)
        except PlasterError as error:
            points.append({**row, "value": None, "ci95": None, "reason": error.message})
            continue
        first = first or found
        scored[row["label"]] = found
        points.append({**row, "value": found.value, "ci95": list(found.ci95) if found.ci95 else None, "reason": ""})
    return {
        "better": direction(pipeline).value,
        "n": sum(n for _, _, n in pieces),
        "points": points,
        "scores": {point["label"]: {key: point[key] for key in ("value", "ci95", "reason")} for point in points},
        "paired": _paired(rows, scored) if spec.get("pair") else {},
    }


def _rows(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The weights to score; snapshots in the order of their epochs, before the last weights."""
    named = [dict(row) for row in spec["weights"]]
    if not spec.get("snapshots"):
        return named
    epochs = {row.get("epoch") for row in named}
    kept = [point for point in read_snapshots(Path(spec["snapshots"])) if point["epoch"] not in epochs]
    return [{"label": f"epoch {point['epoch']}", **point} for point in kept] + named


def _score(pipeline: Any, example: Any, file: str, pieces: Sequence[Any], like: SetScore | None) -> SetScore:
    reference = Reference(pipeline, file, example)
    answers = [Answers(outputs=reference.whole(inputs), targets=targets, n=n) for inputs, targets, n in pieces]
    return evaluate_set(pipeline.score, joined(answers), like=like, budget_s=_BUDGET_S)


def _paired(rows: Sequence[Mapping[str, Any]], scored: Mapping[str, SetScore]) -> dict[str, Any]:
    first, *others = (row["label"] for row in rows)
    return {
        label: pair_scores(scored[first], scored[label], ROLLING_SCORE).to_json()
        if first in scored and label in scored
        else None
        for label in others
    }

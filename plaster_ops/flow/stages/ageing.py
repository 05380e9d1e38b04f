"""Stage `ageing`: every earlier model scored on every later piece of data, by the pipeline's own score.

A piece is what arrived between two retrains, so no model that is asked about it was trained on it. The user's data
module gives it as the held-out part of a window that is cut where the retrain before had ended.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils import _pytree as pytree

from plaster_ops.data.batches import labelled_batches, rolling_loader
from plaster_ops.domain.window import Window
from plaster_ops.engines.export import run_eager
from plaster_ops.errors import DataError, PlasterError
from plaster_ops.flow.loading import load_pipeline
from plaster_ops.plaster.answers import Answers
from plaster_ops.plaster.scoring import direction, score_of
from plaster_ops.ports import EventSink
from plaster_ops.training.weights import load_weights


def run(spec: Mapping[str, Any], folder: Path, emit: EventSink) -> dict[str, Any]:
    """spec: reference, project, slots [{slot, window, models: [{uid, weights}]}], max_s.

    Result: `better`, `scores` [{slot, uid, score}], `samples` by slot, `gone` [{slot or uid, reason}]: windows that the
    source gives no more, weights that do not fit. Stops asking after `max_s`; `complete` tells whether all was asked.
    """
    del folder
    pipeline = load_pipeline(spec["reference"], Path(spec["project"]))
    found = _Asked(pipeline, emit)
    until_s = time.monotonic() + float(spec["max_s"])
    for place, slot in enumerate(spec["slots"]):
        if time.monotonic() > until_s:
            return found.result(complete=False)
        found.ask(slot)
        emit({"event": "progress", "done": place + 1, "total": len(spec["slots"]), "label": "pieces of data"})
    return found.result(complete=True)


_KEPT_BYTES = 2e9


class _Asked:
    """Answers so far. Loaded models are kept, up to 2 GB of them: the next piece of data is for nearly the same."""

    def __init__(self, pipeline: Any, emit: EventSink) -> None:
        self._pipeline = pipeline
        self._emit = emit
        self._example = pipeline.sample_batch(2)
        self._models: dict[str, Any] = {}
        self._scores: list[dict[str, Any]] = []
        self._samples: dict[str, int] = {}
        self._gone: list[dict[str, Any]] = []

    def result(self, *, complete: bool) -> dict[str, Any]:
        """The stage's result."""
        return {
            "better": direction(self._pipeline).value,
            "scores": self._scores,
            "samples": self._samples,
            "gone": self._gone,
            "complete": complete,
        }

    def ask(self, slot: Mapping[str, Any]) -> None:
        """Scores every model of the slot on its piece of data."""
        try:
            data = self._pipeline.data(Window.from_json(slot["window"]))
            batches = list(labelled_batches(rolling_loader(data), self._example, self._pipeline))
        except (DataError, OSError) as error:
            self._gone.append({"slot": slot["slot"], "reason": str(error)})
            return
        samples = sum(_rows(targets) for _, targets in batches)
        if not samples:
            self._gone.append({"slot": slot["slot"], "reason": "no labelled data"})
            return
        self._samples[str(slot["slot"])] = samples
        for model in slot["models"]:
            module = self._model(model)
            if module is not None:
                self._scores.append({"slot": slot["slot"], "uid": model["uid"], "score": self._score(module, batches)})

    def _model(self, model: Mapping[str, Any]) -> Any:
        uid = str(model["uid"])
        if uid not in self._models:
            self._make_room(Path(model["weights"]))
            self._models[uid] = self._loaded(uid, Path(model["weights"]))
        return self._models[uid]

    def _make_room(self, weights: Path) -> None:
        most = max(1, int(_KEPT_BYTES / max(1, weights.stat().st_size if weights.exists() else 1)))
        while len(self._models) >= most:
            del self._models[next(iter(self._models))]

    def _loaded(self, uid: str, weights: Path) -> Any:
        module = self._pipeline.model()
        try:
            load_weights(module, weights)
        except PlasterError as error:
            self._gone.append({"uid": uid, "reason": error.message})
            return None
        return module.float()

    def _score(self, module: Any, batches: list[tuple[Any, Any]]) -> float:
        with torch.inference_mode():
            parts = [Answers(outputs=run_eager(module, inputs), targets=t, n=_rows(t)) for inputs, t in batches]
        return score_of(self._pipeline.score, parts)


def _rows(targets: Any) -> int:
    leaves = pytree.tree_leaves(targets)
    return int(leaves[0].shape[0]) if leaves else 0

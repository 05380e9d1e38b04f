"""What the stage `prepare` finds out about the data itself: drift, labels, missing values, schema.

The rolling set is looked at, not what is new in the training set: with a look-back window the training set hardly
changes from night to night, while the rolling set is the newest labelled data of every pipeline, with a source or
without. It is held against the rolling set of the last finished retrain, that of the champion, and training data.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plaster_ops.data.batches import flat_inputs
from plaster_ops.data.calibration import RowSet
from plaster_ops.data.checks import TrainingLook, look_at_training
from plaster_ops.data.column_features import column_features
from plaster_ops.data.drift import compare, compare_labels, compare_rows
from plaster_ops.data.features import FeatureRows, named_inputs, named_targets
from plaster_ops.data.sketch import SetSketch, sketch_of
from plaster_ops.domain.window import Window
from plaster_ops.flow.sketches import SKETCH
from plaster_ops.flow.stages.data_findings import figures, notes
from plaster_ops.ports import EventSink

_OFF = "data.check_samples is 0"


class Inspection:
    """Takes the batches of the rolling set, then concludes. `asked`: see `sketches.inspection_spec`."""

    def __init__(self, asked: Mapping[str, Any], example: Any, pipeline: Any) -> None:
        self._asked, self._example, self._pipeline = asked, example, pipeline
        self._inputs, self._labels = FeatureRows(), FeatureRows()

    @property
    def looks_at_training(self) -> bool:
        """Whether training samples are looked at, and may be held against those of the evaluation sets."""
        return bool(self._asked["check_samples"])

    def add(self, inputs: Any, targets: Any) -> None:
        """One batch of the rolling set."""
        self._inputs.add(named_inputs(flat_inputs(inputs), self._example))
        self._labels.add(named_targets(targets))

    def conclude(
        self, loader: Any, window: Window, evaluated: RowSet | None, folder: Path, emit: EventSink
    ) -> dict[str, Any]:
        """What there is to tell, as plain JSON; writes `data_sketch.json` into the folder and tells what stands out.
        `evaluated`: the samples of the evaluation sets.

        Raises `DataError` where training samples hold NaN.
        """
        wanted = int(self._asked["check_samples"])
        look = (
            look_at_training(loader, self._example, self._pipeline, wanted, evaluated=evaluated)
            if wanted
            else TrainingLook(inputs=FeatureRows(), labels=FeatureRows(), samples=0, reason=_OFF)
        )
        features, types, left_out, of = self._features(window)
        labels = self._labels.features()
        now = SetSketch(
            samples=self._inputs.samples,
            features={name: sketch_of(values) for name, values in features.items()},
            labels={name: sketch_of(values) for name, values in labels.items()},
            types={**types, **self._labels.types()},
            left_out=left_out,
        )
        file = folder / SKETCH
        file.write_text(json.dumps(now.to_json(), allow_nan=False), encoding="utf-8")
        told: dict[str, Any] = {
            "of": of,
            "features": len(features),
            "left_out": left_out,
            "against": {each["which"]: _against(each, now, features, labels) for each in self._asked["earlier"]},
            "training": {**self._against_training(look, now), "outside": self._outside(now)},
            "missing": _missing(self._inputs),
        }
        said = notes(told)
        for note in said:
            emit({"event": "note", "text": note})
        return {**told, "notes": said, "sketch": str(file), "figures": figures(told)}

    def _features(self, window: Window) -> tuple[dict[str, Any], dict[str, str], int, str]:
        """Columns of the source by name where it gives rows, else the tensors of the batches."""
        source = getattr(self._pipeline, "source", None)
        if source is None or not hasattr(source, "held_out_rows"):
            return self._inputs.features(), self._inputs.types(), self._inputs.left_out, "inputs"
        aside = {getattr(source, name, None) for name in ("order", "time", "label")}
        features, types, left_out = column_features(
            source.held_out_rows(window), {name for name in aside if isinstance(name, str)}
        )
        return features, types, left_out, "columns"

    def _against_training(self, look: TrainingLook, now: SetSketch) -> dict[str, Any]:
        """The tensors of the rolling set against those of the training samples; labels that are in none of these."""
        if not look.samples:
            return {"samples_looked_at": 0, "reason": look.reason, "unseen": None, "evaluated": None}
        found = compare_rows(look.inputs.features(), self._inputs.features(), (look.samples, self._inputs.samples))
        unseen = set[str]()
        for name, values in look.labels.features().items():
            trained, rolling = sketch_of(values), now.labels.get(name)
            if rolling is not None and "category" == trained.kind == rolling.kind:
                unseen |= set(rolling.counts) - set(trained.counts)
        return {
            **found,
            "samples_looked_at": look.samples,
            "reason": "",
            "unseen": _ordered(unseen),
            "evaluated": look.evaluated,
        }

    def _outside(self, now: SetSketch) -> dict[str, Any] | None:
        """Labels of the rolling set that a score with a number of classes does not have."""
        classes = getattr(getattr(self._pipeline, "score", None), "num_classes", None)
        label = now.labels.get("label")
        if not isinstance(classes, int) or label is None or label.kind != "category":
            return None
        ignored = getattr(self._pipeline.score, "ignore_index", None)
        beyond = {key for key in label.counts if key != str(ignored) and not 0 <= int(key) < classes}
        return {"classes": classes, "labels": _ordered(beyond)}


def _against(
    earlier: Mapping[str, Any], now: SetSketch, features: Mapping[str, Any], labels: Mapping[str, Any]
) -> dict[str, Any]:
    """One earlier run's sketch against today's; `reason` says why there is no comparison."""
    told = {"index": earlier["index"], "reason": ""}
    try:
        then = SetSketch.from_json(json.loads(Path(earlier["file"]).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        return {**told, "reason": f"its {SKETCH} cannot be read: {type(error).__name__}"}
    if then is None:
        return {**told, "reason": f"its {SKETCH} is of another release"}
    return {**told, **compare(then, now, features), "labels": compare_labels(then.labels, now.labels, labels)}


def _missing(inputs: FeatureRows) -> dict[str, Any]:
    counted = inputs.missing()
    values = sum(each[0] for each in counted.values())
    return {
        "values": values,
        "ratio": sum(each[1] + each[2] for each in counted.values()) / values if values else None,
        "inputs": {name: {"nan": nan, "infinite": inf} for name, (_, nan, inf) in counted.items() if nan or inf},
    }


def _ordered(labels: set[str]) -> list[str]:
    return sorted(labels, key=lambda label: (len(label), label))

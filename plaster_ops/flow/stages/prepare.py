"""Stage `prepare`: the data of this retrain, counted, digested, with real inputs put aside for measuring."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from plaster_ops.data.batches import (
    SetDigest,
    batch_rows,
    flat_inputs,
    golden_loader,
    labelled_batches,
    rolling_loader,
)
from plaster_ops.data.calibration import RowSet, keep_calibration
from plaster_ops.data.samples import SampleKeeper
from plaster_ops.data.windows import Arrival, open_window
from plaster_ops.errors import DataError, PipelineError
from plaster_ops.flow.code_identity import loaded_code
from plaster_ops.flow.loading import load_pipeline
from plaster_ops.flow.stages.data_look import Inspection
from plaster_ops.plaster import ages
from plaster_ops.plaster.accuracy import direction
from plaster_ops.ports import EventSink

_MOST_TOLD = 20


def run(spec: Mapping[str, Any], folder: Path, emit: EventSink) -> dict[str, Any]:
    """spec: reference, project, seen, learned, needed, calibration_samples, lookback, replay_ratio, inspect. Result:
    window, arrival, counts, digests, samples, calibration, times, drift, code (`loaded_code`), skip.

    `calibration_samples`: inputs to put aside for quantisation; 0 or missing: none are. `arrival`: what the source
    tells of its files, None where it tells nothing. `warm_train_samples`, `warm_train_digest`: as without `warm_`, for
    a start that replays only some of the old rows; None where `replay_ratio` is not given. `inspect`: what to look at
    in the data itself (`sketches.inspection_spec`); missing: nothing, and `drift` is None.
    """
    pipeline = load_pipeline(spec["reference"], Path(spec["project"]))
    source = getattr(pipeline, "source", None)
    arrival = open_window(
        source,
        seen=spec.get("seen"),
        learned=spec.get("learned"),
        needed=spec["needed"],
        lookback=spec.get("lookback") or "all",
    )
    _tell_quarantined(arrival.report, emit)
    result: dict[str, Any] = {
        "window": arrival.window.to_json(),
        "source": describe_source(source),
        "arrived_at": arrival.arrived_at,
        "fresh_samples": arrival.fresh_samples,
        "new_samples": arrival.new_samples,
        "skip": arrival.skip,
        "arrival": arrival.report,
    }
    if arrival.skip:
        return result
    _check_anything_to_train_on(source, arrival)
    result |= told_times(source, arrival)
    remarks = getattr(source, "remarks", None)
    for remark in remarks(spec.get("learned")) if remarks else ():
        emit({"event": "note", "text": remark})
    emit({"event": "note", "text": "reading the evaluation sets"})
    result |= _survey(pipeline, arrival, folder, spec, emit)
    result |= _warm_counts(pipeline, arrival, spec.get("replay_ratio"))
    return result | {"code": loaded_code(Path(spec["project"]))}


def _check_anything_to_train_on(source: Any, arrival: Arrival) -> None:
    """Before the pipeline's own loaders stumble over no rows, each in its way."""
    if source is not None and arrival.window.learned is None and not source.count(None, arrival.window.cut):
        raise DataError(
            f"the training window has 0 rows: all {arrival.fresh_samples} that have arrived are held out",
            "wait for more data, or let the source hold out less",
        )


def _tell_quarantined(report: Mapping[str, Any] | None, emit: EventSink) -> None:
    """A note for each file that this look set aside."""
    found = list((report or {}).get("newly_quarantined", ()))
    for row in found[:_MOST_TOLD]:
        where = [str(row["file"])]
        where += [f"{name} {row[name]}" for name in ("row", "column") if row.get(name) is not None]
        emit({"event": "note", "text": f"quarantined: {', '.join(where)}: {row['reason']}"})
    if len(found) > _MOST_TOLD:
        emit({"event": "note", "text": f"quarantined: {len(found) - _MOST_TOLD} files more"})


def _warm_counts(pipeline: Any, arrival: Arrival, replay_ratio: float | None) -> dict[str, Any]:
    if replay_ratio is None or arrival.window.learned is None:
        return {"warm_train_samples": None, "warm_train_digest": None}
    window = replace(arrival.window, replay_ratio=float(replay_ratio))
    count, _ = _training(pipeline.data(window))
    digest = training_digest(replace(arrival, window=window), count)
    return {"warm_train_samples": count, "warm_train_digest": digest}


def _survey(pipeline: Any, arrival: Arrival, folder: Path, spec: Mapping[str, Any], emit: EventSink) -> dict[str, Any]:
    calibration_samples, asked = int(spec.get("calibration_samples") or 0), spec.get("inspect")
    example = pipeline.sample_batch(2)
    _check_example(example)
    data = pipeline.data(arrival.window)
    inspection = Inspection(asked, example, pipeline) if asked else None
    evaluated = RowSet() if calibration_samples or (inspection and inspection.looks_at_training) else None
    keeper, rolling = SampleKeeper(), SetDigest()
    for inputs, targets in labelled_batches(rolling_loader(data), example, pipeline):
        keeper.add(flat_inputs(inputs))
        rolling.add(inputs, targets)
        if inspection is not None:
            inspection.add(inputs, targets)
        if evaluated is not None:
            evaluated.add(flat_inputs(inputs))
    if rolling.samples == 0:
        raise DataError(
            "the rolling evaluation set has 0 rows",
            "hold out the newest labelled data in test_dataloader (or val_dataloader)",
        )
    golden = _read_golden(pipeline, example, evaluated)
    file = folder / "samples.safetensors"
    kept = keeper.save(file)
    train_samples, training = _training(data)
    drift = inspection.conclude(training, arrival.window, evaluated, folder, emit) if inspection else None
    calibration = None
    if evaluated is not None and calibration_samples:
        calibration = keep_calibration(
            data, example, pipeline, evaluated, calibration_samples, folder / "calibration.safetensors"
        )
    return {
        "calibration": calibration.to_json() if calibration else None,
        "drift": drift,
        "better": direction(pipeline).value,
        "train_digest": training_digest(arrival, train_samples),
        "train_samples": train_samples,
        "new_samples": arrival.new_samples if arrival.new_samples is not None else train_samples,
        "eval_samples": rolling.samples,
        "eval_digest": rolling.hexdigest(),
        "golden_samples": golden.samples if golden else None,
        "golden_digest": golden.hexdigest() if golden else None,
        "samples": str(file),
        "samples_kept": kept,
    }


def _read_golden(pipeline: Any, example: Any, evaluated: RowSet | None) -> SetDigest | None:
    """The golden set, read through; None where the pipeline has none."""
    loader = golden_loader(pipeline)
    if loader is None:
        return None
    golden = SetDigest()
    for inputs, targets in labelled_batches(loader, example, pipeline):
        golden.add(inputs, targets)
        if evaluated is not None:
            evaluated.add(flat_inputs(inputs))
    if golden.samples == 0:
        raise DataError("the golden set has 0 rows", "let golden() return at least one labelled sample")
    return golden


def _check_example(example: Any) -> None:
    rows = batch_rows(example)
    if rows != 2:
        raise PipelineError(
            f"sample_batch(2) returned {rows} samples along the first axis",
            "let sample_batch(n) return the inputs of n samples, batch first",
        )


def _training(data: Any) -> tuple[int | None, Any]:
    """Samples of the training loader's dataset, None where it does not know its length; and the loader."""
    data.setup("fit")
    loader = data.train_dataloader()
    try:
        count = len(loader.dataset)
    except (AttributeError, TypeError):
        return None, loader
    if count == 0:
        raise DataError("the training window has 0 rows", "check data(window) and the source's cut")
    return count, loader


def told_times(source: Any, arrival: Arrival) -> dict[str, Any]:
    """`absorbed_samples`: those of the training part that no champion has learned, None without a source. `times`:
    what the source says of when its samples came into being (`ages.summary`), None where it does not say."""
    window = arrival.window
    if source is None:
        return {"absorbed_samples": None, "times": None}
    absorbed = source.count(window.learned, window.cut)
    if not hasattr(source, "times"):
        return {"absorbed_samples": absorbed, "times": None}
    new = ages.checked(source.times(window.learned, window.end))
    trained = ages.checked(source.times(window.learned, window.cut))
    return {"absorbed_samples": absorbed, "times": ages.summary(new, trained)}


def training_digest(arrival: Arrival, samples: int | None) -> str:
    """Names the training window: SHA-256 over its positions and size, not over the rows."""
    text = json.dumps([arrival.window.to_json(), samples], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def describe_source(source: Any) -> str:
    """What data arrives from, in words."""
    if source is None:
        return "none declared: every retrain takes all that the data module gives"
    return str(getattr(source, "name", type(source).__name__))

"""From a record to its plan: parent, at most three children, points of the cadence run, the model.

Pure: the same record gives the same plan, with fixed names, steps and time stamps, so that a replay can be compared
with what is already there. Nothing here knows MLflow's client.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from plaster_ops.domain.metrics import CATALOGUE, Scale
from plaster_ops.domain.run import RunRecord, Verdict
from plaster_ops.tracking import notes, run_note
from plaster_ops.tracking.cadence_plan import plan_cadence
from plaster_ops.tracking.names import (
    AXES,
    MAX_PARAM_CHARACTERS,
    MAX_TAG_CHARACTERS,
    MAX_VERSION_TAG_CHARACTERS,
    check_metrics,
    clean_curve_keys,
    clean_key,
    cut,
    dataset_digest,
    estimate_key,
    interval_keys,
    is_number,
    sample_count_key,
)
from plaster_ops.tracking.plans import (
    KIND,
    NOTE,
    RETRAIN,
    UID,
    DatasetPlan,
    ModelPlan,
    Point,
    RecordPlan,
    RunPlan,
    to_ms,
)


def plan_record(record: RunRecord) -> RecordPlan:
    """The plan of one record. Raises `RecordRefused` where it holds what MLflow must not be sent."""
    model = _model(record)
    return RecordPlan(
        uid=record.uid,
        pipeline=record.pipeline,
        parent=_parent(record),
        children=tuple(child for child in (_train(record), _build(record), _measure(record)) if child is not None),
        datasets=tuple(_datasets(record)),
        cadence=plan_cadence(record),
        model=model,
        artifacts=Path(record.artifacts) if record.artifacts and Path(record.artifacts).is_dir() else None,
        compared=_compared(record),
    )


def _compared(record: RunRecord) -> tuple[int, str] | None:
    baseline = record.baseline or {}
    return None if not baseline.get("id") else (int(baseline["index"]), str(baseline["id"]))


def _parent(record: RunRecord) -> RunPlan:
    metrics = dict(_card_metrics(record))
    metrics |= {f"phase/{name}": value for name, value in record.phases.items() if is_number(value)}
    check_metrics(metrics)
    at = to_ms(record.started_at)
    return RunPlan(
        kind=RETRAIN,
        name=f"#{record.index} {record.started_at[:10]}",
        start_ms=at,
        end_ms=to_ms(record.ended_at),
        status=_status(record),
        tags=_tags(record),
        params={clean_key(key): cut(str(value), MAX_PARAM_CHARACTERS) for key, value in record.params.items()},
        points=tuple(Point(key, float(value), record.index, at) for key, value in sorted(metrics.items())),
    )


def _status(record: RunRecord) -> str:
    return "FAILED" if record.verdict == Verdict.FAILED else "FINISHED"


def _card_metrics(record: RunRecord) -> Iterator[tuple[str, Any]]:
    for row in record.card:
        if row.get("value") is None:
            continue
        key = estimate_key(row["key"]) if row["status"] == "estimated" else row["key"]
        yield key, row["value"]
        yield from zip(interval_keys(key), row.get("ci95") or (), strict=False)


def _tags(record: RunRecord) -> dict[str, str]:
    baseline = record.baseline or {}
    tags = {
        **{key: value for key, value in record.tags.items() if not key.startswith("mlflow.")},
        "mlflow.source.name": "plaster-ops retrain",
        "mlflow.source.type": "JOB",
        UID: record.uid,
        KIND: RETRAIN,
        "plaster.schema": "1",
        "plaster.pipeline": record.pipeline,
        "plaster.index": str(record.index),
        "plaster.trigger": record.trigger,
        "plaster.slot": record.slot or "",
        "plaster.verdict": record.verdict,
        "plaster.reason": "; ".join(record.reasons),
        "plaster.exit_code": str(int(record.exit_code)),
        "plaster.fingerprint": str(record.fingerprint.get("digest", "")),
        "plaster.device": str(record.fingerprint.get("device", "")),
        "plaster.baseline": f"#{baseline['index']}" if baseline.get("index") is not None else "",
        "plaster.baseline_how": str(baseline.get("how") or ""),
        "plaster.learned": "" if record.learned is None else str(record.learned),
        "plaster.seen": "" if record.seen is None else str(record.seen),
        **_axis_tags(record.card),
        NOTE: run_note.describe_run(record),
    }
    return {clean_key(key): cut(str(value), MAX_TAG_CHARACTERS) for key, value in tags.items() if str(value)}


def _axis_tags(card: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Status, reason and method of each letter's headline, and which of its other metrics are missing and why."""
    tags: dict[str, str] = {}
    for letter, axis in AXES.items():
        rows = [row for row in card if row["letter"] == letter]
        for row in rows:
            if row.get("headline"):
                tags[f"plaster.{axis}.status"] = row["status"]
                tags[f"plaster.{axis}.reason"] = row.get("reason") or ""
                tags[f"plaster.{axis}.method"] = row.get("method") or ""
        missing = [row for row in rows if row.get("value") is None and not row.get("headline")]
        tags[f"plaster.{axis}.missing"] = "; ".join(f"{row['key']}: {row.get('reason')}" for row in missing)
    return tags


def _child(record: RunRecord, kind: str, points: Sequence[Point], note: str) -> RunPlan:
    return RunPlan(
        kind=kind,
        name=kind,
        start_ms=to_ms(record.started_at),
        end_ms=to_ms(record.ended_at),
        status=_status(record),
        tags={
            UID: record.uid,
            KIND: kind,
            "plaster.pipeline": record.pipeline,
            "plaster.index": str(record.index),
            NOTE: cut(note, MAX_TAG_CHARACTERS),
        },
        points=tuple(points),
    )


def _train(record: RunRecord) -> RunPlan | None:
    """The curves under the user's own keys; points that are no finite number are left out and counted in the note."""
    if not record.curves:
        return None
    keys = clean_curve_keys(str(point["key"]) for point in record.curves)
    at = to_ms(record.started_at)
    points: dict[tuple[str, int, int], Point] = {}
    dropped = 0
    for point in record.curves:
        if not is_number(point["value"]):
            dropped += 1
            continue
        key, step = keys[str(point["key"])], int(point["step"])
        stamp = int(point.get("timestamp_ms") or at)
        points[key, step, stamp] = Point(key, float(point["value"]), step, stamp)
    return _child(record, "train", tuple(points.values()), notes.describe_training(record, dropped))


def _build(record: RunRecord) -> RunPlan | None:
    """One step per candidate that was tried: its numbers under `build/`, and 1 or 0 for whether it passed."""
    tried = record.engine.get("tried") or ()
    if not tried:
        return None
    at = to_ms(record.started_at)
    points = []
    for step, row in enumerate(tried, start=1):
        values = {clean_key(f"build/{key}"): value for key, value in row.items() if is_number(value)}
        values["build/passed_count"] = 1.0 if row.get("ok") else 0.0
        points += [Point(key, float(value), step, at) for key, value in sorted(values.items())]
    return _child(record, "build", points, notes.describe_build(record))


def _measure(record: RunRecord) -> RunPlan | None:
    """How much evidence each number of the card rests on; what is counted exactly rests on none."""
    exact = {key for key, metric in CATALOGUE.items() if metric.scale is Scale.EXACT}
    rows = [row for row in record.card if is_number(row.get("n")) and row["key"] not in exact]
    counts = {sample_count_key(row["key"]): row["n"] for row in rows}
    if not counts:
        return None
    check_metrics(counts)
    at = to_ms(record.started_at)
    points = [Point(key, float(value), record.index, at) for key, value in sorted(counts.items())]
    return _child(record, "measure", points, notes.describe_measuring(record))


def _datasets(record: RunRecord) -> Iterator[DatasetPlan]:
    """Datasets with one digest and name under two contexts get the context into the name: MLflow keeps only one."""
    taken: set[tuple[str, str]] = set()
    for row in record.datasets:
        name, digest = str(row["name"]), dataset_digest(str(row["digest"]))
        name = f"{name} ({row['context']})" if (name, digest) in taken else name
        taken.add((name, digest))
        samples = row.get("samples")
        yield DatasetPlan(
            name=cut(name, 500),
            context=str(row["context"]),
            digest=digest,
            source=str(row.get("source") or "unknown"),
            samples=None if samples is None else int(samples),
        )


def _model(record: RunRecord) -> ModelPlan | None:
    """None for a failed run, and where the engine's files are not there any more."""
    if record.engine_folder is None or record.verdict == Verdict.FAILED or not Path(record.engine_folder).is_dir():
        return None
    weights = Path(record.weights_file) if record.weights_file else None
    backend = str(record.engine.get("backend") or "engine")
    tags = {
        UID: record.uid,
        "plaster.index": str(record.index),
        "plaster.verdict": record.verdict,
        "plaster.reason": "; ".join(record.reasons),
        "plaster.backend": backend,
        "plaster.precision": str(record.engine.get("precision") or ""),
        "plaster.engine_digest": str(record.tags.get("plaster.engine_digest") or record.engine.get("digest") or ""),
        "plaster.fingerprint": str(record.fingerprint.get("digest", "")),
        "plaster.learned": "" if record.learned is None else str(record.learned),
    }
    return ModelPlan(
        folder=Path(record.engine_folder),
        weights=weights if weights is not None and weights.is_file() else None,
        name=f"{record.pipeline}-{record.index}",
        model_type=f"{backend}-engine",
        tags={key: cut(value, MAX_VERSION_TAG_CHARACTERS) for key, value in tags.items() if value},
        description=cut(run_note.describe_version(record), MAX_VERSION_TAG_CHARACTERS),
        linked=frozenset(row["key"] for row in record.card if row.get("headline")),
    )

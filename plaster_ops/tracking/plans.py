"""What MLflow shall hold of one retrain, as plain values; `layout` makes them and the trackers carry them out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

UID = "plaster.uid"
KIND = "plaster.kind"
HOST = "plaster.host"
CADENCE = "plaster.cadence"
NOTE = "mlflow.note.content"
PARENT = "mlflow.parentRunId"
RETRAIN = "retrain"
LEDGER = "promotions.jsonl"
"""The artifact of cadence runs that holds who was champion when."""
REPORT = "report.html"


def to_ms(instant: str) -> int:
    """Milliseconds since the epoch of an ISO 8601 instant; without a zone it is UTC."""
    at = datetime.fromisoformat(instant)
    return round((at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class Point:
    """One metric value at a step and an instant."""

    key: str
    value: float
    step: int
    timestamp_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RunPlan:
    """One MLflow run: `kind` is retrain, train, build, measure or cadence; `status` an MLflow run status."""

    kind: str
    name: str
    start_ms: int
    end_ms: int
    status: str
    tags: Mapping[str, str]
    params: Mapping[str, str] = field(default_factory=dict)
    points: tuple[Point, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetPlan:
    """One dataset input; `context` is training, eval or golden."""

    name: str
    context: str
    digest: str
    source: str
    samples: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelPlan:
    """The engine as a logged model and a registered version; `folder` and `weights` are local paths."""

    folder: Path
    weights: Path | None
    name: str
    model_type: str
    tags: Mapping[str, str]
    description: str
    linked: frozenset[str]
    """Keys of the parent's points that are linked with the model too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordPlan:
    """Everything that MLflow shall hold of one retrain."""

    uid: str
    pipeline: str
    parent: RunPlan
    children: tuple[RunPlan, ...]
    datasets: tuple[DatasetPlan, ...]
    cadence: RunPlan | None
    model: ModelPlan | None
    artifacts: Path | None
    compared: tuple[int, str] | None = None
    """Number and uid of the retrain that it was compared with."""

    @property
    def has_report(self) -> bool:
        """Whether a page of its own is among the artifacts."""
        return self.artifacts is not None and (self.artifacts / REPORT).is_file()

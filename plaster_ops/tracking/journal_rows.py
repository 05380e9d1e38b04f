"""What the journal hands out: rows as frozen values, and how they are read from SQLite."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from plaster_ops.domain.lineage import PromotionKind
from plaster_ops.domain.window import Watermark


class RunState(StrEnum):
    """Where a row stands. `SKIPPED` rows are slots without a run, so they have no index."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    FINISHED = "finished"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRow:
    """One retrain or one skipped slot. `index` is None for a skip. Instants are ISO 8601, UTC.

    `headlines` maps the seven headline keys to their values, None where one was not measured; empty before the end.
    `mlflow_run_id`, `model_version`, `tracking_uri`, `experiment` are None until the record was replayed.
    """

    uid: str
    index: int | None
    pipeline: str
    state: RunState
    trigger: str
    slot: str | None
    reference: str
    host: str
    pid: int | None
    pid_started: float | None
    started_at: str
    ended_at: str | None
    verdict: str | None
    exit_code: int | None
    reasons: tuple[str, ...]
    seen: Watermark | None
    learned: Watermark | None
    phases: Mapping[str, float]
    headlines: Mapping[str, float | None]
    tracking_uri: str | None = None
    experiment: str | None = None
    mlflow_run_id: str | None = None
    model_version: int | None = None

    @property
    def label(self) -> str:
        """`#3`, or the instant of a skip."""
        return f"#{self.index}" if self.index is not None else f"skip at {self.started_at}"


RUN_COLUMNS = (
    "uid, number, pipeline, state, trigger, slot, reference, host, pid, pid_started, started_at, ended_at, verdict,"
    " exit_code, reasons, seen, learned, phases, headlines, tracking_uri, experiment, mlflow_run_id, model_version"
)


def read_run(row: sqlite3.Row) -> RunRow:
    """The run in a result row that selected `RUN_COLUMNS`."""
    plain = dict(row)
    return RunRow(
        index=plain.pop("number"),
        state=RunState(plain.pop("state")),
        reasons=tuple(json.loads(plain.pop("reasons"))),
        seen=json.loads(plain.pop("seen")),
        learned=json.loads(plain.pop("learned")),
        phases=json.loads(plain.pop("phases")),
        headlines=json.loads(plain.pop("headlines")),
        **plain,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Promotion:
    """The intent to make a run champion if the champion is still `expected` (None: there is none yet)."""

    expected: str | None
    by: str
    reason: str
    forced: bool = False
    kind: PromotionKind = PromotionKind.RETRAIN


@dataclass(frozen=True, kw_only=True, slots=True)
class PromotionRow:
    """One line of the append-only ledger: `uid` replaced `previous` as champion of `pipeline`. `seq` grows."""

    seq: int
    pipeline: str
    uid: str
    previous: str | None
    at: str
    by: str
    reason: str
    forced: bool
    kind: PromotionKind


@dataclass(frozen=True, kw_only=True, slots=True)
class Pending:
    """A record that waits in the outbox, how often sending it failed, and how it failed last."""

    uid: str
    pipeline: str
    index: int
    attempts: int
    error: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineDigest:
    """The digest of an engine's manifest as it was written down at the build, and the folder it was built in."""

    manifest_digest: str
    folder: str


def to_json(value: Any) -> str:
    """JSON text in which every number is finite: NaN and infinities become null, which readers take as unknown."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, (list, tuple)) else value

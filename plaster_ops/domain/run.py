"""One retrain as it is recorded, and the words for how it ended."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """How a retrain ended, as in `--json`."""

    PROMOTED = "promoted"
    HELD = "held"
    BASELINE = "baseline"
    SKIPPED = "skipped"
    FAILED = "failed"
    BUSY = "busy"


class Trigger(StrEnum):
    """Who started a retrain."""

    MANUAL = "manual"
    CRON = "cron"
    SERVICE = "service"
    DATA = "data"
    DRIFT = "drift"


FINISHED = (Verdict.PROMOTED, Verdict.HELD, Verdict.BASELINE)
"""Verdicts of a retrain that ended with a measured engine; `--compare last` means the newest of these."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRecord:
    """Everything a tracker needs of one retrain; plain JSON values only, so that the journal can keep and replay it.

    `card`, `comparison`, `phases`, `engine`, `data` are the sections of `--json` (schema 1). `curves` are training
    points `{"key", "step", "value", "timestamp_ms"}`. `assessment` is what is concluded beside the rows of
    `comparison`: what changed, whose the change is, what was traded, which alarms were raised. `params` holds what a
    human may have changed, `tags` hashes and versions. `start` says how the fit started and why, `curve` how it learned
    beside the baseline's. `artifacts` is a folder whose files are logged; `engine_folder` and `weights_file` name the
    model.
    Instants are ISO 8601, UTC.
    """

    uid: str
    pipeline: str
    index: int
    trigger: str
    started_at: str
    ended_at: str
    verdict: str
    exit_code: int
    reasons: tuple[str, ...] = ()
    slot: str | None = None
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    baseline: Mapping[str, Any] | None = None
    card: tuple[Mapping[str, Any], ...] = ()
    comparison: tuple[Mapping[str, Any], ...] = ()
    phases: Mapping[str, float] = field(default_factory=dict)
    engine: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    start: Mapping[str, Any] = field(default_factory=dict)
    curve: Mapping[str, Any] = field(default_factory=dict)
    assessment: Mapping[str, Any] = field(default_factory=dict)
    gates: Mapping[str, Any] = field(default_factory=dict)
    """`against`: index and uid of the champion they were answered against, or None; `outcomes`: a row a gate."""
    datasets: tuple[Mapping[str, Any], ...] = ()
    """Rows `{"name", "context", "digest", "source", "samples"}`; context is training, eval or golden."""
    curves: tuple[Mapping[str, Any], ...] = ()
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    artifacts: str | None = None
    engine_folder: str | None = None
    weights_file: str | None = None
    learned: int | float | str | None = None
    seen: int | float | str | None = None

    def to_json(self) -> dict[str, Any]:
        """A plain mapping of every field."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "RunRecord":
        """The record that `to_json` wrote."""
        known = {f.name for f in fields(cls)}
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in record.items() if name in known
        }
        return cls(**plain)

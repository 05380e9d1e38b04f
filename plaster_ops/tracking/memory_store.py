"""A tracker that keeps everything in memory: a public double with the contract of `MlflowTracker`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from plaster_ops.domain.run import RunRecord
from plaster_ops.errors import TrackingUnavailable
from plaster_ops.ports import Tracked
from plaster_ops.tracking.layout import plan_record
from plaster_ops.tracking.mlflow_models import ALIASES
from plaster_ops.tracking.names import experiment_name
from plaster_ops.tracking.plans import Point, RecordPlan


@dataclass(slots=True)
class MemoryTracker:
    """`plans` holds what was recorded, by uid; `cadences` the points of each cadence run; `fail_with` is an outage.

    While `fail_with` is set, every call raises it and changes nothing.
    """

    fail_with: TrackingUnavailable | None = None
    plans: dict[str, RecordPlan] = field(default_factory=dict)
    cadences: dict[tuple[str, str], list[Point]] = field(default_factory=dict)
    versions: dict[str, list[str]] = field(default_factory=dict)
    aliases: dict[str, dict[str, int]] = field(default_factory=dict)
    ledgers: dict[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    calls: int = 0

    def record(self, run: RunRecord) -> Tracked:
        """Keeps the record's plan, once."""
        self._answer()
        plan = plan_record(run)
        if plan.uid not in self.plans:
            self.plans[plan.uid] = plan
            if plan.cadence is not None:
                self.cadences.setdefault((plan.pipeline, plan.cadence.name), []).extend(plan.cadence.points)
            if plan.model is not None:
                self.versions.setdefault(plan.pipeline, []).append(plan.uid)
        version = self._version(plan.pipeline, plan.uid)
        return Tracked(
            tracking_uri="memory:",
            experiment=experiment_name(plan.pipeline),
            run_id=f"memory-{plan.uid}",
            model_version=version,
        )

    def point(self, pipeline: str, aliases: Mapping[str, str]) -> None:
        """Keeps which version each alias means; a uid without a version leaves its alias unset."""
        self._answer()
        found = {alias: self._version(pipeline, aliases[alias]) for alias in ALIASES if alias in aliases}
        self.aliases[pipeline] = {alias: version for alias, version in found.items() if version is not None}

    def ledger(self, pipeline: str, lines: Sequence[Mapping[str, Any]], since: int) -> None:
        """Keeps the lines."""
        del since
        self._answer()
        self.ledgers[pipeline] = tuple(lines)

    def _version(self, pipeline: str, uid: str) -> int | None:
        uids = self.versions.get(pipeline, [])
        return uids.index(uid) + 1 if uid in uids else None

    def _answer(self) -> None:
        self.calls += 1
        if self.fail_with is not None:
            raise self.fail_with

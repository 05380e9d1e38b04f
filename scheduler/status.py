"""What is told of a schedule and of its pipelines: values alone."""

from dataclasses import dataclass

from plaster_ops.domain.slots import Slot
from plaster_ops.tracking.slots import Pause
from scheduler.coming import Coming
from scheduler.findings import Finding
from scheduler.heartbeat import Service


@dataclass(frozen=True, kw_only=True, slots=True)
class Retrain:
    """A finished retrain of the journal. `score`: its engine's; None where it was not measured."""

    index: int | None
    verdict: str | None
    score: float | None
    ended_at: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """What alerts hold against a pipeline, since when (seconds UTC)."""

    name: str
    since_s: float
    reason: str

    @property
    def words(self) -> str:
        """`over budget`."""
        return self.name.replace("_", " ")


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineStatus:
    """One pipeline; instants in seconds UTC.

    `last`: the newest slot that ended, whatever became of it. `tried`: the newest of those that ran, failed, timed out
    or were missed. `usual_s`: median of the last retrains that trained. `strip`: the newest slots, oldest first.
    `is_declared`: False for one that is not in the settings any more and still has open slots.
    """

    name: str
    cadence: str
    triggers: str
    zone: str
    is_declared: bool
    next: Coming | None
    last: Slot | None
    tried: Slot | None
    running: Slot | None
    usual_s: float | None
    waiting: tuple[Slot, ...]
    pause: Pause | None
    findings: tuple[Finding, ...]
    strip: tuple[Slot, ...]
    newest: Retrain | None
    champion: Retrain | None
    conditions: tuple[Condition, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """Its state in words, what matters most first: `paused`, kinds of findings, `running`, `waiting`, `ok`, ..."""
        told = ["paused"] if self.pause is not None else []
        told += dict.fromkeys(finding.kind.value for finding in self.findings)
        told += ["running"] if self.running is not None else []
        if any(slot.attempts for slot in self.waiting):
            told.append("retrying")
        elif self.waiting:
            told.append("waiting")
        if told:
            return tuple(told)
        return ("new",) if self.tried is None else ("ok",)


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """All of it at `at_s`, seconds UTC. `devices`: how many retrains may run at once; `busy`: how many do."""

    at_s: float
    project: str
    service: Service
    devices: int
    busy: int
    pipelines: tuple[PipelineStatus, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong with any pipeline."""
        return tuple(finding for pipeline in self.pipelines for finding in pipeline.findings)

    def count(self, word: str) -> int:
        """How many pipelines have that word in their state."""
        return sum(word in pipeline.words for pipeline in self.pipelines)

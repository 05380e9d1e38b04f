"""What is going on, at one instant: read from the ledger, the journal, the settings and the service's heartbeat.

The one source of `schedule list` and `check`, of the status page, of /api/status and of /metrics. Reads only.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from statistics import median

from plaster_ops.domain.metrics import ENGINE_SCORE
from plaster_ops.domain.slots import OPEN, Slot, SlotState
from plaster_ops.settings import Settings
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_rows import RunRow
from plaster_ops.tracking.liveness import this_host
from plaster_ops.tracking.slots import Accounted, Pause, SlotLedger
from scheduler.cadence_words import cadence_of, cadence_words, trigger_words
from scheduler.coming import Coming, first_unaccounted, next_slot
from scheduler.findings import TRIED, Facts, Finding, judge
from scheduler.heartbeat import Service, read_service
from scheduler.owner import owner_lives
from scheduler.planner import cadence_text

STRIP = 20
"""So many of the newest slots are shown."""
_LOOK_BACK = 200
"""So many of the newest slots are looked at for how long a retrain takes, and for the last one that was tried."""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Read:
    """What one question each tells of all pipelines. `changed_s`: when the settings file was changed last."""

    open: Mapping[str, list[Slot]]
    pauses: Mapping[str, Pause]
    accounted: Mapping[str, Accounted]
    conditions: Mapping[str, list[Condition]]
    changed_s: float | None


def collect(ledger: SlotLedger, journal: Journal, settings: Settings, now_s: float) -> Snapshot:
    """The state of every pipeline of the settings, and of those that were taken out and are not done yet."""
    read, service = _read(ledger, settings), read_service(settings, now_s)
    running = sum(slot.state is SlotState.RUNNING for slots in read.open.values() for slot in slots)
    total = service.devices or settings.scheduler.device_count
    told = partial(_status, ledger, journal, settings, read, service=service, now_s=now_s, is_full=running >= total)
    gone = [name for name in sorted(read.open) if name not in settings.pipelines]
    return Snapshot(
        at_s=now_s,
        project=settings.project.name,
        service=service,
        devices=total,
        busy=running,
        pipelines=tuple(told(name) for name in [*settings.pipelines, *gone]),
    )


def _read(ledger: SlotLedger, settings: Settings) -> _Read:
    opened, conditions = defaultdict[str, list[Slot]](list), defaultdict[str, list[Condition]](list)
    for slot in ledger.open_slots():
        opened[slot.pipeline].append(slot)
    for (pipeline, name), (since_s, reason) in sorted(ledger.conditions().items()):
        conditions[pipeline].append(Condition(name=name, since_s=since_s, reason=reason))
    return _Read(
        open=opened,
        pauses=ledger.pauses(),
        accounted=ledger.accounted(),
        conditions=conditions,
        changed_s=_changed_s(settings),
    )


def _changed_s(settings: Settings) -> float | None:
    try:
        return None if settings.file is None else settings.file.stat().st_mtime
    except OSError:
        return None


def _status(
    ledger: SlotLedger,
    journal: Journal,
    settings: Settings,
    read: _Read,
    name: str,
    *,
    service: Service,
    now_s: float,
    is_full: bool,
) -> PipelineStatus:
    wanted, opened, pause = settings.pipelines.get(name), read.open.get(name, []), read.pauses.get(name)
    cadence = cadence_of(wanted.cadence) if wanted is not None else None
    accounted = read.accounted.get(name)
    is_kept = accounted is not None and accounted.cadence == cadence_text(cadence)
    since_s = read.changed_s
    strip = ledger.newest(name, STRIP)
    tried = next((slot for slot in strip if slot.state in TRIED), None) or _tried_before(ledger, name, strip)
    running = next((slot for slot in opened if slot.state is SlotState.RUNNING), None)
    waiting = tuple(slot for slot in opened if slot.state is SlotState.DUE)
    facts = Facts(
        pipeline=name,
        now_s=now_s,
        check_s=settings.scheduler.check_s,
        service=service,
        is_full=is_full,
        pause=pause,
        unaccounted=first_unaccounted(cadence, name, accounted.upto_s, now_s) if is_kept and accounted else None,
        unkept=None if is_kept or since_s is None else first_unaccounted(cadence, name, since_s, now_s),
        is_new=accounted is None,
        running=running,
        is_orphan=running is not None and _is_orphan(running),
        waiting=waiting,
        tried=tried,
        failures=_failures(strip),
    )
    return PipelineStatus(
        name=name,
        cadence=cadence_words(cadence) if wanted is not None else "not in the settings any more",
        triggers=trigger_words(wanted.trigger) if wanted is not None else "",
        zone=wanted.cadence.timezone if wanted is not None else "UTC",
        is_declared=wanted is not None,
        next=next_slot(cadence, name, now_s),
        last=next((slot for slot in strip if slot.state not in OPEN), None),
        tried=tried,
        running=running,
        usual_s=_usual_s(ledger, name, strip, is_running=running is not None),
        waiting=waiting,
        pause=pause,
        findings=judge(facts),
        strip=tuple(reversed(strip)),
        newest=_retrain(journal.last_finished(name)),
        champion=_retrain(journal.champion(name)),
        conditions=tuple(read.conditions.get(name, ())),
    )


def _is_orphan(running: Slot) -> bool:
    """Whether the scheduler that ran it was one of this machine and is gone."""
    owner = running.owner or ""
    return owner.partition(" ")[0] == this_host() and not owner_lives(owner)


def _tried_before(ledger: SlotLedger, name: str, strip: list[Slot]) -> Slot | None:
    """The last one that was tried, where all of the strip was skipped."""
    if len(strip) < STRIP:
        return None
    return next((slot for slot in ledger.newest(name, _LOOK_BACK, ended=True) if slot.state in TRIED), None)


def _failures(strip: list[Slot]) -> int:
    """How many slots failed one after the other, up to now."""
    count = 0
    for slot in strip:
        if slot.state is SlotState.RAN:
            break
        count += slot.state in (SlotState.FAILED, SlotState.TIMED_OUT)
    return count


def _usual_s(ledger: SlotLedger, name: str, strip: list[Slot], *, is_running: bool) -> float | None:
    lengths = _lengths(strip)
    if not lengths and is_running:
        lengths = _lengths(ledger.newest(name, _LOOK_BACK, ended=True))
    return median(lengths[:STRIP]) if lengths else None


def _lengths(slots: list[Slot]) -> list[float]:
    """Seconds of those that trained."""
    return [
        slot.ended_s - slot.started_s
        for slot in slots
        if slot.state is SlotState.RAN
        and slot.verdict != "skipped"
        and slot.started_s is not None
        and slot.ended_s is not None
    ]


def _retrain(row: RunRow | None) -> Retrain | None:
    if row is None:
        return None
    score = row.headlines.get(ENGINE_SCORE.key)
    return Retrain(index=row.index, verdict=row.verdict, score=score, ended_at=row.ended_at)

"""What is going on, at one instant: read from the ledger, the journal, the settings and the service's heartbeat.

The one source of `schedule list` and `check`, of the status page, of /api/status and of /metrics. Reads only.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from statistics import median

from plaster_ops.domain.metrics import ENGINE_SCORE
from plaster_ops.domain.schedule import Cadence
from plaster_ops.domain.slots import OPEN, Slot, SlotState
from plaster_ops.settings import Settings
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_rows import RunRow
from plaster_ops.tracking.liveness import this_host
from plaster_ops.tracking.slots import Accounted, Pause, SlotLedger
from scheduler.cadence_words import cadence_of, cadence_words, trigger_words
from scheduler.coming import first_unaccounted, next_slot
from scheduler.findings import TRIED, Facts, judge
from scheduler.heartbeat import Service, read_service
from scheduler.owner import owner_lives
from scheduler.planner import cadence_text
from scheduler.status import Condition, PipelineStatus, Retrain, Snapshot

STRIP = 20
"""So many of the newest slots are shown."""
_text = lru_cache(maxsize=4096)(cadence_text)
_LOOK_BACK = 200
"""So many of the newest slots are looked at for how long a retrain takes, and for the last one that was tried."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Known:
    """What is known of all pipelines before one is looked at. `busy`: how many retrains run; `changed_s`: when the
    settings file was changed last."""

    settings: Settings
    now_s: float
    service: Service
    busy: int
    open: Mapping[str, list[Slot]]
    pauses: Mapping[str, Pause]
    accounted: Mapping[str, Accounted]
    conditions: Mapping[str, list[Condition]]
    changed_s: float | None

    @property
    def devices(self) -> int:
        """How many retrains may run at once."""
        return self.service.devices or self.settings.scheduler.device_count


@dataclass(frozen=True, kw_only=True, slots=True)
class _Rows:
    """What the ledger has of one pipeline; `strip` newest first."""

    strip: list[Slot]
    tried: Slot | None
    running: Slot | None
    waiting: tuple[Slot, ...]


def collect(ledger: SlotLedger, journal: Journal, settings: Settings, now_s: float) -> Snapshot:
    """The state of every pipeline of the settings, and of those that were taken out and are not done yet."""
    known = _known(ledger, settings, now_s)
    gone = [name for name in sorted(known.open) if name not in settings.pipelines]
    return Snapshot(
        at_s=now_s,
        project=settings.project.name,
        service=known.service,
        devices=known.devices,
        busy=known.busy,
        pipelines=tuple(_status(ledger, journal, known, name) for name in [*settings.pipelines, *gone]),
    )


def _known(ledger: SlotLedger, settings: Settings, now_s: float) -> _Known:
    opened, conditions = defaultdict[str, list[Slot]](list), defaultdict[str, list[Condition]](list)
    for slot in ledger.open_slots():
        opened[slot.pipeline].append(slot)
    for (pipeline, name), (since_s, reason) in sorted(ledger.conditions().items()):
        conditions[pipeline].append(Condition(name=name, since_s=since_s, reason=reason))
    return _Known(
        settings=settings,
        now_s=now_s,
        service=read_service(settings, now_s),
        busy=sum(slot.state is SlotState.RUNNING for slots in opened.values() for slot in slots),
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


def _status(ledger: SlotLedger, journal: Journal, known: _Known, name: str) -> PipelineStatus:
    wanted = known.settings.pipelines.get(name)
    cadence = cadence_of(wanted.cadence) if wanted is not None else None
    rows = _rows(ledger, name, known.open.get(name, []))
    return PipelineStatus(
        name=name,
        cadence=cadence_words(cadence) if wanted is not None else "not in the settings any more",
        triggers=trigger_words(wanted.trigger) if wanted is not None else "",
        zone=wanted.cadence.timezone if wanted is not None else "UTC",
        is_declared=wanted is not None,
        next=next_slot(cadence, name, known.now_s),
        last=next((slot for slot in rows.strip if slot.state not in OPEN), None),
        tried=rows.tried,
        running=rows.running,
        usual_s=_usual_s(ledger, name, rows),
        waiting=rows.waiting,
        pause=known.pauses.get(name),
        findings=judge(_facts(known, name, cadence, rows)),
        strip=tuple(reversed(rows.strip)),
        newest=_retrain(journal.last_finished(name)),
        champion=_retrain(journal.champion(name)),
        conditions=tuple(known.conditions.get(name, ())),
    )


def _rows(ledger: SlotLedger, name: str, opened: list[Slot]) -> _Rows:
    strip = ledger.newest(name, STRIP)
    return _Rows(
        strip=strip,
        tried=next((slot for slot in strip if slot.state in TRIED), None) or _tried_before(ledger, name, strip),
        running=next((slot for slot in opened if slot.state is SlotState.RUNNING), None),
        waiting=tuple(slot for slot in opened if slot.state is SlotState.DUE),
    )


def _facts(known: _Known, name: str, cadence: Cadence | None, rows: _Rows) -> Facts:
    accounted, since_s, now_s = known.accounted.get(name), known.changed_s, known.now_s
    is_kept = accounted is not None and accounted.cadence == _text(cadence)
    return Facts(
        pipeline=name,
        now_s=now_s,
        check_s=known.settings.scheduler.check_s,
        service=known.service,
        is_full=known.busy >= known.devices,
        pause=known.pauses.get(name),
        unaccounted=first_unaccounted(cadence, name, accounted.upto_s, now_s) if is_kept and accounted else None,
        unkept=None if is_kept or since_s is None else first_unaccounted(cadence, name, since_s, now_s),
        is_new=accounted is None,
        running=rows.running,
        is_orphan=rows.running is not None and _is_orphan(rows.running),
        waiting=rows.waiting,
        tried=rows.tried,
        failures=_failures(rows.strip),
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


def _usual_s(ledger: SlotLedger, name: str, rows: _Rows) -> float | None:
    lengths = _lengths(rows.strip)
    if not lengths and rows.running is not None:
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

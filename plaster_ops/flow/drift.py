"""What `plaster-ops drift` knows of a pipeline: its alarms, and where every watched metric stands. Reads alone.

The scan was made when each retrain ended, so nothing is scanned here, but for a newest retrain that looked for none.
"""

import getpass
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plaster_ops.domain.alarm import Alarm, AlarmState
from plaster_ops.domain.metrics import HEADLINES, Metric
from plaster_ops.domain.run import RunRecord
from plaster_ops.domain.standing import Standing, standing_of
from plaster_ops.domain.watch import Told, find_alarms
from plaster_ops.errors import UsageError
from plaster_ops.flow.watching import candidates_of, histories_of
from plaster_ops.flow.wiring import has_journal
from plaster_ops.settings import Settings
from plaster_ops.tracking.journal import Journal

_TOGETHER = 2
"""Retrains between which changes of several metrics may lie to be shown as one event: each place is an estimate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """`index`: number of the newest finished retrain, None without one; `device`: what it measured on.

    `alarms` in order of the retrains at which they lie. `is_stored`: False where they were found now, since that
    retrain had looked for none; they are then kept by nobody. `not_measured`: headlines that it has no value of.
    """

    pipeline: str
    index: int | None = None
    device: str | None = None
    alarms: Sequence[Alarm] = ()
    watched: Sequence[Standing] = ()
    not_measured: Sequence[Metric] = ()
    is_stored: bool = True

    @property
    def is_worse(self) -> bool:
        """Whether an open alarm is of a metric that went in its worse direction."""
        return any(alarm.is_open_and_worse for alarm in self.alarms)

    @property
    def events(self) -> list[list[Alarm]]:
        """Alarms that belong to one retrain, at most two apart, as one group; in order."""
        groups: list[list[Alarm]] = []
        for alarm in sorted(self.alarms, key=lambda each: (each.index, each.id)):
            if groups and alarm.index - groups[-1][0].index <= _TOGETHER:
                groups[-1].append(alarm)
            else:
                groups.append([alarm])
        return groups

    def to_json(self) -> dict[str, Any]:
        """The object of `drift --json`."""
        return {
            "schema": 1,
            "pipeline": self.pipeline,
            "index": self.index,
            "device": self.device,
            "stored": self.is_stored,
            "alarms": [alarm.to_json() for alarm in self.alarms],
            "events": [
                {"index": event_index(event), "alarms": [each.id for each in event], "keys": [e.key for e in event]}
                for event in self.events
            ],
            "watched": [each.to_json() for each in self.watched],
            "not_measured": [metric.key for metric in self.not_measured],
        }


def event_index(event: Sequence[Alarm]) -> int:
    """The retrain of several alarms: where something but the data changed, else that of the smallest p-value."""
    best = min(event, key=lambda alarm: (not alarm.candidates, 0.0 if alarm.p_value is None else alarm.p_value))
    return best.index


def drift(settings: Settings, name: str | None, *, key: str | None = None, resolved: bool = False) -> Drift:
    """The alarms of a pipeline and its watched metrics, or one of them; resolved alarms too where asked for.

    Raises `UsageError` for a metric that is not watched.
    """
    found, pipeline = settings.pipeline(name)
    if not has_journal(settings):
        return Drift(pipeline=found)
    with Journal.open(settings.memory) as journal:
        row = journal.last_finished(found)
        record = None if row is None else journal.record(row.uid)
        if record is None:
            return Drift(pipeline=found)
        return _of_record(journal, record, pipeline.margins(), key=key, resolved=resolved)


def _of_record(
    journal: Journal, record: RunRecord, margins: Mapping[str, float], *, key: str | None, resolved: bool
) -> Drift:
    histories, uids = histories_of(journal, record, is_stored=True, key=key)
    alarms = journal.alarms(record.pipeline)
    is_stored = record.assessment.get("alarms") is not None
    if not is_stored:
        told = Told(
            pipeline=record.pipeline,
            raised_index=record.index,
            raised_at=record.ended_at,
            margins=margins,
            alarms=alarms,
            candidates=candidates_of(journal, uids, record),
        )
        alarms = [*alarms, *find_alarms(histories, told)]
    measured = {history.metric.key for history in histories}
    return Drift(
        pipeline=record.pipeline,
        index=record.index,
        device=record.fingerprint.get("device"),
        alarms=[
            alarm
            for alarm in sorted(alarms, key=lambda each: (each.index, each.id))
            if (key is None or alarm.key == key) and (resolved or alarm.state is not AlarmState.RESOLVED)
        ],
        watched=[standing_of(history, alarms) for history in histories],
        not_measured=[each for each in HEADLINES if each.key not in measured and key in (None, each.key)],
        is_stored=is_stored,
    )


def answer_alarm(settings: Settings, id: int, state: AlarmState, note: str | None) -> Alarm:
    """Writes down that somebody acknowledged or resolved an alarm. Raises `UsageError` where none has that id."""
    if not has_journal(settings):
        raise UsageError(f"no alarm has the id {id}", "nothing is recorded here yet")
    with Journal.open(settings.memory) as journal:
        return journal.set_alarm_state(id, state, by=_user(), note=note)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"

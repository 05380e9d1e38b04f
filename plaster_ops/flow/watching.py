"""Which metrics left their level: histories from the journal, and the alarms of the retrain that ends now."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

from plaster_ops.domain.card import MEASURED_STATUSES
from plaster_ops.domain.changes import Change, changes_between
from plaster_ops.domain.metrics import Better
from plaster_ops.domain.run import RunRecord
from plaster_ops.domain.watch import WATCHED, Candidates, History, Told, find_alarms
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.names import is_number

LONGEST = 1000
"""Newest retrains of a pipeline that a history reaches back."""


def with_alarms(journal: Journal, record: RunRecord, margins: Mapping[str, float]) -> RunRecord:
    """The record of a retrain that ended, with the alarms that its card raises in `assessment`; not stored yet."""
    histories, uids = histories_of(journal, record, is_stored=False)
    told = Told(
        pipeline=record.pipeline,
        raised_index=record.index,
        raised_at=record.ended_at,
        margins=margins,
        alarms=journal.alarms(record.pipeline),
        candidates=candidates_of(journal, uids, record),
    )
    alarms = find_alarms(histories, told)
    return replace(record, assessment={**record.assessment, "alarms": [alarm.to_json() for alarm in alarms]})


def as_stored(journal: Journal, record: RunRecord) -> RunRecord:
    """The record with its alarms as the journal has them: with ids, and without those that were told before."""
    if not record.assessment.get("alarms"):
        return record
    stored = journal.alarms_of_run(record.uid)
    return replace(record, assessment={**record.assessment, "alarms": [alarm.to_json() for alarm in stored]})


def histories_of(
    journal: Journal, record: RunRecord, *, is_stored: bool, key: str | None = None
) -> tuple[list[History], dict[int, str]]:
    """The history of every watched metric that this record measured, of retrains with its fingerprint and method.

    Also the uid of each retrain in one of them, by number. `is_stored`: its values are in the journal already.
    """
    fingerprint = str(record.fingerprint.get("digest") or "")
    measured = (row for row in record.card if row["status"] in MEASURED_STATUSES)
    rows = {row["key"]: row for row in measured if is_number(row.get("value"))}
    histories: list[History] = []
    uids = {record.index: record.uid}
    for metric in WATCHED:
        row = rows.get(metric.key)
        if row is None or (key is not None and key != metric.key):
            continue
        method = str(row.get("method") or "")
        points = [
            (point.index, point.uid, point.value)
            for point in journal.points(record.pipeline, metric.key, LONGEST)
            if point.fingerprint == fingerprint and point.is_by(method) and point.index <= record.index
        ]
        if not is_stored:
            points = [*(each for each in points if each[0] != record.index), (record.index, record.uid, row["value"])]
        uids |= {index: uid for index, uid, _ in points}
        histories.append(
            History(
                metric=metric,
                better=Better(row["better"]),
                fingerprint=fingerprint,
                indices=[index for index, _, _ in points],
                values=[float(value) for _, _, value in points],
            )
        )
    return histories, uids


def candidates_of(journal: Journal, uids: Mapping[int, str], record: RunRecord) -> Candidates:
    """What differs between two of these retrains; `record` is one that the journal need not have yet."""

    @cache
    def recorded(index: int) -> RunRecord | None:
        return record if index == record.index else journal.record(uids[index]) if index in uids else None

    @cache
    def between(now: int, then: int) -> Sequence[Change]:
        later, earlier = recorded(now), recorded(then)
        return () if later is None or earlier is None else changes_between(later, earlier)

    return between

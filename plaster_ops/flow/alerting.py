"""From the journal and the slot ledger to conditions, and from a change of one to alerts.

`evaluate` notes what changed and queues the alerts of it in one transaction; `send_pending` sends what waits. Both are
called after every retrain, by the service and by `schedule check`; neither imports anything heavy.
"""

import json
import logging
import os
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from plaster_ops.alerts.answer import Answer
from plaster_ops.alerts.delivery import WITHIN_S, Delivered, Delivery
from plaster_ops.alerts.targets import Target, targets_of
from plaster_ops.domain.alert import AlertMessage, AlertState, headline
from plaster_ops.domain.conditions import Condition, Finding, find_conditions
from plaster_ops.domain.schedule import iso
from plaster_ops.errors import Busy, Interrupted, UsageError
from plaster_ops.flow.condition_facts import FactBook
from plaster_ops.flow.wiring import Ports
from plaster_ops.ports import EventSink
from plaster_ops.settings import Settings
from plaster_ops.tracking.alert_queue import AlertQueue
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_rows import RunRow
from plaster_ops.tracking.slots import SlotLedger

_log = logging.getLogger(__name__)

BY_THE_CLOCK = (Condition.LATE, Condition.FAILING)
"""What changes without a retrain that ends here; cheap enough to be looked at often, for every pipeline."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A condition of a pipeline that began to hold, or ended. `since_s`: when it began, seconds UTC."""

    pipeline: str
    condition: Condition
    state: AlertState
    reason: str
    since_s: float
    run: str | None = None

    @property
    def headline(self) -> str:
        """`digits is regressed`, `digits is no longer late`."""
        return headline(self.pipeline, self.condition, self.state)


def evaluate(
    ledger: SlotLedger,
    journal: Journal,
    settings: Settings,
    now_s: float,
    *,
    only: Collection[Condition] = tuple(Condition),
    pipelines: Collection[str] | None = None,
) -> list[Change]:
    """What changed since the last call of any process, each change once; its alerts wait to be sent.

    `pipelines`: those of the settings where None. Raises `NotRecorded` where the ledger cannot be written.
    """
    book = FactBook(ledger, journal, settings, now_s, only)
    known = ledger.conditions()
    changes = []
    for name in settings.pipelines:
        if (pipelines is None or name in pipelines) and _differs(name, _findings(book, name), known):
            changes += _write(ledger, journal, book, name)
    return changes


def send_pending(
    ledger: SlotLedger,
    settings: Settings,
    now_s: float,
    *,
    environment: Mapping[str, str] = os.environ,
    within_s: float = WITHIN_S,
) -> Delivered:
    """Sends the alerts that wait and are due, a few seconds at most. Never raises for what a receiver does."""
    delivery = Delivery(
        queue=AlertQueue(ledger.file),
        targets={name: targets_of(pipeline.alerts) for name, pipeline in settings.pipelines.items()},
        environment=environment,
        now_s=lambda: now_s,
        within_s=within_s,
    )
    return delivery.run()


def send_test(
    settings: Settings, name: str | None, now_s: float, environment: Mapping[str, str] = os.environ
) -> list[tuple[Target, Answer]]:
    """A marked message to every target of a pipeline, and what came back; nothing is queued or remembered.

    Raises `UsageError` where the pipeline has no alerts.
    """
    found, pipeline = settings.pipeline(name)
    targets = targets_of(pipeline.alerts)
    if not targets:
        raise UsageError(
            f"pipeline {found!r} has no alerts", f"add alerts to [pipelines.{found}], see docs/scheduler.md"
        )
    message = AlertMessage(
        id=uuid.uuid4().hex,
        project=settings.project.name,
        pipeline=found,
        condition="test",
        state=AlertState.FIRING,
        reason="sent by hand; nothing is wrong",
        since=iso(now_s),
        at=iso(now_s),
        test=True,
    )
    answers = []
    for target in targets:
        trouble = target.why_not_ready(environment)
        answer = Answer(ok=False, detail=trouble) if trouble else target.send(message, environment, WITHIN_S)
        answers.append((target, answer))
    return answers


@contextmanager
def alerts_after(ports: Ports, name: str, tell: EventSink) -> Iterator[None]:
    """After the block, whatever came of it: conditions are looked at and alerts sent. Changes nothing of its ending.

    Not where another run is going on, or this one was told to stop.
    """
    try:
        yield
    except (Busy, Interrupted):
        raise
    except Exception:
        _look_and_send(ports, name, tell)
        raise
    else:
        _look_and_send(ports, name, tell)


def _look_and_send(ports: Ports, name: str, tell: EventSink) -> None:
    ledger, settings = SlotLedger(ports.journal.file), ports.settings
    try:
        now_s = ports.clock.now_utc()
        for change in evaluate(ledger, ports.journal, settings, now_s, pipelines=(name,)):
            if settings.pipelines[name].alerts:
                tell({"event": "note", "text": f"alert: {change.headline}: {change.reason}"})
        send_pending(ledger, settings, now_s)
    except Interrupted:
        _log.warning("alerts: told to stop; what waits is sent on a later occasion")
    except Exception as error:  # the retrain has ended and is recorded: nothing here may change that
        _log.warning("alerts: %s; what waits is sent on a later occasion", getattr(error, "message", type(error)))


def _write(ledger: SlotLedger, journal: Journal, book: FactBook, name: str) -> list[Change]:
    """Looks again while nobody else can write, so that what is noted is never older than what was noted before."""
    changes = []
    with ledger.write() as write:
        known = ledger.conditions(name)
        book.refresh(name)
        for condition, found in _findings(book, name).items():
            since_s, _ = known.get((name, condition), (book.now_s, ""))
            if found.holds:
                is_new = write.set_condition(name, condition, book.now_s, found.reason)
            else:
                is_new = write.clear_condition(name, condition)
            if not is_new:
                continue
            change = Change(
                pipeline=name,
                condition=condition,
                state=AlertState.FIRING if found.holds else AlertState.RESOLVED,
                reason=found.reason,
                since_s=since_s,
                run=found.run,
            )
            changes.append(change)
            message = json.dumps(_message(change, book.settings, journal, book.now_s).to_json(), ensure_ascii=False)
            for target in targets_of(book.settings.pipelines[name].alerts):
                write.queue_alert(name, target.name, message, book.now_s)
    return changes


def _findings(book: FactBook, name: str) -> dict[Condition, Finding]:
    return {condition: found for condition, found in find_conditions(book.of(name)).items() if condition in book.only}


def _differs(
    name: str, findings: Mapping[Condition, Finding], known: Mapping[tuple[str, str], tuple[float, str]]
) -> bool:
    for condition, found in findings.items():
        before = known.get((name, condition))
        if found.holds != (before is not None) or (before is not None and before[1] != found.reason):
            return True
    return False


def _message(change: Change, settings: Settings, journal: Journal, now_s: float) -> AlertMessage:
    row = journal.run(change.run) if change.run else None
    return AlertMessage(
        id=uuid.uuid4().hex,
        project=settings.project.name,
        pipeline=change.pipeline,
        condition=change.condition,
        state=change.state,
        reason=change.reason,
        since=iso(change.since_s),
        at=iso(now_s),
        run=None if row is None else {"index": row.index, "id": row.mlflow_run_id or row.uid, "uid": row.uid},
        link=None if row is None else link_of(row),
        look=_look(change, row, journal),
    )


def link_of(row: RunRow) -> str | None:
    """The run's page in MLflow's UI, without a user or password; None where MLflow has no server or no such run yet."""
    parts = urlsplit(row.tracking_uri or "")
    if parts.scheme not in ("http", "https") or not row.mlflow_run_id:
        return None
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
    return f"{bare.rstrip('/')}/#/runs/{row.mlflow_run_id}"


def _look(change: Change, row: RunRow | None, journal: Journal) -> str:
    """The folder with what the retrain left, or the command that tells of it."""
    if row is None:
        return f"plaster-ops schedule history {change.pipeline}"
    record = journal.record(row.uid)
    if record is not None and record.artifacts is not None:
        return record.artifacts
    return f"plaster-ops history {change.pipeline}"

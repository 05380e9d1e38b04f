"""Alerts that wait: queued with the change that they tell of, claimed by one process, tried again, given up."""

import json
from dataclasses import asdict

import pytest

from plaster_ops.domain.alert import AlertMessage, AlertState
from plaster_ops.tracking.alert_queue import (
    FIRST_WAIT_S,
    LONGEST_WAIT_S,
    MOST_ATTEMPTS,
    OLDEST_S,
    AlertQueue,
    Waiting,
)
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.slots import SlotLedger

NOW_S = 1_795_000_000.0


def message(number: int = 1) -> AlertMessage:
    return AlertMessage(
        id=f"{number:032d}",
        project="shop",
        pipeline="digits",
        condition="late",
        state=AlertState.FIRING,
        reason="it is late",
        since="2026-11-23T02:00:00+00:00",
        at="2026-11-23T02:15:00+00:00",
    )


@pytest.fixture
def queue(journal: Journal) -> AlertQueue:
    return AlertQueue(journal.file)


def put(journal: Journal, number: int = 1, target: str = "webhook:HOOK") -> Waiting:
    with SlotLedger(journal.file).write() as write:
        write.queue_alert("digits", target, json.dumps(message(number).to_json()), NOW_S)
    return AlertQueue(journal.file).waiting()[-1]


def test_a_message_comes_out_as_it_went_in_oldest_first(journal: Journal, queue: AlertQueue) -> None:
    first, second = put(journal), put(journal, 2, "slack:CHAT")
    assert [each.message for each in queue.waiting()] == [message(1), message(2)]
    assert queue.waiting("slack:CHAT") == [second]
    assert queue.waiting(after_id=first.id) == [second]
    assert queue.left() == 2
    assert set(message().to_json()) == {"schema", *asdict(message())}


def test_a_change_and_its_alert_are_kept_together_or_not_at_all(journal: Journal, queue: AlertQueue) -> None:
    ledger = SlotLedger(journal.file)

    def write_half() -> None:
        with ledger.write() as write:
            write.set_condition("digits", "late", NOW_S, "it is late")
            write.queue_alert("digits", "webhook:HOOK", json.dumps(message().to_json()), NOW_S)
            raise RuntimeError("killed here")

    with pytest.raises(RuntimeError):
        write_half()
    assert (ledger.conditions(), queue.waiting()) == ({}, [])


def test_only_one_process_gets_to_send_it(journal: Journal, queue: AlertQueue) -> None:
    alert = put(journal)
    with Journal.open(journal.folder) as other:
        assert queue.claim(alert, NOW_S)
        assert not AlertQueue(other.file).claim(alert, NOW_S)
        (claimed,) = AlertQueue(other.file).waiting()
    assert not claimed.is_due(NOW_S + FIRST_WAIT_S - 1)
    assert claimed.is_due(NOW_S + FIRST_WAIT_S)
    queue.sent(claimed, NOW_S)
    assert not queue.claim(claimed, NOW_S)


def test_waits_double_up_to_a_bound_and_the_last_attempt_gives_up(journal: Journal, queue: AlertQueue) -> None:
    alert, waits, now_s = put(journal), list[float](), NOW_S
    for attempt in range(1, MOST_ATTEMPTS + 1):
        assert queue.claim(alert, now_s)
        gone = queue.failed(alert, f"answered {500 + attempt}", now_s)
        assert gone is (attempt == MOST_ATTEMPTS)
        if not gone:
            (alert,) = queue.waiting()
            assert (alert.attempts, alert.error) == (attempt, f"answered {500 + attempt}")
            waits.append(alert.not_before_s - now_s)
            now_s = alert.not_before_s
    assert waits == [min(FIRST_WAIT_S * 2**n, LONGEST_WAIT_S) for n in range(MOST_ATTEMPTS - 1)]
    assert queue.waiting() == []
    assert (queue.dropped_since(now_s), queue.dropped_since(now_s + 1)) == (1, 0)


def test_what_is_a_week_old_is_given_up_however_few_attempts_there_were(journal: Journal, queue: AlertQueue) -> None:
    alert = put(journal)
    assert queue.claim(alert, NOW_S + OLDEST_S)
    assert not queue.failed(alert, "answered 500", NOW_S + OLDEST_S)
    (alert,) = queue.waiting()
    assert queue.failed(alert, "answered 500", NOW_S + OLDEST_S + 1)


def test_a_clock_that_was_set_back_holds_nothing_up(journal: Journal) -> None:
    alert = put(journal)
    assert alert.is_due(NOW_S)
    assert not alert.is_due(NOW_S - 10)
    assert alert.is_due(NOW_S - 86_400)

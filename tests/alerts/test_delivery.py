"""What waits is sent: each target for itself, in order, within seconds, and once however many send."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from plaster_ops.alerts.delivery import Delivered, Delivery
from plaster_ops.alerts.targets import Target
from plaster_ops.domain.alert import AlertMessage
from plaster_ops.tracking.alert_queue import FIRST_WAIT_S, OLDEST_S, AlertQueue
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.slots import SlotLedger
from tests.alerts.receivers import TOKEN, Web, closed_port, web_receiver

NOW_S = 1_795_000_000.0
HOOK, CHAT = Target(kind="webhook", url_env="HOOK"), Target(kind="webhook", url_env="CHAT")
TARGETS = {"digits": [HOOK, CHAT], "power": [HOOK]}
Send = Callable[..., Delivered]


@pytest.fixture
def put(journal: Journal, message: AlertMessage) -> Callable[..., None]:
    def add(reason: str, target: Target = HOOK, pipeline: str = "digits") -> None:
        text = json.dumps(replace(message, reason=reason, pipeline=pipeline).to_json())
        with SlotLedger(journal.file).write() as write:
            write.queue_alert(pipeline, target.name, text, NOW_S)

    return add


@pytest.fixture
def send(journal: Journal, web: Web) -> Send:
    def run(*, after_s: float = 0.0, within_s: float = 5.0, environment: Mapping[str, str] | None = None) -> Delivered:
        return Delivery(
            queue=AlertQueue(journal.file),
            targets=TARGETS,
            environment={"HOOK": web.url, "CHAT": web.url} if environment is None else environment,
            now_s=lambda: NOW_S + after_s,
            within_s=within_s,
        ).run()

    return run


@pytest.fixture
def other() -> Iterator[Web]:
    with web_receiver() as receiver:
        yield receiver


def reasons(web: Web) -> list[str]:
    return [body["reason"] for body in web.got]


def test_everything_is_sent_once_and_in_order(put: Callable[..., None], send: Send, web: Web) -> None:
    for number in range(5):
        put(f"number {number}")
    assert send() == Delivered(sent=5)
    assert send() == Delivered()
    assert reasons(web) == [f"number {number}" for number in range(5)]


def test_what_a_receiver_did_not_take_comes_later_and_before_what_came_after_it(
    put: Callable[..., None], send: Send, web: Web
) -> None:
    put("first")
    put("second")
    web.answers = [500]
    assert send() == Delivered(left=2)
    assert send(after_s=FIRST_WAIT_S - 1) == Delivered(left=2)
    assert len(web.asked) == 1
    assert send(after_s=FIRST_WAIT_S) == Delivered(sent=2)
    assert reasons(web) == ["first", "second"]


def test_a_receiver_that_is_down_is_asked_once_for_all_pipelines_and_holds_no_other_up(
    put: Callable[..., None], send: Send, web: Web, caplog: pytest.LogCaptureFixture
) -> None:
    put("digits to nobody")
    put("power to nobody", pipeline="power")
    put("digits to somebody", CHAT)
    nobody = f"http://127.0.0.1:{closed_port()}/{TOKEN}"
    assert send(environment={"HOOK": nobody, "CHAT": web.url}) == Delivered(sent=1, left=2)
    assert reasons(web) == ["digits to somebody"]
    assert caplog.messages == [
        "alert that digits is regressed to webhook:HOOK: connection refused; it is tried again later"
    ]


def test_a_message_that_is_refused_holds_up_its_own_pipeline_alone(
    put: Callable[..., None], send: Send, web: Web
) -> None:
    put("refused")
    put("behind it")
    put("power", pipeline="power")
    web.answers = [400]
    assert send() == Delivered(sent=1, left=2)
    assert reasons(web) == ["power"]


@pytest.mark.parametrize("how", ["hold", "drip"])
def test_a_receiver_that_never_comes_to_an_end_costs_no_more_than_was_allowed(
    how: str, put: Callable[..., None], send: Send, web: Web, other: Web, journal: Journal
) -> None:
    put("to the silent one")
    put("to the other", CHAT)
    setattr(web, how, True)
    assert send(within_s=0.3, environment={"HOOK": web.url, "CHAT": other.url}) == Delivered(sent=1, left=1)
    (left,) = AlertQueue(journal.file).waiting()
    assert (left.attempts, left.error.startswith("no answer")) == (1, True)
    assert reasons(other) == ["to the other"]


def test_a_variable_that_is_not_set_here_is_told_once_and_costs_no_attempt(
    put: Callable[..., None], send: Send, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    put("it waits")
    for _ in range(3):
        assert send(environment={}) == Delivered(left=1)
    assert caplog.messages == ["alert that digits is regressed: HOOK is not set"]
    (left,) = AlertQueue(journal.file).waiting()
    assert (left.attempts, left.error) == (0, "HOOK is not set")
    assert send() == Delivered(sent=1)
    put("it waits for ever")
    assert send(after_s=OLDEST_S + 1, environment={}) == Delivered(dropped=1)


def test_an_alert_for_a_target_that_was_taken_out_of_the_settings_is_given_up(
    put: Callable[..., None], send: Send, web: Web
) -> None:
    put("nobody wants it", Target(kind="slack", url_env="OLD"))
    put("nobody has it", HOOK, "gone")
    assert send() == Delivered(dropped=2)
    assert web.asked == []


def test_a_message_that_its_sender_did_not_live_to_send_is_sent_later(
    put: Callable[..., None], send: Send, web: Web, journal: Journal
) -> None:
    put("from a dead process")
    queue = AlertQueue(journal.file)
    assert queue.claim(queue.waiting()[0], NOW_S)
    assert send() == Delivered(left=1)
    assert web.asked == []
    assert send(after_s=FIRST_WAIT_S) == Delivered(sent=1)


def test_what_another_process_queued_meanwhile_is_not_left_lying(
    put: Callable[..., None], send: Send, web: Web
) -> None:
    put("first")
    put_later = iter(["second"])

    class Answers(list[int]):
        """Queues another message while the first one is on its way."""

        def __bool__(self) -> bool:
            put_now = next(put_later, None)
            if put_now is not None:
                put(put_now)
            return False

    web.answers = Answers()
    assert send() == Delivered(sent=2)
    assert reasons(web) == ["first", "second"]


def test_the_address_is_in_no_file_of_the_journal_and_in_no_line_of_the_log(
    put: Callable[..., None], send: Send, web: Web, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    web.answers = [500, 302, 200, 404]
    for number in range(4):
        put(f"number {number}")
        send(after_s=number * 10_000.0)
    journal.close()
    files = [file for file in Path(journal.folder).rglob("*") if file.is_file()]
    assert files
    assert not [file for file in files if TOKEN.encode() in file.read_bytes()]
    assert TOKEN not in caplog.text

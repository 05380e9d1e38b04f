"""A record that tells of drift makes one retrain due, and a retrain that does not cure it is no loop."""

import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plaster_ops.domain.alarm import AlarmState
from plaster_ops.domain.slots import Cause, SlotState
from plaster_ops.settings_schedule import TriggerSettings
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.slots import SlotLedger
from scheduler.drift_trigger import DriftTrigger
from tests.domain.alarms import alarm
from tests.scheduler.arrivals import NAME, World, ledger_and_journal, settings_of
from tests.tracking.samples import finish

DAY_S, POLL_S, LENGTH_S = 86_400.0, 600.0, 900.0
TRIGGER = {"on_drift": ["inputs"], "poll_s": POLL_S, "cooldown_s": DAY_S}
WORST = {"feature": "price", "distance": 0.3, "drifted": True}
DRIFT = {"against": {"last": {"index": 1, "reason": "", "tested": 8, "drifted": 2, "worst": [WORST], "labels": {}}}}


@pytest.fixture
def both(tmp_path: Path) -> Iterator[tuple[SlotLedger, Journal]]:
    with ledger_and_journal(tmp_path) as opened:
        yield opened


def world(both: tuple[SlotLedger, Journal], drift: Any = DRIFT, **trigger: Any) -> World:
    """Ten samples come every hour."""
    arrivals = [(1.0, 100), *((10 * DAY_S - 10.0 + 3_600.0 * hour, 10) for hour in range(24 * 60))]
    there = World(*both, settings_of(Path("project"), {**TRIGGER, **trigger}), arrivals, drift=drift)
    there.length_s, there.now_s = LENGTH_S, 10 * DAY_S
    return there


def drifted(journal: Journal) -> str:
    return finish(journal, NAME, data={"to": 100, "drift": DRIFT}, seen=100).uid


def slots(there: World) -> list[tuple[Cause, SlotState]]:
    return [(slot.cause, slot.state) for slot in reversed(there.ledger.newest(NAME, 100))]


def test_one_record_of_drift_is_one_retrain(both: tuple[SlotLedger, Journal]) -> None:
    drifted(both[1])
    there = world(both, drift=None)
    there.run(there.now_s + 30 * DAY_S)
    assert slots(there) == [(Cause.DRIFT, SlotState.RAN)]
    told = "drift told by #1: 2 of 8 input features drifted since #1, worst price by 0.30"
    assert there.slots[0].reason == told


def test_an_alarm_makes_a_retrain_due_for_as_long_as_nobody_has_answered_it(both: tuple[SlotLedger, Journal]) -> None:
    """Somebody answers after the trigger has read the record: what the record keeps of its alarms is as it was told."""
    finish(both[1], NAME, assessment={"alarms": [alarm().to_json()]}, seen=100)
    (stored,) = both[1].alarms(NAME)
    asked, now_s = [], 10 * DAY_S
    trigger = DriftTrigger(
        {NAME: TriggerSettings.model_validate({**TRIGGER, "on_drift": ["latency"]})}, *both, lambda _name, _now_s: True
    )
    for state in (None, AlarmState.ACKNOWLEDGED):
        if state is not None:
            both[1].set_alarm_state(stored.id, state, by="me", note="int8, on purpose")
        asked.append(trigger.reason(NAME, now_s))
    assert asked == [f"drift told by #1: {stored.sentence}", None]


def test_a_retrain_waits_until_there_is_enough_to_learn(both: tuple[SlotLedger, Journal]) -> None:
    """The one that told of drift has learned all there was."""
    drifted(both[1])
    there = world(both, drift=None, min_new_samples=50, debounce_s=300)
    begun_s = there.now_s
    there.arrivals[:] = [(1.0, 100), *((begun_s + 5 * DAY_S + 60.0 * file, 10) for file in range(12))]
    there.run(begun_s + 5 * DAY_S)
    assert slots(there) == []
    there.run(begun_s + 9 * DAY_S)
    assert [(each.after, each.upto) for each in there.retrains] == [(100, 220)]
    assert slots(there) == [(Cause.DRIFT, SlotState.RAN)]


def test_without_a_source_there_is_always_something_to_learn(both: tuple[SlotLedger, Journal]) -> None:
    drifted(both[1])
    there = world(both)
    assert there.triggers.asks(there.now_s) == []
    uncounted = {"event": "new_data", "pipeline": NAME, "samples": None, "newest": None, "since": None}
    there.triggers.heard(uncounted, there.now_s)
    assert [ask.cause for ask in there.triggers.asks(there.now_s + POLL_S)] == [Cause.DRIFT]


def test_fifty_retrains_that_all_tell_of_drift_are_no_loop(both: tuple[SlotLedger, Journal]) -> None:
    """Each is one cool-down after the end of the last, though each leaves a record that asks for the next one, and
    whatever restarts in between.
    """
    drifted(both[1])
    there, draw = world(both), random.Random(7)
    begun_s = there.now_s
    restarts = [begun_s + draw.uniform(0.0, 49.0) * (DAY_S + LENGTH_S) for _ in range(30)]
    apart_s = DAY_S + LENGTH_S
    there.run(begun_s + 49.5 * apart_s, restarts=restarts)
    causes = [cause for cause, state in slots(there) if state is SlotState.RAN]
    assert causes == [Cause.DRIFT] * 50
    planned = [slot.planned_s for slot in reversed(there.ledger.newest(NAME, 100))]
    gaps = [later - earlier for earlier, later in itertools.pairwise(planned)]
    assert min(gaps) >= apart_s
    assert max(gaps) <= apart_s + LENGTH_S + 2.0  # one that a restart cut off ran once more


def test_in_the_cool_down_retrains_of_the_clock_may_tell_of_drift_as_often_as_they_like(
    both: tuple[SlotLedger, Journal],
) -> None:
    drifted(both[1])
    there = world(both)
    begun_s = there.now_s
    for hour in range(1, 24):
        there.run(begun_s + hour * 3_600.0)
        drifted(both[1])
    assert [cause for cause, _ in slots(there)] == [Cause.DRIFT]
    there.run(begun_s + DAY_S + LENGTH_S + POLL_S)
    assert [cause for cause, _ in slots(there)] == [Cause.DRIFT] * 2
    assert there.slots[-1].reason.startswith("drift told by #25: ")


def test_a_retrain_that_was_skipped_is_asked_for_again_and_begins_no_cool_down(
    both: tuple[SlotLedger, Journal],
) -> None:
    drifted(both[1])
    there = world(both, drift=None)
    there.ending = lambda number: "busy" if number == 1 else "finished"
    there.run(there.now_s + 10 * POLL_S)
    assert slots(there) == [(Cause.DRIFT, SlotState.SKIPPED), (Cause.DRIFT, SlotState.RAN)]


def test_a_clock_that_was_years_ahead_for_a_while_begins_no_cool_down_of_years(
    both: tuple[SlotLedger, Journal],
) -> None:
    drifted(both[1])
    there = world(both)
    there.now_s = 4_000 * DAY_S
    there.run(there.now_s + LENGTH_S + 2 * POLL_S)
    there.arrivals.insert(0, (0.5, 100_000))  # not taken by what ran in those years
    there.now_s = 10 * DAY_S
    there.boot()
    there.run(there.now_s + 2 * POLL_S)
    assert [(slot.cause, slot.planned_s < 11 * DAY_S) for slot in there.slots] == [
        (Cause.DRIFT, False),
        (Cause.DRIFT, True),
    ]


def test_a_retrain_that_failed_is_not_asked_for_again(both: tuple[SlotLedger, Journal]) -> None:
    drifted(both[1])
    there = world(both)
    there.ending = lambda _number: "broken"
    there.run(there.now_s + 10 * DAY_S)
    assert slots(there) == [(Cause.DRIFT, SlotState.FAILED)]


def test_what_a_retrain_outside_the_service_told_is_noticed_at_the_next_look(both: tuple[SlotLedger, Journal]) -> None:
    there = world(both)
    there.run(there.now_s + DAY_S)
    assert slots(there) == []
    at_s = there.now_s
    drifted(both[1])
    there.run(at_s + POLL_S + LENGTH_S + 2.0)
    assert slots(there) == [(Cause.DRIFT, SlotState.RAN)]


def test_drift_that_nobody_asked_about_makes_nothing_due(both: tuple[SlotLedger, Journal]) -> None:
    drifted(both[1])
    there = world(both, on_drift=["latency", "labels"])
    there.run(there.now_s + 10 * DAY_S)
    assert slots(there) == []


def test_words_that_new_settings_add_are_looked_for_in_the_record_that_is_there(
    both: tuple[SlotLedger, Journal],
) -> None:
    drifted(both[1])
    there = world(both, on_drift=["latency"])
    there.run(there.now_s + DAY_S)
    there.triggers.load(settings_of(Path("project"), TRIGGER))
    assert [ask.cause for ask in there.triggers.asks(there.now_s)] == [Cause.DRIFT]


def test_one_ask_is_enough_where_data_and_drift_both_call_for_it(both: tuple[SlotLedger, Journal]) -> None:
    drifted(both[1])
    there = world(both, drift=None, on_data=True, debounce_s=0.0)
    there.arrivals[:] = [(1.0, 100), (2.0, 100)]
    there.run(there.now_s + DAY_S)
    assert [cause for cause, _ in slots(there)] == [Cause.DATA]

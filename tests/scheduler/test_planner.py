"""The planner rule by rule: what becomes of a slot, who starts, and what a failure, a crash or a wrong clock costs."""

import sqlite3
from dataclasses import replace
from typing import Any

import pytest

from plaster_ops.domain.schedule import Cadence, iso
from plaster_ops.domain.slots import DEATHS, Cause, Rules, Slot, SlotState
from plaster_ops.errors import NotRecorded
from plaster_ops.tracking.journal_file import JournalFile
from plaster_ops.tracking.slots import LedgerWriter, SlotLedger
from scheduler import clockwork
from scheduler.clockwork import Plan
from scheduler.planner import AHEAD_S, GONE, Planner
from tests.scheduler.conftest import HOUR_S, T0, Desk, hourly

DAY_S = 24 * HOUR_S


def end(planner: Planner, slot: Slot, now_s: float, code: int = 0) -> Slot:
    return planner.ended(slot, code, now_s, verdict=None, reason="it was so")


# ---- what is due ---------------------------------------------------------------------------------------------------
def test_a_pipeline_that_is_new_is_due_from_then_on(desk: Desk) -> None:
    planner = desk.planner({"digits": hourly()}, T0 + 1)
    assert planner.tick(T0 + 1) == []
    assert planner.next_wake_s(T0 + 1) == T0 + HOUR_S
    assert planner.upcoming() == {"digits": T0 + HOUR_S}
    assert planner.startable(T0 + 1) == 0
    assert desk.rows() == []


def test_a_slot_that_is_due_starts_and_its_row_says_so(desk: Desk) -> None:
    planner = desk.planner({"digits": hourly()})
    assert planner.startable(T0 + HOUR_S) == 1
    (slot,) = planner.tick(T0 + HOUR_S + 2)
    assert slot == desk.rows()[0]
    assert (slot.state, slot.attempts, slot.owner, slot.started_s) == (SlotState.RUNNING, 1, "me", T0 + HOUR_S + 2)
    assert (slot.planned_s, slot.due_s, slot.was_missed, slot.reason) == (T0 + HOUR_S, T0 + HOUR_S, False, "")
    assert planner.tick(T0 + HOUR_S + 3) == []
    assert planner.startable(T0 + HOUR_S + 3) == 0
    told = planner.ended(slot, 0, T0 + HOUR_S + 9, verdict="promoted", reason="well", run="uid-1")
    assert told == desk.rows()[0]
    assert (told.state, told.verdict, told.exit_code, told.run) == (SlotState.RAN, "promoted", 0, "uid-1")
    assert (told.ended_s, planner.running()) == (T0 + HOUR_S + 9, [])


@pytest.mark.parametrize(
    ("missed", "states", "started"),
    [("run_once", "missed missed running", 1), ("skip", "missed missed missed", 0), ("run_all", "running due due", 1)],
)
def test_slots_that_nobody_was_there_for(desk: Desk, missed: str, states: str, started: int) -> None:
    desk.planner({"digits": hourly(missed=missed)})
    planner = desk.planner({"digits": hourly(missed=missed)}, T0 + 3.5 * HOUR_S, owner="next")
    assert len(planner.tick(T0 + 3.5 * HOUR_S)) == started
    assert desk.states() == states.split()
    assert all(slot.was_missed for slot in desk.rows())
    if missed == "run_once":
        assert desk.reasons(SlotState.MISSED) == ["coalesced into the slot of 2027-01-15T11:00:00+00:00"] * 2
        assert desk.rows()[-1].reason == "caught up"


def test_a_slot_in_time_is_started_for_those_missed_before_it(desk: Desk) -> None:
    desk.planner({"digits": hourly()})
    assert desk.planner({"digits": hourly()}, T0 + 2 * HOUR_S + 5, owner="next").tick(T0 + 2 * HOUR_S + 5)
    assert [(slot.state, slot.was_missed) for slot in desk.rows()] == [("missed", True), ("running", False)]


@pytest.mark.parametrize(("late_s", "is_missed"), [(60.0, False), (60.5, True)])
def test_a_slot_is_missed_once_it_is_found_later_than_the_settings_say(
    desk: Desk, late_s: float, is_missed: bool
) -> None:
    planner = desk.planner({"digits": hourly(missed="skip", late_s=60.0)})
    assert bool(planner.tick(T0 + HOUR_S + late_s)) is not is_missed
    assert desk.rows()[0].was_missed is is_missed


def test_months_of_missed_slots_are_one_catching_up(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """However they are dealt with: here ten at a time."""
    monkeypatch.setattr(clockwork, "AT_ONCE", 10)
    desk.planner({"digits": hourly()})
    planner = desk.planner({"digits": hourly()}, T0 + 25.5 * HOUR_S, owner="next")
    assert len(planner.tick(T0 + 25.5 * HOUR_S)) == 1
    assert desk.states() == ["missed"] * 24 + ["running"]
    assert desk.reasons(SlotState.MISSED)[0] == "coalesced into a later slot"
    assert desk.reasons(SlotState.MISSED)[-1] == "coalesced into the slot of 2027-01-16T09:00:00+00:00"


@pytest.mark.parametrize(("overlap", "states"), [("skip", "running skipped skipped"), ("queue", "running due due")])
def test_a_slot_that_comes_while_the_one_before_runs(desk: Desk, overlap: str, states: str) -> None:
    planner = desk.planner({"digits": hourly(overlap=overlap)}, devices=2)
    (slot,) = planner.tick(T0 + HOUR_S)
    assert planner.tick(T0 + 2 * HOUR_S) == planner.tick(T0 + 3 * HOUR_S) == []
    assert desk.states() == states.split()
    assert set(desk.reasons(SlotState.SKIPPED)) <= {"overlap: the slot of 2027-01-15T09:00:00+00:00 is running"}
    end(planner, slot, T0 + 3.2 * HOUR_S)
    assert [each.planned_s for each in planner.tick(T0 + 3.2 * HOUR_S)] == (
        [T0 + 2 * HOUR_S] if overlap == "queue" else []
    )


def test_a_slot_that_comes_while_another_waits_for_a_device(desk: Desk) -> None:
    planner = desk.planner({"digits": hourly(), "other": hourly()})
    assert [slot.pipeline for slot in planner.tick(T0 + HOUR_S)] == ["digits"]
    planner.tick(T0 + 2 * HOUR_S)
    assert desk.reasons(SlotState.SKIPPED, "other") == ["overlap: the slot of 2027-01-15T09:00:00+00:00 is waiting"]


def test_jitter_longer_than_the_cadence_does_not_make_slots_late(desk: Desk) -> None:
    plan = Plan(cadence=Cadence(cron="* * * * *", jitter_s=600.0), rules=Rules(overlap="queue"))
    planner = desk.planner({"digits": plan})
    now_s = T0
    while now_s < T0 + HOUR_S:
        planner.tick(now_s)
        now_s = max(planner.next_wake_s(now_s) or now_s, now_s)
    rows = desk.rows()
    assert not any(slot.was_missed for slot in rows)
    assert [slot.due_s for slot in rows] == sorted(slot.due_s for slot in rows)
    assert all(0 <= slot.due_s - slot.planned_s <= 600 for slot in rows)


# ---- pauses, hands, the queue --------------------------------------------------------------------------------------
def test_a_paused_pipeline_skips_its_slots_and_one_by_hand_runs_all_the_same(desk: Desk) -> None:
    planner = desk.planner({"digits": hourly()})
    desk.pause("digits")
    assert planner.tick(T0 + HOUR_S) == []
    assert desk.reasons(SlotState.SKIPPED) == ["paused by ann: moving house"]
    skipped = planner.ask("digits", Cause.DATA, T0 + HOUR_S + 1, "220 new samples")
    assert skipped is not None
    assert (skipped.state, skipped.reason) == (SlotState.SKIPPED, "paused by ann: moving house")
    planner.ask("digits", Cause.HAND, T0 + HOUR_S + 2, "asked for by bob")
    assert [slot.cause for slot in planner.tick(T0 + HOUR_S + 2)] == [Cause.HAND]
    desk.resume("digits")
    planner.ended(planner.running()[0], 0, T0 + HOUR_S + 3, verdict=None, reason="")
    assert len(planner.tick(T0 + 2 * HOUR_S)) == 1


def test_what_waits_when_its_pipeline_is_paused_waits_until_it_is_not(desk: Desk) -> None:
    planner = desk.planner({"digits": hourly(), "other": hourly()})
    (slot,) = planner.tick(T0 + HOUR_S)
    desk.pause("other")
    end(planner, slot, T0 + HOUR_S + 5)
    assert planner.tick(T0 + HOUR_S + 6) == []
    assert desk.states("other") == ["due"]
    desk.resume("other")
    assert [slot.pipeline for slot in planner.tick(T0 + HOUR_S + 7)] == ["other"]


def test_the_queue_is_bounded_and_has_a_place_for_each_pipeline(desk: Desk) -> None:
    plans = {name: hourly(overlap="queue", minute=30) for name in ("b", "c")}
    plans["eager"] = Plan(cadence=Cadence(cron="* * * * *"), rules=Rules(overlap="queue"))
    planner = desk.planner(plans, queue_max=6)
    for minute in range(1, 120):
        planner.tick(T0 + 60 * minute)
        assert len(planner.waiting()) <= 6
    assert [slot.pipeline for slot in planner.waiting()].count("eager") == 4
    assert desk.states("b")[0] == desk.states("c")[0] == "due"
    assert set(desk.reasons(SlotState.SKIPPED, "eager")) == {"the queue is full"}


def test_a_queue_smaller_than_the_pipelines_is_full_for_the_last(desk: Desk) -> None:
    planner = desk.planner({name: hourly() for name in "abcd"}, queue_max=2)
    assert len(planner.tick(T0 + HOUR_S)) == 1
    assert sorted(str(slot.state) for name in "abcd" for slot in desk.rows(name)) == [
        "due",
        "running",
        "skipped",
        "skipped",
    ]
    full = planner.ask("d", Cause.HAND, T0 + HOUR_S + 1, "asked")
    assert full is None or full.state is SlotState.DUE
    again = planner.ask("c", Cause.HAND, T0 + HOUR_S + 2, "asked")
    assert again is not None
    assert (again.state, again.reason) == (SlotState.SKIPPED, "the queue is full")


def test_what_is_asked_for_twice_waits_once(desk: Desk) -> None:
    """Also where the clock stands, or was set back to the very instant of an earlier one."""
    planner = desk.planner({"digits": Plan()})
    assert planner.ask("digits", Cause.HAND, T0, "asked") is not None
    assert planner.ask("digits", Cause.HAND, T0 + 1, "asked") is None
    assert planner.ask("digits", Cause.DATA, T0 + 1, "new data") is not None
    (slot,) = planner.tick(T0 + 1)
    assert (slot.planned_s, slot.cause) == (T0, Cause.HAND)
    end(planner, slot, T0 + 2)
    again = planner.ask("digits", Cause.HAND, T0, "asked")
    assert again is not None
    assert (again.planned_s, again.due_s) == (T0 + 1, T0)


def test_a_planner_that_keeps_nothing_hands_a_wish_to_the_one_that_does(desk: Desk) -> None:
    """As `schedule once --now` does where a service runs."""
    service = desk.planner({"digits": hourly()}, owner="service")
    desk.alive.add("service")
    passer_by = Planner(ledger=desk.ledger, owner="passer-by", is_alive=lambda _owner: True)
    assert passer_by.ask("digits", Cause.HAND, T0 + 1, "asked") is not None
    assert passer_by.ask("digits", Cause.HAND, T0 + 2, "asked") is None
    assert service.tick(T0 + 3) == []
    service.look_again()
    assert [slot.cause for slot in service.tick(T0 + 4)] == [Cause.HAND]


# ---- ends and attempts ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("code", "state", "reason"),
    [
        *((code, SlotState.RAN, "it was so") for code in (0, 3, 4, 5, 6)),
        (2, SlotState.FAILED, "it was so"),
        (75, SlotState.SKIPPED, "overlap: it was so"),
    ],
)
def test_what_an_exit_code_makes_of_a_slot_at_once(desk: Desk, code: int, state: SlotState, reason: str) -> None:
    planner = desk.planner({"digits": hourly(retries=2)})
    (slot,) = planner.tick(T0 + HOUR_S)
    told = end(planner, slot, T0 + HOUR_S + 5, code)
    assert (told.state, told.reason, told.exit_code, told.ended_s) == (state, reason, code, T0 + HOUR_S + 5)
    assert planner.waiting() == []


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (1, "failed"),
        (10, "failed"),
        (11, "failed"),
        (12, "failed"),
        (-9, "failed"),
        (143, "failed"),
        (124, "timed_out"),
    ],
)
def test_other_codes_are_tried_again_with_back_off_and_a_bound(desk: Desk, code: int, state: str) -> None:
    planner, now_s = desk.planner({"digits": hourly(retries=2, backoff_s=60.0)}), T0 + HOUR_S
    for wait_s in (60.0, 120.0):
        (slot,) = planner.tick(now_s)
        waiting = end(planner, slot, now_s, code)
        assert (waiting.state, waiting.not_before_s) == (SlotState.DUE, now_s + wait_s)
        assert waiting.reason.endswith(f"ended with {code}; again in {wait_s:.0f} s")
        assert planner.next_wake_s(now_s) == now_s + wait_s
        assert planner.tick(now_s + wait_s - 0.1) == []
        now_s += wait_s
    (slot,) = planner.tick(now_s)
    assert (slot.attempts, slot.started_s) == (3, T0 + HOUR_S)
    told = end(planner, slot, now_s, code)
    assert (str(told.state), told.exit_code, planner.waiting()) == (state, code, [])


def test_a_back_off_ends_at_a_day_and_a_clock_set_back_does_not_stretch_it(desk: Desk) -> None:
    planner = desk.planner({"digits": hourly(retries=50, backoff_s=60.0)})
    (slot,) = planner.tick(T0 + HOUR_S)
    told = end(planner, replace(slot, attempts=40), T0 + HOUR_S, 10)
    assert told.not_before_s == T0 + HOUR_S + DAY_S
    assert planner.tick(T0 + HOUR_S - 60) != []


def test_what_is_stopped_to_go_on_later_has_not_used_an_attempt(desk: Desk) -> None:
    planner = desk.planner({"digits": hourly()})
    (slot,) = planner.tick(T0 + HOUR_S)
    told = planner.interrupted(slot, "stopped with its scheduler")
    assert (told.state, told.attempts, told.owner) == (SlotState.DUE, 0, None)
    (again,) = desk.planner({"digits": hourly()}, T0 + HOUR_S + 30, owner="next").tick(T0 + HOUR_S + 30)
    assert (again.attempts, again.planned_s, again.started_s) == (1, slot.planned_s, slot.started_s)


# ---- crashes -------------------------------------------------------------------------------------------------------
def test_a_retrain_whose_scheduler_died_runs_again_and_what_waited_still_waits(desk: Desk) -> None:
    plans = {"digits": hourly(), "other": hourly()}
    desk.planner(plans).tick(T0 + HOUR_S)
    assert (desk.states(), desk.states("other")) == (["running"], ["due"])
    planner = desk.planner(plans, T0 + HOUR_S + 20, owner="next")
    assert [slot.reason for slot in planner.waiting()] == ["its scheduler was gone; again", ""]
    begun = planner.tick(T0 + HOUR_S + 20)
    assert [(slot.pipeline, slot.attempts, slot.owner) for slot in begun] == [("other", 1, "next")]
    end(planner, begun[0], T0 + HOUR_S + 25)
    assert [(slot.pipeline, slot.attempts) for slot in planner.tick(T0 + HOUR_S + 26)] == [("digits", 2)]


def test_a_retrain_that_takes_its_scheduler_along_each_time_is_given_up(desk: Desk) -> None:
    plans, starts = {"digits": hourly(retries=1)}, 0
    for number in range(DEATHS + 5):
        starts += len(desk.planner(plans, T0 + number, owner=f"service-{number}").tick(T0 + HOUR_S + number))
    assert starts == DEATHS + 2
    assert desk.states() == ["failed"]
    assert desk.rows()[0].reason == "its scheduler was gone in the middle of each of 12 attempts"


def test_a_retrain_of_another_scheduler_that_lives_is_left_to_it(desk: Desk) -> None:
    """Its device is taken and its pipeline is at work until it is at an end, or that scheduler is."""
    once = desk.planner({"digits": hourly()}, owner="once")
    (slot,) = once.tick(T0 + HOUR_S)
    desk.alive.add("once")
    service = desk.planner({"digits": hourly(), "other": hourly(minute=30)}, T0 + HOUR_S, owner="service")
    assert service.tick(T0 + 1.5 * HOUR_S) == service.tick(T0 + 2 * HOUR_S) == []
    assert desk.states() == ["running", "skipped"]
    end(once, slot, T0 + 2 * HOUR_S)
    service.look_again()
    assert [each.pipeline for each in service.tick(T0 + 2 * HOUR_S + 1)] == ["other"]


def test_a_retrain_of_another_scheduler_that_dies_later_runs_again(desk: Desk) -> None:
    desk.planner({"digits": hourly()}, owner="once").tick(T0 + HOUR_S)
    desk.alive.add("once")
    service = desk.planner({"digits": hourly()}, T0 + HOUR_S, owner="service")
    assert service.tick(T0 + HOUR_S + 1) == []
    desk.alive.clear()
    service.look_again()
    assert [(slot.owner, slot.attempts) for slot in service.tick(T0 + HOUR_S + 10)] == [("service", 2)]


def test_two_schedulers_over_one_ledger_start_a_slot_once(desk: Desk) -> None:
    """Neither has looked again since the other wrote."""
    desk.alive |= {"one", "two"}
    one, two = (desk.planner({"digits": hourly(overlap="queue")}, owner=owner) for owner in ("one", "two"))
    begun = [*one.tick(T0 + HOUR_S), *two.tick(T0 + HOUR_S)]
    assert [slot.owner for slot in begun] == ["one"]
    assert two.tick(T0 + 2 * HOUR_S) == one.tick(T0 + 2 * HOUR_S) == []
    end(one, begun[0], T0 + 2 * HOUR_S + 1)
    two.look_again()
    assert [slot.owner for slot in two.tick(T0 + 2 * HOUR_S + 2)] == ["two"]
    assert one.tick(T0 + 2 * HOUR_S + 3) == []
    assert desk.states() == ["ran", "running"]


# ---- a ledger that cannot be written ---------------------------------------------------------------------------------
FULL = sqlite3.OperationalError("database or disk is full")


@pytest.mark.parametrize(("method", "call"), [("add", 1), ("add", 2), ("advance", 2), ("take", 1), ("pauses", 1)])
def test_a_write_that_fails_in_the_middle_loses_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, method: str, call: int
) -> None:
    plans = {"digits": hourly(), "other": hourly(overlap="queue")}
    planner = desk.planner(plans, devices=2)
    break_at(monkeypatch, method, call)
    with pytest.raises(NotRecorded, match="disk is full"):
        planner.tick(T0 + HOUR_S)
    assert desk.rows() == desk.rows("other") == []
    assert sorted(slot.pipeline for slot in planner.tick(T0 + HOUR_S + 10)) == ["digits", "other"]
    assert (desk.states(), desk.states("other")) == (["running"], ["running"])
    assert [slot.attempts for slot in desk.rows()] == [1]


def test_an_end_that_cannot_be_written_is_told_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    planner = desk.planner({"digits": hourly()})
    (slot,) = planner.tick(T0 + HOUR_S)
    break_at(monkeypatch, "put", 1)
    with pytest.raises(NotRecorded):
        end(planner, slot, T0 + HOUR_S + 5)
    assert planner.tick(T0 + HOUR_S + 6) == []
    assert [each.name for each in planner.running()] == [slot.name]
    assert end(planner, slot, T0 + HOUR_S + 5).state is SlotState.RAN
    assert (desk.states(), planner.running()) == (["ran"], [])


def test_what_was_written_but_never_told_to_anyone_starts_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that reports an error may have been made all the same."""
    planner = desk.planner({"digits": hourly()})
    write = SlotLedger.write

    def unsure(ledger: SlotLedger) -> Any:
        monkeypatch.setattr(SlotLedger, "write", write)
        return _Unsure(ledger)

    monkeypatch.setattr(SlotLedger, "write", unsure)
    with pytest.raises(NotRecorded):
        planner.tick(T0 + HOUR_S)
    assert desk.states() == ["running"]
    assert len(planner.tick(T0 + HOUR_S + 1)) == 1
    assert desk.rows()[0].attempts == 2


class _Unsure:
    def __init__(self, ledger: SlotLedger) -> None:
        self._block = ledger.write()

    def __enter__(self) -> LedgerWriter:
        return self._block.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._block.__exit__(*error)
        raise NotRecorded("the journal cannot be written: disk I/O error", "make room")


def test_a_ledger_that_another_process_holds_is_written_at_the_next_tick(desk: Desk) -> None:
    planner = desk.planner({"digits": hourly(missed="run_all")})
    other = JournalFile(desk.ledger.file.folder)
    with other.write(), pytest.raises(NotRecorded, match="database is locked"):
        planner.tick(T0 + HOUR_S)
    other.close()
    assert len(planner.tick(T0 + 2 * HOUR_S + 5)) == 1
    assert desk.states() == ["running", "skipped"] or desk.states() == ["running", "due"]


def break_at(monkeypatch: pytest.MonkeyPatch, method: str, call: int) -> None:
    """That call of that method of the writer fails as on a full disk, after it has done its part; later ones work."""
    whole, calls = getattr(LedgerWriter, method), 0

    def broken(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        told = whole(*args)
        if calls == call:
            raise FULL
        return told

    monkeypatch.setattr(LedgerWriter, method, broken)


# ---- settings that change --------------------------------------------------------------------------------------------
def test_the_same_settings_again_change_nothing(desk: Desk) -> None:
    planner = desk.planner({"digits": hourly(overlap="queue")})
    (slot,) = planner.tick(T0 + HOUR_S)
    planner.load({"digits": hourly(overlap="queue")}, T0 + 1.9 * HOUR_S)
    assert [each.name for each in planner.running()] == [slot.name]
    planner.tick(T0 + 2 * HOUR_S)
    assert desk.states() == ["running", "due"]


def test_a_new_cadence_is_due_from_then_on_and_the_old_ones_slots_are_not_lost(desk: Desk) -> None:
    """09:00 was due before the settings were read again, and 09:15 by the new line would have been."""
    planner = desk.planner({"digits": hourly()}, devices=2)
    planner.load({"digits": hourly(minute=15)}, T0 + HOUR_S + 20 * 60)
    assert [slot.planned_s for slot in desk.rows()] == [T0 + HOUR_S]
    assert planner.upcoming() == {"digits": T0 + 2 * HOUR_S + 15 * 60}
    assert [slot.planned_s for slot in planner.tick(T0 + HOUR_S + 20 * 60)] == [T0 + HOUR_S]
    planner.load({"digits": hourly()}, T0 + HOUR_S + 30 * 60)
    assert planner.upcoming() == {"digits": T0 + 2 * HOUR_S}


def test_a_cadence_that_changed_while_nobody_was_there_is_caught_up_by_the_new_rules(desk: Desk) -> None:
    desk.planner({"digits": hourly(missed="skip")})
    planner = desk.planner({"digits": hourly(minute=30)}, T0 + 3.2 * HOUR_S, owner="next")
    assert [slot.planned_s for slot in planner.tick(T0 + 3.2 * HOUR_S)] == [T0 + 3 * HOUR_S]
    assert desk.states() == ["missed", "missed", "running"]


def test_a_slot_that_was_planned_and_spread_is_not_lost_with_its_cadence(desk: Desk) -> None:
    spread = Plan(cadence=Cadence(cron="0 * * * *", jitter_s=3000.0))
    planner = desk.planner({"digits": spread})
    assert planner.tick(T0 + HOUR_S + 1) == []
    planner.load({"digits": hourly()}, T0 + HOUR_S + 2)
    assert [slot.planned_s for slot in planner.tick(T0 + HOUR_S + 3)] == [T0 + HOUR_S]


def test_a_pipeline_that_is_gone_keeps_its_run_and_skips_the_rest(desk: Desk) -> None:
    planner = desk.planner({"digits": hourly(overlap="queue")})
    (slot,) = planner.tick(T0 + HOUR_S)
    planner.tick(T0 + 2 * HOUR_S)
    planner.load({"other": Plan()}, T0 + 3 * HOUR_S + 5)
    assert desk.states() == ["running", "skipped", "skipped"]
    assert desk.reasons(SlotState.SKIPPED) == [GONE, GONE]
    assert planner.tick(T0 + 9 * HOUR_S) == []
    assert end(planner, slot, T0 + 9 * HOUR_S, 10).not_before_s == T0 + 9 * HOUR_S + 60
    planner.load({"digits": hourly()}, T0 + 9.5 * HOUR_S)
    assert planner.upcoming() == {"digits": T0 + 10 * HOUR_S}
    assert len(desk.rows()) == 3


def test_settings_that_cannot_be_taken_now_leave_the_old_ones(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    planner = desk.planner({"digits": hourly()})
    break_at(monkeypatch, "account", 1)
    with pytest.raises(NotRecorded):
        planner.load({"digits": hourly(minute=15), "other": hourly()}, T0 + 1)
    assert [slot.planned_s for slot in planner.tick(T0 + HOUR_S)] == [T0 + HOUR_S]
    assert planner.upcoming() == {"digits": T0 + 2 * HOUR_S}


def test_a_visit_for_one_pipeline_leaves_the_others_alone(desk: Desk) -> None:
    plans = {"digits": hourly(), "other": hourly()}
    desk.planner(plans).tick(T0 + HOUR_S)
    visitor = Planner(ledger=desk.ledger, owner="visitor", is_alive=lambda _owner: False)
    visitor.load({"other": hourly()}, T0 + 2.5 * HOUR_S, partial=True)
    assert [slot.pipeline for slot in visitor.tick(T0 + 2.5 * HOUR_S)] == ["other"]
    assert desk.states() == ["running"]
    assert desk.states("other") == ["running", "skipped"]
    planner = desk.planner(plans, T0 + 2.6 * HOUR_S, owner="next")
    assert planner.upcoming() == {"digits": T0 + 3 * HOUR_S, "other": T0 + 3 * HOUR_S}


# ---- clocks that are set ---------------------------------------------------------------------------------------------
def test_a_clock_set_back_by_hours_makes_no_slot_due_twice(desk: Desk) -> None:
    planner = desk.planner({"digits": hourly()})
    (slot,) = planner.tick(T0 + 3 * HOUR_S)
    end(planner, slot, T0 + 3 * HOUR_S)
    for now_s in (T0 + HOUR_S, T0 + 2 * HOUR_S, T0 + 3 * HOUR_S):
        assert planner.tick(now_s) == []
    again = desk.planner({"digits": hourly()}, T0 + 1.5 * HOUR_S, owner="next")
    assert again.tick(T0 + 3 * HOUR_S) == []
    assert len(again.tick(T0 + 4 * HOUR_S)) == 1
    assert desk.states() == ["missed", "missed", "ran", "running"]


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_clock_that_was_years_ahead_does_not_silence_a_pipeline_for_years(desk: Desk, is_restarted: bool) -> None:
    planner = desk.planner({"digits": hourly()})
    ahead_s = T0 + 50 * AHEAD_S
    (slot,) = planner.tick(ahead_s)
    end(planner, slot, ahead_s)
    assert len(desk.rows()) == 1200
    now_s = T0 + 1.5 * HOUR_S
    if is_restarted:
        planner = desk.planner({"digits": hourly()}, now_s, owner="next")
    assert planner.tick(now_s) == []
    assert planner.upcoming() == {"digits": T0 + 2 * HOUR_S}
    assert [row.planned_s for row in desk.rows()] == [T0 + HOUR_S, ahead_s]
    planner.look_again()
    assert len(planner.tick(T0 + 2 * HOUR_S)) == 1
    planner = desk.planner({"digits": hourly()}, ahead_s + 1, owner="last")
    planner.tick(ahead_s + HOUR_S)
    rows = desk.rows()
    assert [row.planned_s for row in rows] == [T0 + HOUR_S * n for n in range(1, 1202)]
    assert rows[1199].state is SlotState.RAN


# ---- who is next -----------------------------------------------------------------------------------------------------
def test_pipelines_take_turns_on_a_device(desk: Desk) -> None:
    planner = desk.planner(
        {name: Plan(cadence=Cadence(cron="* * * * *"), rules=Rules(overlap="queue")) for name in "abc"}
    )
    order = []
    for minute in range(1, 13):
        (slot,) = planner.tick(T0 + 60 * minute)
        order.append(slot.pipeline)
        end(planner, slot, T0 + 60 * minute + 30)
    assert "".join(order) == "abc" * 4


def test_a_larger_priority_goes_first_and_never_two_of_one_pipeline(desk: Desk) -> None:
    plans = {"low": hourly(overlap="queue"), "high": hourly(priority=5, overlap="queue"), "mid": hourly(priority=1)}
    planner = desk.planner(plans, devices=2)
    begun = planner.tick(T0 + HOUR_S)
    assert [slot.pipeline for slot in begun] == ["high", "mid"]
    planner.tick(T0 + 2 * HOUR_S)
    planner.devices = 9
    assert [slot.pipeline for slot in planner.tick(T0 + 2 * HOUR_S + 1)] == ["low"]


def test_who_began_longest_ago_is_remembered_over_a_restart(desk: Desk) -> None:
    plans = {"a": hourly(overlap="queue"), "b": hourly(overlap="queue")}
    planner = desk.planner(plans)
    (slot,) = planner.tick(T0 + HOUR_S)
    assert slot.pipeline == "a"
    end(planner, slot, T0 + HOUR_S + 1)
    planner.ask("a", Cause.HAND, T0 + HOUR_S + 1, "asked")
    assert [each.pipeline for each in desk.planner(plans, T0 + HOUR_S + 2, owner="next").tick(T0 + HOUR_S + 2)] == ["b"]


def test_a_retrain_that_had_ended_when_its_scheduler_died_is_not_run_again(desk: Desk) -> None:
    planner = desk.planner({"digits": hourly(), "other": hourly()})
    begun = planner.tick(T0 + HOUR_S + 1.0)
    with desk.ledger.file.write() as db:
        for slot, state in zip(begun, ("finished", "interrupted"), strict=False):
            db.execute(
                "INSERT INTO runs (uid, pipeline, state, trigger, slot, started_at, verdict, exit_code)"
                " VALUES (?, ?, ?, 'service', ?, '2027-01-15T08:00:00+00:00', 'held', 3)",
                (f"run of {slot.pipeline}", slot.pipeline, state, iso(slot.planned_s)),
            )
    assert [slot.pipeline for slot in begun] == ["digits"]
    again = desk.planner({"digits": hourly(), "other": hourly()}, T0 + HOUR_S + 9.0, owner="the next")
    (row,) = desk.rows()
    assert (row.state, row.verdict, row.exit_code, row.run) == (SlotState.RAN, "held", 3, "run of digits")
    assert [slot.pipeline for slot in again.tick(T0 + HOUR_S + 10.0)] == ["other"]

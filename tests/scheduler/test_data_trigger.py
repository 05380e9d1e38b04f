"""New data is retrained on once: not once a file, never twice, and never not at all."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plaster_ops.domain.slots import Cause, SlotState
from plaster_ops.errors import NotRecorded
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.liveness import started_at_s, this_host
from plaster_ops.tracking.slots import Pause, SlotLedger
from scheduler.data_trigger import STEADY
from scheduler.triggers import RETRY_S
from tests.scheduler.arrivals import NAME, World, ledger_and_journal, settings_of

POLL_S, DEBOUNCE_S, LENGTH_S, NEEDED = 60.0, 120.0, 300.0, 50
TRIGGER = {"on_data": True, "poll_s": POLL_S, "debounce_s": DEBOUNCE_S, "min_new_samples": NEEDED}
GAPS_S = st.lists(st.sampled_from([1.0, 30.0, 59.0, 100.0, 121.0, 400.0, 2_000.0]), min_size=1, max_size=25)


@pytest.fixture
def both(tmp_path: Path) -> Iterator[tuple[SlotLedger, Journal]]:
    with ledger_and_journal(tmp_path) as opened:
        yield opened


def world(both: tuple[SlotLedger, Journal], arrivals: list[tuple[float, int]], **given_: object) -> World:
    trigger = {**TRIGGER, **given_.pop("trigger", {})}  # type: ignore[dict-item]
    there = World(*both, settings_of(Path("project"), trigger), arrivals, **given_)  # type: ignore[arg-type]
    there.length_s = LENGTH_S
    return there


def test_twenty_files_that_land_one_by_one_are_one_retrain(both: tuple[SlotLedger, Journal]) -> None:
    there = world(both, [(10.0 + 20.0 * file, 10) for file in range(20)])
    there.run(5_000.0)
    assert [(each.after, each.upto) for each in there.retrains] == [(0, 200)]
    only = there.retrains[0]
    assert 390.0 + DEBOUNCE_S <= only.at_s <= 390.0 + DEBOUNCE_S + POLL_S
    assert only.reason == "200 new samples, min_new_samples is 50; none came for 120 s"


def test_too_little_waits_for_more_and_a_late_batch_is_not_cut_in_two(both: tuple[SlotLedger, Journal]) -> None:
    """The 30 that wait since the morning do not make the first file of the evening due at once."""
    there = world(both, [(10.0, 30), *((40_000.0 + 30.0 * file, 15) for file in range(4))])
    there.run(50_000.0)
    assert [(each.after, each.upto) for each in there.retrains] == [(0, 90)]


def test_data_that_never_pauses_is_retrained_on_all_the_same(both: tuple[SlotLedger, Journal]) -> None:
    there = world(both, [(30.0 * number, 5) for number in range(1, 400)])
    there.run(12_000.0)
    first, second, *_ = there.retrains
    enough_s = 300.0
    assert enough_s + STEADY * DEBOUNCE_S <= first.at_s <= enough_s + STEADY * DEBOUNCE_S + 2 * POLL_S
    assert "they have been coming for 1" in first.reason
    assert second.after == first.upto


def test_what_a_failed_retrain_took_is_not_tried_over_and_over(both: tuple[SlotLedger, Journal]) -> None:
    there = world(both, [(10.0, 60), (20_000.0, 49), (40_000.0, 1)], ending=lambda _number: "failed")
    there.run(60_000.0)
    assert [(each.after, each.upto) for each in there.retrains] == [(0, 60), (60, 110)]


@pytest.mark.parametrize("restarts", [[], [3_000.0 * number for number in range(1, 15)]])
def test_a_retrain_that_fails_before_it_reads_data_is_not_asked_for_until_as_much_came_again(
    both: tuple[SlotLedger, Journal], restarts: list[float]
) -> None:
    there = world(both, [(10.0, 60), (20_000.0, 49), (40_000.0, 1)], ending=lambda _number: "broken")
    there.run(60_000.0, restarts=restarts)
    assert [each.upto for each in there.retrains] == [60, 110]


def test_a_retrain_that_found_another_one_at_work_is_asked_for_again(both: tuple[SlotLedger, Journal]) -> None:
    there = world(both, [(10.0, 60)], ending=lambda number: "busy" if number < 3 else "finished")
    there.run(20_000.0)
    assert [(each.after, each.upto) for each in there.retrains] == [(0, 60)]
    assert len(there.slots) == 3
    assert there.slots[1].planned_s - there.slots[0].planned_s >= LENGTH_S + DEBOUNCE_S


def test_a_retrain_that_a_restart_cut_off_and_another_one_then_kept_out_is_asked_for_again(
    both: tuple[SlotLedger, Journal],
) -> None:
    there = world(both, [(10.0, 60)], ending=lambda number: "busy" if number == 2 else "finished")
    there.run(5_000.0, restarts=[60.0 + DEBOUNCE_S + 100.0])
    assert [(each.after, each.upto) for each in there.retrains] == [(0, 60)]
    assert len(there.slots) == 2


def test_a_ledger_that_cannot_be_read_for_a_while_loses_nothing(
    both: tuple[SlotLedger, Journal], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = world(both, [])
    there.run(100.0)
    there.triggers.heard({"event": "new_data", "pipeline": NAME, "samples": 60, "newest": 60, "since": None}, 100.0)

    def locked(*_given: object) -> None:
        raise NotRecorded("the journal is held by another process")

    for part in ("meta", "rows", "remember"):
        with monkeypatch.context() as patch:
            patch.setattr(both[0].file, part, locked)
            with pytest.raises(NotRecorded):
                there.triggers.asks(1_500.0)
        assert (there.triggers.next_wake_s(1_500.0) or 0.0) >= 1_500.0 + RETRY_S
    assert [ask.cause for ask in there.triggers.asks(2_000.0)] == [Cause.DATA]


def test_a_clock_that_is_set_back_keeps_nobody_waiting_for_the_old_time(both: tuple[SlotLedger, Journal]) -> None:
    there = world(both, [])
    there.triggers.heard({"event": "new_data", "pipeline": NAME, "samples": 60, "newest": 60, "since": None}, 1e6)
    assert there.triggers.asks(1e6 + DEBOUNCE_S / 2) == []
    assert there.triggers.asks(5_000.0) == []
    assert there.triggers.next_wake_s(5_000.0) == 5_000.0 + DEBOUNCE_S
    assert len(there.triggers.asks(5_000.0 + DEBOUNCE_S)) == 1


def test_nothing_is_asked_for_while_paused_and_all_of_it_after(both: tuple[SlotLedger, Journal]) -> None:
    ledger, _ = both
    with ledger.write() as write:
        write.pause(NAME, Pause(at_s=0.0, by="ann", reason="the new labels are wrong"))
    there = world(both, [(10.0, 60), (500.0, 20)])
    there.run(10_000.0)
    assert there.slots == []
    with ledger.write() as write:
        write.resume(NAME)
    there.run(10_000.0 + POLL_S + LENGTH_S)
    assert [(each.after, each.upto) for each in there.retrains] == [(0, 80)]


def test_a_retrain_that_somebody_runs_by_hand_is_waited_for(both: tuple[SlotLedger, Journal]) -> None:
    _, journal = both
    me = {"pid": os.getpid(), "host": this_host(), "pid_started": started_at_s(os.getpid())}
    row = journal.start_run(NAME, trigger="manual", slot=None, reference="", settings_json="{}", **me)  # type: ignore[arg-type]
    there = world(both, [(10.0, 60)])
    there.run(2_000.0)
    assert there.slots == []
    journal.fail_run(row.uid, "failed", ["so it was"], 10)
    there.run(2_000.0 + 2 * POLL_S + LENGTH_S)
    assert [each.upto for each in there.retrains] == [60]


def test_a_crash_between_the_ask_and_its_slot_loses_nothing(both: tuple[SlotLedger, Journal]) -> None:
    there = world(both, [(10.0, 60)])
    there.planner.ask = lambda *_given: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        there.run(1_000.0)
    there.boot()
    there.run(2_000.0)
    assert [each.upto for each in there.retrains] == [60]


def test_data_that_came_while_a_slot_of_the_clock_ran_is_what_is_left_of_it(both: tuple[SlotLedger, Journal]) -> None:
    """The run of the clock takes the first 60 at its start: 40 that came later are too little."""
    there = world(both, [(10.0, 60), (100.0, 40)])
    there.planner.ask(NAME, Cause.HAND, 20.0, "ann")
    there.now_s, there.length_s = 20.0, LENGTH_S + POLL_S / 2  # it ends between two looks
    there.run(10_000.0)
    assert [(each.cause, each.after, each.upto) for each in there.retrains] == [(Cause.HAND, 0, 60)]


def test_findings_of_pipelines_that_are_not_watched_any_more_are_left_alone(both: tuple[SlotLedger, Journal]) -> None:
    there = world(both, [(10.0, 60)])
    there.run(100.0)
    off = settings_of(Path("project"), {**TRIGGER, "on_data": False})
    there.triggers.load(off)
    there.triggers.heard({"event": "new_data", "pipeline": NAME, "samples": 60, "newest": 60, "since": None}, 110.0)
    assert there.triggers.asks(9_999.0) == []
    assert there.triggers.next_wake_s(9_999.0) is None


def test_why_a_pipeline_cannot_be_looked_at_is_known_until_it_can(both: tuple[SlotLedger, Journal]) -> None:
    there = world(both, [])
    there.triggers.heard({"event": "unreadable", "pipeline": NAME, "reason": "no such folder"}, 10.0)
    assert there.triggers.unreadable() == {NAME: "no such folder"}
    there.triggers.heard({"event": "new_data", "pipeline": NAME, "samples": 0, "newest": None, "since": None}, 20.0)
    assert there.triggers.unreadable() == {}
    there.triggers.heard({"event": "watcher", "state": "started", "pid": 1}, 30.0)


@settings(max_examples=60, deadline=None)
@given(
    gaps_s=GAPS_S,
    samples=st.lists(st.sampled_from([1, 7, 49, 50, 130]), min_size=25, max_size=25),
    endings=st.lists(st.sampled_from(["finished", "finished", "failed", "busy"]), min_size=40, max_size=40),
    restarts=st.lists(st.integers(0, 8_000), max_size=3),
)
def test_no_data_is_retrained_on_twice_and_none_is_left_however_it_comes(
    tmp_path_factory: pytest.TempPathFactory,
    gaps_s: list[float],
    samples: list[int],
    endings: list[str],
    restarts: list[int],
) -> None:
    arrivals, at_s = list[tuple[float, int]](), 0.0
    for gap_s, count in zip(gaps_s, samples, strict=False):
        at_s += gap_s
        arrivals.append((at_s, count))
    with ledger_and_journal(tmp_path_factory.mktemp("world")) as both:
        there = world(both, arrivals, ending=lambda number: endings[number - 1] if number <= 40 else "finished")
        there.run(at_s + 12_000.0, restarts=[float(restart) for restart in restarts])
        assert all(each.upto - each.after >= NEEDED for each in there.retrains)
        left = int(there.newest() or 0) - int(there.journal.taken(NAME) or 0)
        given_up = [slot for slot in there.ledger.newest(NAME, 1000) if "its scheduler was gone" in slot.reason]
        assert left < NEEDED or given_up  # killed with its scheduler again and again: waits for more, as a failed one
        assert there.ledger.open_slots() == []


@settings(max_examples=30, deadline=None)
@given(gaps_s=GAPS_S)
def test_the_last_sample_is_asked_for_within_a_poll_and_the_debounce(
    tmp_path_factory: pytest.TempPathFactory, gaps_s: list[float]
) -> None:
    """Of arrivals each of which is enough: every retrain begins that soon after the last one before it, or ten times
    the debounce after the first, or as soon where one was at work.
    """
    arrivals, at_s = list[tuple[float, int]](), 0.0
    for gap_s in gaps_s:
        at_s += gap_s
        arrivals.append((at_s, NEEDED))
    with ledger_and_journal(tmp_path_factory.mktemp("world")) as both:
        there = world(both, arrivals)
        there.run(at_s + 10_000.0)
        assert there.retrains[-1].upto == NEEDED * len(arrivals)
        ended_s = 0.0
        for each in there.retrains:
            of_it = [at for at, _ in arrivals if each.after < (arrivals.index((at, NEEDED)) + 1) * NEEDED <= each.upto]
            free_s = max(of_it[-1], ended_s)
            assert each.at_s <= free_s + DEBOUNCE_S + 2 * POLL_S
            assert each.at_s <= max(of_it[0], ended_s) + STEADY * DEBOUNCE_S + 2 * POLL_S
            ended_s = each.at_s + LENGTH_S


def test_slots_of_data_say_so_in_the_ledger(both: tuple[SlotLedger, Journal]) -> None:
    there = world(both, [(10.0, 60)])
    there.run(2_000.0)
    found = there.ledger.newest(NAME)
    assert [(slot.cause, slot.state) for slot in found] == [(Cause.DATA, SlotState.RAN)]

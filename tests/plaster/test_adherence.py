"""Whether the schedule was kept, from made-up ledgers whose answers are known."""

from typing import Any

import pytest

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Reading
from plaster_ops.domain.slots import PAUSED, Slot, SlotState
from plaster_ops.plaster.adherence import Schedule, schedule_rows
from plaster_ops.plaster.deployments import DAY_S

NOW = 1_000_000_000.0


def slot(before_s: float, state: SlotState = SlotState.RAN, *, took_s: float | None = 60.0, reason: str = "") -> Slot:
    """A slot of so long ago that ended after so long; None: it has not."""
    at_s = NOW - before_s
    ended_s = None if took_s is None else at_s + took_s
    return Slot(pipeline="digits", planned_s=at_s, due_s=at_s, state=state, ended_s=ended_s, reason=reason)


def told(rows: list[Slot], **more: Any) -> tuple[Any, Any]:
    schedule = Schedule(rows=rows, since_s=more.pop("since_s", NOW - 30 * DAY_S), **more)
    adherence, missed = schedule_rows(schedule, "", NOW)
    assert (adherence.metric, missed.metric) == (m.CADENCE_ADHERENCE_RATIO, m.MISSED_SLOTS_COUNT)
    return adherence, missed


def figures(rows: list[Slot], **more: Any) -> tuple[float, float, int | None]:
    adherence, missed = told(rows, **more)
    assert isinstance(adherence, Reading)
    assert adherence.n == missed.n
    return adherence.value, missed.value, adherence.n


@pytest.mark.parametrize(
    ("state", "in_time", "missed"),
    [
        (SlotState.RAN, 1.0, 0),
        (SlotState.SKIPPED, 0.0, 1),
        (SlotState.MISSED, 0.0, 1),
        (SlotState.FAILED, 0.0, 1),
        (SlotState.TIMED_OUT, 0.0, 1),
    ],
)
def test_a_slot_is_kept_by_a_decided_run_alone(state: SlotState, in_time: float, missed: int) -> None:
    assert figures([slot(100.0, state)]) == (in_time, missed, 1)


def test_a_run_that_was_decided_after_the_next_slot_came_was_late_and_not_missed() -> None:
    rows = [slot(7200.0, took_s=3601.0), slot(3600.0, SlotState.SKIPPED), slot(1800.0, took_s=1800.0)]
    assert figures(rows) == (1 / 3, 1, 3)
    assert figures([slot(7200.0, took_s=3600.0), slot(3600.0)]) == (1.0, 0, 2)


def test_the_slot_of_this_retrain_is_decided_now() -> None:
    """In time, unless the next one has come meanwhile."""
    mine = slot(100.0, SlotState.RUNNING, took_s=None)
    assert figures([slot(200.0), mine], mine_s=mine.planned_s) == (1.0, 0, 2)
    assert figures([mine, slot(50.0, SlotState.SKIPPED)], mine_s=mine.planned_s) == (0.0, 1, 2)


@pytest.mark.parametrize("state", [SlotState.DUE, SlotState.RUNNING])
def test_a_slot_that_is_open_counts_once_the_next_one_came(state: SlotState) -> None:
    waiting = slot(100.0, state, took_s=None)
    assert figures([slot(200.0), waiting]) == (1.0, 0, 1)
    assert figures([waiting, slot(50.0)]) == (0.5, 1, 2)


def test_slots_of_a_pause_are_nobodys_fault() -> None:
    paused = slot(200.0, SlotState.SKIPPED, reason=f"{PAUSED}ann: moving house")
    assert figures([slot(300.0), paused, slot(100.0)]) == (1.0, 0, 2)
    assert figures([slot(300.0, took_s=101.0), paused, slot(100.0)]) == (0.5, 0, 2)


def test_slots_that_have_no_row_are_missed_but_for_the_last() -> None:
    """Nobody is there any more; the newest one may still be caught up before the next."""
    assert figures([slot(400.0)], unkept_s=[NOW - 300, NOW - 200, NOW - 100]) == (1 / 3, 2, 3)
    assert figures([], unkept_s=[NOW - 300, NOW - 200]) == (0.0, 1, 1)


def test_the_window_is_seven_days_or_as_long_as_there_are_slots() -> None:
    rows = [slot(8 * DAY_S, SlotState.FAILED), slot(6 * DAY_S), slot(DAY_S)]
    assert figures(rows, unkept_s=[NOW - 7.5 * DAY_S]) == (1.0, 0, 2)
    assert told(rows)[0].reason == "slots of the last 7.0 days"
    assert told(rows[1:], since_s=NOW - 6 * DAY_S)[1].reason == "slots of the last 6.0 days"


@pytest.mark.parametrize("rows", [[], [slot(10.0, SlotState.RUNNING, took_s=None)]])
def test_without_a_slot_that_is_over_nothing_is_measured(rows: list[Slot]) -> None:
    assert {row.reason for row in told(rows)} == {"no slot of its cadence is over yet"}
    assert {row.reason for row in schedule_rows(None, "the pipeline has no cadence", NOW)} == {
        "the pipeline has no cadence"
    }

"""How the schedule was kept, from the slot ledger to the card of a retrain and to the lines of the cadence run."""

from collections.abc import Callable
from typing import Any

import pytest

from plaster_ops.domain import metrics as m
from plaster_ops.domain.run import RunRecord
from plaster_ops.domain.schedule import Cadence, iso
from plaster_ops.domain.slots import Slot, SlotState
from plaster_ops.settings import Settings
from plaster_ops.settings_schedule import CadenceSettings
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.layout import plan_record
from plaster_ops.tracking.slots import SlotLedger
from tests.conftest import SteppedClock
from tests.flow.conftest import Retrain
from tests.flow.test_learning import reason, rows, value
from tests.flow.walk import Walk

HOUR_S = 3600.0
Keep = Callable[..., float]


@pytest.fixture
def hourly(settings: Settings) -> Settings:
    """The same project with a cadence."""
    cadence = CadenceSettings(cron="0 * * * *", jitter_s=600.0)
    plain = settings.pipelines["digits"].model_copy(update={"cadence": cadence})
    return settings.model_copy(update={"pipelines": {"digits": plain}})


@pytest.fixture
def keep(settings: Settings, clock: SteppedClock) -> Keep:
    """Writes a ledger of that many hours up to the last full one, the last slot running; returns when it was planned.
    `spread_s`: how much later than planned each was due; `failed`: which of them failed."""

    def write(hours: int, *, spread_s: float = 0.0, failed: tuple[int, ...] = (), upto: int = 0) -> float:
        last_s = clock.epoch // HOUR_S * HOUR_S
        slots = []
        for number in range(hours - 1, upto - 1, -1):
            at_s = last_s - number * HOUR_S
            state = SlotState.RUNNING if number == 0 else SlotState.FAILED if number in failed else SlotState.RAN
            ended_s = at_s + spread_s + 60 if number else None
            slots.append(Slot(pipeline="digits", planned_s=at_s, due_s=at_s + spread_s, state=state, ended_s=ended_s))
        with Journal.open(settings.memory) as journal, SlotLedger(journal.file).write() as ledger:
            ledger.add(slots)
            ledger.account("digits", Cadence(cron="0 * * * *").text, last_s - upto * HOUR_S)
        return last_s

    return write


def test_a_retrain_of_a_schedule_tells_how_it_was_kept(
    retrain: Retrain, keep: Keep, hourly: Settings, clock: SteppedClock
) -> None:
    clock.epoch = 1_795_000_030.5 + 700
    slot_s = keep(10, failed=(3, 4))
    told = retrain(project=hourly, slot=iso(slot_s), trigger="service")
    assert (value(told, m.CADENCE_ADHERENCE_RATIO), value(told, m.MISSED_SLOTS_COUNT)) == (0.8, 2)
    row = rows(told)[m.CADENCE_ADHERENCE_RATIO.key]
    assert (row["n"], row["reason"]) == (10, "slots of the last 0.4 days")


def test_jitter_is_no_delay(retrain: Retrain, keep: Keep, hourly: Settings, clock: SteppedClock) -> None:
    clock.epoch = 1_795_000_030.5 + 1600
    slot_s = keep(2, spread_s=500.0)
    trigger_s = clock.epoch - 0.5
    told = retrain(project=hourly, slot=iso(slot_s), trigger="service")
    assert value(told, m.SCHEDULE_DELAY_S) == pytest.approx(trigger_s - slot_s - 500.0)


def test_hours_in_which_nobody_kept_the_schedule_are_missed_so_far(
    retrain: Retrain, keep: Keep, hourly: Settings, clock: SteppedClock
) -> None:
    """By hand, three hours after the service died: of the three slots since, the last may still be caught up."""
    clock.epoch = 1_795_000_030.5 + 1600
    keep(5, upto=3)
    told = retrain(project=hourly)
    assert (value(told, m.CADENCE_ADHERENCE_RATIO), value(told, m.MISSED_SLOTS_COUNT)) == (0.5, 2)


def test_without_a_schedule_the_card_says_why(retrain: Retrain, walk: Walk, hourly: Settings) -> None:
    assert reason(retrain(), m.CADENCE_ADHERENCE_RATIO) == "the pipeline has no cadence"
    walk.arrived = 14
    told = retrain(project=hourly)
    assert reason(told, m.MISSED_SLOTS_COUNT) == "nobody keeps the pipeline's schedule: it has no slot in the ledger"


def test_how_the_schedule_was_kept_is_on_the_lines_of_the_cadence_run(
    retrain: Retrain, keep: Keep, hourly: Settings, clock: SteppedClock
) -> None:
    clock.epoch = 1_795_000_030.5 + 700
    slot_s = keep(4, failed=(2,))
    retrain(project=hourly, slot=iso(slot_s), trigger="service")
    with Journal.open(hourly.memory) as journal:
        (row,) = journal.history("digits", 5)
        record: RunRecord | None = journal.record(row.uid)
    assert record is not None
    plan: Any = plan_record(record).cadence
    points = {point.key: point.value for point in plan.points}
    assert (points[m.CADENCE_ADHERENCE_RATIO.key], points[m.MISSED_SLOTS_COUNT.key]) == (0.75, 1.0)

"""The simulated time of twenty pipelines; the whole year is `benchmarks/schedule_year.py`."""

import random
from datetime import UTC, datetime

import pytest

from plaster_ops.domain.slots import SlotState
from tests.scheduler.memory_file import MemoryLedger
from tests.scheduler.reckoning import check
from tests.scheduler.simulation import DAY_S, World, year_plans

CHANGES = ("2026-03-08", "2026-03-29", "2026-04-05", "2026-10-04", "2026-10-25", "2026-11-01")


@pytest.mark.parametrize("change", CHANGES)
def test_every_slot_of_days_full_of_trouble_is_accounted_for_once(change: str) -> None:
    """The days around each change of summer time in the three zones, with the service or the clock in trouble."""
    world = World(
        MemoryLedger(),
        year_plans(),
        random.Random(change),
        began_s=datetime.fromisoformat(change).replace(tzinfo=UTC).timestamp() - 2 * DAY_S,
    )
    world.live(world.began_s + 4 * DAY_S, days_between=0.3)
    told = check(world)
    assert sum(sum(counts.values()) for counts in told.values()) > 4 * (1440 + 19 * 23)
    assert set().union(*told.values()) >= {SlotState.RAN, SlotState.SKIPPED, SlotState.MISSED}
    assert world.at_once == world.devices

"""What must hold of the ledger of a simulated year, counted again from the outside."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from plaster_ops.domain.schedule import Cadence
from plaster_ops.domain.slots import DEATHS, OPEN, Slot, SlotState
from tests.scheduler.simulation import DAY_S, World

HALF_HOUR_S = 1800
ENDS = {0: SlotState.RAN, 3: SlotState.RAN, 2: SlotState.FAILED, 10: SlotState.FAILED}
ENDS |= {75: SlotState.SKIPPED, 124: SlotState.TIMED_OUT}


def hourly(minute: int, zone_name: str, after_s: float, upto_s: float, *, by_the_wall: bool) -> Iterator[int]:
    """The instants at which clocks of a zone show that minute of an hour, by looking at every half hour that passes.

    `by_the_wall`: a local time that comes twice counts the first time, and one that is passed over when it is.
    """
    zone, seen, before_s = ZoneInfo(zone_name), set[datetime](), 0
    for start_s in range(int(after_s) // HALF_HOUR_S * HALF_HOUR_S, int(upto_s) + 1, HALF_HOUR_S):
        local = datetime.fromtimestamp(start_s, UTC).astimezone(zone).replace(tzinfo=None)
        offset_s = int((local - datetime.fromtimestamp(start_s, UTC).replace(tzinfo=None)).total_seconds())
        if by_the_wall and before_s and offset_s > before_s:
            passed = (local - timedelta(seconds=n) for n in range(60, offset_s - before_s + 60, 60))
            if local.minute != minute and any(time.minute == minute for time in passed):
                yield start_s
        before_s = offset_s
        at_s = start_s + (minute - local.minute) % 60 * 60
        shown = local + timedelta(seconds=at_s - start_s)
        if at_s < start_s + HALF_HOUR_S and after_s < at_s <= upto_s and not (by_the_wall and shown in seen):
            seen.add(shown)
            yield at_s


def expected(cadence: Cadence, after_s: float, upto_s: float) -> set[float]:
    """Every slot of a pipeline of the simulation; no cron library is asked."""
    if cadence.every_s is not None:
        every_s, anchor_s = int(cadence.every_s), int(cadence.start_s or 0)
        return {float(at) for at in range(anchor_s, int(upto_s) + 1, every_s) if at > after_s}
    minute, hour, *_ = str(cadence.cron).split()
    if minute == "*":
        return {float(at) for at in range(int(after_s) // 60 * 60 + 60, int(upto_s) + 1, 60)}
    return set(map(float, hourly(int(minute), cadence.timezone, after_s, upto_s, by_the_wall=hour != "*")))


def check(world: World) -> dict[str, dict[SlotState, int]]:
    """Raises `AssertionError` where the ledger is not what it must be; else how many slots ended how."""
    told = {name: _check_pipeline(world, name) for name in world.plans}
    assert world.at_once <= world.devices
    assert world.most_waiting <= world.queue_max
    return told


def _check_pipeline(world: World, name: str) -> dict[SlotState, int]:
    rows = world.ledger.between(name, 0.0, world.latest_s + 4 * DAY_S)
    cadence = world.plans[name].cadence
    assert cadence is not None
    planned = [slot.planned_s for slot in rows if slot.planned_s <= world.now_s]
    wanted = {at for at in expected(cadence, world.began_s, world.now_s) if cadence.due_s(name, at) <= world.now_s}
    assert len(planned) == len(set(planned)), f"{name}: a slot has two rows"
    assert set(planned) == wanted, f"{name}: {sorted(set(planned) ^ wanted)[:5]} of the slots"
    counts: dict[SlotState, int] = defaultdict(int)
    for slot in rows:
        _check_slot(world, slot)
        counts[slot.state] += 1
    _check_missed(world, name, rows)
    return dict(counts)


def _check_slot(world: World, slot: Slot) -> None:
    """Started as often as it says, ended as its last retrain did."""
    name, is_open = slot.name, slot.state in OPEN
    starts, stops = world.started.get(name, 0), world.stopped.get(name, 0)
    assert starts - stops == slot.attempts, f"{slot} was started {starts} times"
    assert (slot.ended_s is None) is is_open
    if is_open:
        assert slot.planned_s <= world.latest_s
    elif not starts:
        assert slot.state in (SlotState.SKIPPED, SlotState.MISSED)
        assert slot.reason
    else:
        _check_end(world, slot, world.codes.get(name))


def _check_end(world: World, slot: Slot, code: int | None) -> None:
    retries = world.plans[slot.pipeline].retries
    assert slot.attempts <= retries + DEATHS + 1
    if code is None:
        assert slot.reason.startswith("its scheduler was gone")
        return
    assert slot.state is ENDS[code], f"{slot} after exit {code}"
    assert code in (0, 2, 3, 75) or slot.attempts > retries


def _check_missed(world: World, name: str, rows: list[Slot]) -> None:
    """Each policy, over the slots that nobody was there for."""
    rules = world.plans[name].rules
    missed = [slot for slot in rows if slot.was_missed]
    assert missed
    open_or_run = [slot for slot in missed if slot.state not in (SlotState.SKIPPED, SlotState.MISSED) or slot.attempts]
    if rules.missed == "skip":
        assert not open_or_run
    if rules.missed == "run_all":
        assert not any(slot.state is SlotState.MISSED for slot in rows)
        rest = [slot.reason for slot in missed if slot not in open_or_run]
        assert all(reason.startswith(("paused", "the queue is full")) for reason in rest)
    if rules.missed == "run_once":
        for gap_s in world.gaps:
            inside = [slot for slot in missed if gap_s[0] < slot.planned_s < gap_s[1] - rules.late_s]
            assert sum(slot.state is not SlotState.MISSED and bool(slot.attempts) for slot in inside) <= 1
    if rules.overlap == "queue":
        assert not any(slot.reason.startswith("overlap: the slot") for slot in rows)

"""Every slot is at an instant at which cron wakes, whatever the two zones and however their clocks are set."""

import itertools
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from plaster_ops.domain.schedule import Cadence
from plaster_ops.errors import UsageError
from scheduler.install.cron_times import cron_times, one_line
from scheduler.install.lines import read_line
from scheduler.install.zones import changes
from tests.scheduler.install.samples import NOW_S

ZONES = ["UTC", "Europe/Paris", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Africa/Cairo"]
LINES = [
    "0 2 * * *",
    "30 2 * * *",
    "15,45 1-3 * * *",
    "0 */2 * * *",
    "*/7 * * * *",
    "* * * * *",
    "0 0 * * *",
    "50 23 1,15 * mon",
    "0 3 */2 * 1-5",
    "30 1 28-31 * *",
]


def unwoken(cadence: Cadence, lines: tuple[str, ...], machine: str, began_s: float, count: int) -> list[float]:
    """Of the next slots those at which none of the lines wakes."""
    wakes = [Cadence(cron=line, timezone=machine) for line in lines]
    slots = itertools.islice(cadence.after(began_s), count)
    return [at_s for at_s in slots if not any(each.next_after(at_s - 1) == at_s for each in wakes)]


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(LINES), st.sampled_from(ZONES), st.sampled_from(ZONES), st.integers(0, 20), st.integers(-30, 2))
@example("30 2 * * *", "Europe/Paris", "UTC", 0, -3)
@example("45 1 * * *", "Australia/Lord_Howe", "America/New_York", 1, -3)
def test_every_slot_of_a_line_is_woken_for(line: str, own: str, machine: str, change: int, before_h: int) -> None:
    cadence = Cadence(cron=line, timezone=own)
    times = cron_times("p", cadence, ZoneInfo(machine), machine, NOW_S)
    both = sorted(each.at_s for zone in (own, machine) for each in changes(ZoneInfo(zone), NOW_S, 2))
    began_s = (both[change % len(both)] if both else NOW_S) + before_h * 3600.0
    assert unwoken(cadence, times.lines, machine, began_s, 30) == []


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4000), st.integers(0, 5000), st.sampled_from(ZONES), st.integers(0, 17_000))
def test_every_slot_of_an_interval_is_woken_for(every_min: int, first_min: int, machine: str, hour: int) -> None:
    cadence = Cadence(every_s=every_min * 60.0, start_s=first_min * 60.0)
    try:
        times = cron_times("p", cadence, ZoneInfo(machine), machine, NOW_S)
    except UsageError:
        return
    assert unwoken(cadence, times.lines, machine, NOW_S + hour * 3600.0, 20) == []


def test_a_cadence_of_the_machines_own_zone_is_its_own_line() -> None:
    for line in LINES[:-1]:
        times = cron_times("p", Cadence(cron=line, timezone="Europe/Paris"), ZoneInfo("Europe/Brussels"), "x", NOW_S)
        assert times.lines == (read_line(line).text,)
        assert times.why == ""


@pytest.mark.parametrize(
    ("line", "own", "machine", "woken"),
    [
        ("0 2 * * *", "Europe/Paris", "UTC", "0 * * * *"),
        ("30 2 * * *", "Europe/Paris", "UTC", "0,30 * * * *"),
        ("10 9 * * 1", "Asia/Kolkata", "Europe/Paris", "40 * * * *"),
        ("10 2 * * *", "Australia/Lord_Howe", "UTC", "10,30,40 * * * *"),
        ("*/20 * * * *", "Asia/Kathmandu", "UTC", "15,35,55 * * * *"),
        ("* * * * *", "Asia/Kathmandu", "UTC", "* * * * *"),
    ],
)
def test_one_of_another_zone_is_woken_for_each_hour_at_its_minutes(
    line: str, own: str, machine: str, woken: str
) -> None:
    times = cron_times("p", Cadence(cron=line, timezone=own), ZoneInfo(machine), machine, NOW_S)
    assert times.lines == (woken,)


@pytest.mark.parametrize(
    ("every_s", "machine", "lines"),
    [
        (900, "Europe/Paris", ["*/15 * * * *"]),
        (21_600, "UTC", ["0 */6 * * *"]),
        (21_600, "Asia/Kathmandu", ["45 5,11,17,23 * * *"]),
        (21_600, "Europe/Paris", ["0 * * * *"]),
        (86_400, "UTC", ["0 0 * * *"]),
        (129_600, "UTC", ["0 0,12 * * *"]),
        (5_400, "UTC", ["0 */3 * * *", "30 1,4,7,10,13,16,19,22 * * *"]),
        (60, "Europe/Paris", ["* * * * *"]),
    ],
)
def test_an_interval_is_as_few_lines_as_say_it(every_s: float, machine: str, lines: list[str]) -> None:
    times = cron_times("p", Cadence(every_s=every_s), ZoneInfo(machine), machine, NOW_S)
    assert list(times.lines) == lines


@pytest.mark.parametrize(
    "cadence",
    [
        Cadence(every_s=420),
        Cadence(every_s=90),
        Cadence(every_s=3600, start_s=30.0),
        Cadence(cron="* 2 * * *", timezone="Asia/Tokyo"),
    ],
)
def test_what_would_wake_every_minute_or_off_the_minute_is_refused_with_another_way(cadence: Cadence) -> None:
    with pytest.raises(UsageError, match="pipeline 'p'") as refused:
        cron_times("p", cadence, ZoneInfo("UTC"), "UTC", NOW_S)
    assert "schedule start" in refused.value.next_step


def test_kubernetes_knows_no_weekday_seven() -> None:
    assert one_line(read_line("0 2 * * 7")) == "0 2 * * 0"
    assert one_line(read_line("0 2 * * 5-7")) == "0 2 * * 0,5,6"
    assert one_line(read_line("0 2 * * 1-7")) == "0 2 * * *"
    assert one_line(read_line("7 7 7 7 1")) == "7 7 7 7 1"

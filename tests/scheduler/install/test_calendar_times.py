"""`OnCalendar=` lines, held against what systemd itself makes of them."""

import itertools
import re
import subprocess
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from plaster_ops.domain.schedule import Cadence
from plaster_ops.errors import UsageError
from scheduler.install.calendar_times import calendar_times
from scheduler.install.zones import changes, utc
from tests.scheduler.install.samples import NOW_S, tool

LINES = [
    "0 2 * * *",
    "30 2 * * 1-5",
    "15,45 1-3 * * *",
    "0 */2 * * *",
    "*/20 2 * * *",
    "0 0 1,15 * mon",
    "0 0 */2 * 1",
    "30 0-23 * * *",
]
ZONES = ["UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "Asia/Kathmandu"]


def instants(expressions: list[str], began_s: float, count: int) -> list[list[float]]:
    """The next instants of each expression, as `systemd-analyze` tells them."""
    base = utc(began_s).strftime("%Y-%m-%d %H:%M:%S UTC")
    words = [tool("systemd-analyze"), "calendar", f"--iterations={count}", f"--base-time={base}", *expressions]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={"TZ": "UTC", "LC_ALL": "C"})
    assert done.returncode == 0, done.stderr
    parts = re.split(r"Normalized form:|Original form:", done.stdout)
    found = [re.findall(r"(?:Next elapse|Iter\. #\d+): \w+ ([\d-]+ [\d:]+) UTC", part) for part in parts]
    return [[datetime.fromisoformat(f"{at}+00:00").timestamp() for at in part] for part in found if part]


def missed(cadence: Cadence, began_s: float, count: int = 30) -> tuple[list[float], int]:
    """Slots that systemd would not wake for, and how often it would wake for nothing, as far as was looked."""
    lines = calendar_times("p", cadence, NOW_S)
    woken = instants(lines, began_s, count)
    assert len(woken) == len(lines)
    until_s = min(each[-1] for each in woken)
    slots = set(itertools.takewhile(lambda slot_s: slot_s <= until_s, cadence.after(began_s)))
    wakes = {at_s for each in woken for at_s in each if at_s <= until_s}
    return sorted(slots - wakes), len(wakes - slots)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("line", LINES)
def test_systemd_wakes_for_every_slot_also_where_clocks_are_set(line: str, zone: str) -> None:
    cadence = Cadence(cron=line, timezone=zone)
    set_at = [change.at_s for change in changes(ZoneInfo(zone), NOW_S, 2)] or [NOW_S]
    for at_s in set_at[:2]:
        late, idle = missed(cadence, at_s - 30 * 3600.0)
        assert late == []
        assert idle <= (30 if zone == "Africa/Cairo" else 20)


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
@pytest.mark.parametrize("line", ["5 * * * *", "*/15 * * * *", "* * * * *", "0 12 28-31 * *"])
def test_lines_of_every_hour_and_of_odd_days_are_woken_for(line: str, zone: str) -> None:
    cadence = Cadence(cron=line, timezone=zone)
    for change in itertools.islice(changes(ZoneInfo("America/New_York"), NOW_S, 2), 2):
        assert missed(cadence, change.at_s - 2 * 3600.0, 300)[0] == []


@pytest.mark.parametrize(("every_s", "idle"), [(900, 0), (5_400, 0), (86_400, 0), (129_600, 40), (1_500, 240)])
def test_intervals_are_woken_for(every_s: float, idle: int) -> None:
    late, spare = missed(Cadence(every_s=every_s, start_s=600.0), NOW_S, 60)
    assert late == []
    assert spare <= idle


def test_a_cadence_without_changes_of_clocks_is_one_line_with_its_zone() -> None:
    def lines(cron: str, zone: str) -> list[str]:
        return calendar_times("p", Cadence(cron=cron, timezone=zone), NOW_S)

    assert lines("0 2 * * *", "Asia/Tokyo") == ["*-*-* 02:00:00 Asia/Tokyo"]
    assert lines("30 2 * 1,7 1-5", "UTC") == ["Mon,Tue,Wed,Thu,Fri *-01,07-* 02:30:00 UTC"]
    assert lines("0 0 1 * sun", "UTC") == ["*-*-01 00:00:00 UTC", "Sun *-*-* 00:00:00 UTC"]
    assert lines("*/10 * * * *", "Europe/Paris") == ["*-*-* *:00/10:00 UTC"]


def test_a_slot_whose_local_time_does_not_exist_has_a_line_in_utc() -> None:
    lines = calendar_times("p", Cadence(cron="30 2 * * *", timezone="Europe/Paris"), NOW_S)
    assert lines[0] == "*-*-* 02:30:00 Europe/Paris"
    assert "*-03-25..31 01:00:00 UTC" in lines


def test_an_interval_of_odd_minutes_is_refused() -> None:
    with pytest.raises(UsageError, match="every minute"):
        calendar_times("p", Cadence(every_s=420), NOW_S)

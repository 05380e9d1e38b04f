"""A cadence as `OnCalendar=` lines of systemd, each with its zone.

systemd passes over a local time that does not exist, and over the second pass of an hour that exists twice. Slots are
due there, so the days on which clocks are set have lines of their own, in UTC: a few more calls a year that find
nothing due. In zones where midnight itself is left out on such a day (Africa/Cairo) systemd 252 finds no next instant
("Resource deadlock avoided") and the timer stands still; what goes by those is said in UTC altogether.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, tzinfo

from plaster_ops.domain.schedule import Cadence, zone_of
from scheduler.install.cron_times import by_hours, minutes_of_days
from scheduler.install.lines import CronLine, read_line
from scheduler.install.zones import Change, changes, differences_min, offset_s, utc

YEARS_OF_CHANGES = 10
_WEEKDAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")


def calendar_times(name: str, cadence: Cadence, now_s: float) -> list[str]:
    """The lines: every slot is at one of their instants. Raises `UsageError` where systemd would wake every minute."""
    if cadence.cron is None:
        return _daily(minutes_of_days(name, cadence))
    line, zone = read_line(cadence.line), zone_of(cadence.timezone)
    moments = list(changes(zone, now_s, YEARS_OF_CHANGES))
    if len(line.hours) == 24 and line.is_daily and line.goes_by_hours:
        return _in_utc(line, zone, now_s)
    if any(_leaves_out_midnight(change, zone) for change in moments):
        return _in_utc(line, zone, now_s) + _days_of_changes(cadence, moments)
    time = f"{_numbers(line.hours, 24)}:{_numbers(line.minutes, 60)}:00"
    return [f"{day} {time} {cadence.timezone}" for day in _days(line)] + _days_of_changes(cadence, moments)


def _in_utc(line: CronLine, zone: tzinfo, now_s: float) -> list[str]:
    """The times of a line in UTC, each for every offset that its zone has, on all days."""
    shifts = differences_min(zone, UTC, now_s)
    local = {hour * 60 + minute for hour in line.hours for minute in line.minutes}
    return _daily({(minute - shift) % 1440 for minute in local for shift in shifts})


def _daily(minutes_of_day: set[int]) -> list[str]:
    pairs = by_hours(minutes_of_day)
    return [f"*-*-* {_numbers(hours, 24)}:{_numbers(minutes, 60)}:00 UTC" for minutes, hours in pairs]


def _leaves_out_midnight(change: Change, zone: tzinfo) -> bool:
    """Whether clocks are set from before some midnight, or from it, to after it."""
    local_s = change.at_s + offset_s(zone, change.at_s - 60)
    return change.forward_s > 0 and -local_s % 86_400 < change.forward_s


def _days(line: CronLine) -> list[str]:
    """The dates of a line: one text, or two where a day of the month or a weekday is enough."""
    weekday = "" if len(line.weekdays) == 7 else ",".join(_WEEKDAYS[number] for number in sorted(line.weekdays)) + " "
    month = "*" if len(line.months) == 12 else _numbers(line.months)
    day = "*" if len(line.days) == 31 else _numbers(line.days)
    if line.is_either_day:
        return [f"*-{month}-{day}", f"{weekday}*-{month}-*"]
    return [f"{weekday}*-{month}-{day}"]


@dataclass(slots=True)
class _Month:
    days: set[int] = field(default_factory=set)
    hours: set[int] = field(default_factory=set)
    minutes: set[int] = field(default_factory=set)


def _days_of_changes(cadence: Cadence, moments: Iterable[Change]) -> list[str]:
    """Lines in UTC for slots in the hours around changes of the clocks, month by month."""
    months: dict[int, _Month] = defaultdict(_Month)
    for change in moments:
        around_s = max(0.0, -change.forward_s)
        for slot_s in cadence.after(change.at_s - around_s - 1):
            if slot_s > change.at_s + around_s:
                break
            slot = utc(slot_s)
            month = months[slot.month]
            month.days.add(slot.day)
            month.hours.add(slot.hour)
            month.minutes.add(slot.minute)
    return [
        f"*-{number:02}-{_span(month.days)} {_numbers(month.hours)}:{_numbers(month.minutes, 60)}:00 UTC"
        for number, month in sorted(months.items())
    ]


def _span(days: set[int]) -> str:
    return f"{min(days):02}" if len(days) == 1 else f"{min(days):02}..{max(days):02}"


def _numbers(numbers: set[int] | frozenset[int], full: int = 0) -> str:
    """Numbers in systemd's words: a star for all of 0 to `full` - 1, a repetition from zero, else a list."""
    if len(numbers) == full:
        return "*"
    ordered = sorted(numbers)
    step = full // len(ordered)
    if len(ordered) > 2 and step and full % step == 0 and ordered == list(range(0, full, step)):
        return f"00/{step}"
    return ",".join(f"{number:02}" for number in ordered)

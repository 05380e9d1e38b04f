"""When cron has to wake `schedule once`: in the one zone that cron knows, at minutes among which every slot is."""

import math
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, tzinfo

from plaster_ops.domain.schedule import Cadence, zone_of
from plaster_ops.errors import UsageError
from scheduler.install.lines import CronLine, listed, read_line
from scheduler.install.zones import YEARS_AHEAD, changes, differences_min, offset_s

INSTEAD = "let the service keep it (plaster-ops schedule start), or set another cadence"
_DAY_MIN, _HOUR_MIN = 1440, 60


@dataclass(frozen=True, kw_only=True, slots=True)
class CronTimes:
    """Crontab lines, five fields each, and why they wake more often than slots are due, where they do (else empty)."""

    lines: tuple[str, ...]
    why: str = ""


def cron_times(name: str, cadence: Cadence, zone: tzinfo, zone_name: str, now_s: float) -> CronTimes:
    """The lines for a cron whose clock goes by `zone`. Raises `UsageError` where it cannot say them, with the reason.

    What goes by another zone is woken each hour, so that it stays right when either zone's clocks are set.
    """
    if cadence.cron is None:
        return _of_interval(name, cadence, zone, now_s)
    line, own = read_line(cadence.line), zone_of(cadence.timezone)
    differences = differences_min(zone, own, now_s)
    if differences == {0}:
        return CronTimes(lines=(line.text,))
    if line.is_every_minute:
        return CronTimes(lines=(line.text,))
    shifts = {shift % _HOUR_MIN for shift in differences}
    minutes = {(minute + shift) % _HOUR_MIN for minute in line.minutes for shift in shifts}
    if not line.goes_by_hours:
        minutes |= _minutes_of_moved_slots(cadence, zone, own, now_s)
    why = f"woken each hour: cron goes by {zone_name} here"
    return CronTimes(lines=(f"{_hourly(name, cadence, minutes)} * * * *",), why=why)


def interval_min(name: str, cadence: Cadence) -> tuple[int, int]:
    """`(every, first)` in minutes, the first since 1970. Raises `UsageError` where slots are not on whole minutes."""
    every_s, anchor_s = cadence.every_s or 0.0, cadence.start_s or 0.0
    if every_s % 60 or anchor_s % 60:
        raise UsageError(
            f"pipeline {name!r}: its slots, every {every_s:.0f} s, are not on whole minutes, and timers outside the"
            " service go by minutes",
            INSTEAD,
        )
    return int(every_s // 60), int(anchor_s // 60)


def minutes_of_days(name: str, cadence: Cadence) -> set[int]:
    """The minutes of the day, in UTC, that slots of an interval can have, on one day or another."""
    every, first = interval_min(name, cadence)
    step = math.gcd(every, _DAY_MIN)
    if step == 1 and every != 1:
        raise _too_often(name, cadence)
    return {(first + turn * step) % _DAY_MIN for turn in range(_DAY_MIN // step)}


def by_hours(minutes_of_day: set[int]) -> list[tuple[set[int], set[int]]]:
    """Minutes of a day as few `(minutes, hours)`, each minute of one in each of its hours."""
    hours_of: dict[int, set[int]] = defaultdict(set)
    for minute in minutes_of_day:
        hours_of[minute % _HOUR_MIN].add(minute // _HOUR_MIN)
    minutes_of: dict[frozenset[int], set[int]] = defaultdict(set)
    for minute, hours in hours_of.items():
        minutes_of[frozenset(hours)].add(minute)
    return sorted(((minutes, set(hours)) for hours, minutes in minutes_of.items()), key=lambda pair: min(pair[0]))


def _of_interval(name: str, cadence: Cadence, zone: tzinfo, now_s: float) -> CronTimes:
    slots, shifts = minutes_of_days(name, cadence), differences_min(zone, UTC, now_s)
    if len(shifts) == 1:
        shift = next(iter(shifts))
        pairs = by_hours({(minute + shift) % _DAY_MIN for minute in slots})
        return CronTimes(lines=tuple(f"{listed(m, 60)} {listed(h, 24)} * * *" for m, h in pairs))
    minutes = {(minute + shift) % _HOUR_MIN for minute in slots for shift in shifts}
    why = "woken each hour: an interval goes by the seconds that pass, and the clocks of cron are set twice a year"
    return CronTimes(lines=(f"{_hourly(name, cadence, minutes)} * * * *",), why=why)


def _minutes_of_moved_slots(cadence: Cadence, zone: tzinfo, own: tzinfo, now_s: float) -> set[int]:
    """The minutes, by the clocks of `zone`, of slots whose local time does not exist on the day of a change."""
    ends = [change.at_s for change in changes(own, now_s, YEARS_AHEAD) if change.forward_s > 0]
    moved = [at_s for at_s in ends if cadence.next_after(at_s - 1) == at_s]
    return {int((at_s + offset_s(zone, at_s)) // 60) % _HOUR_MIN for at_s in moved}


def _hourly(name: str, cadence: Cadence, minutes: set[int]) -> str:
    if len(minutes) == _HOUR_MIN and cadence.every_s != 60:
        raise _too_often(name, cadence)
    return listed(minutes, _HOUR_MIN)


def _too_often(name: str, cadence: Cadence) -> UsageError:
    what = f"every {cadence.every_s:.0f} s" if cadence.cron is None else f"{cadence.cron!r} in {cadence.timezone}"
    return UsageError(f"pipeline {name!r}: {what} can only be met by waking every minute of every day", INSTEAD)


def one_line(line: CronLine) -> str:
    """The line for a cron whose weekdays end with 6: Kubernetes'."""
    return f"{line.minute} {line.hour} {line.day} {line.month} {_without_seven(line.weekday, line.weekdays)}"


def _without_seven(field: str, weekdays: frozenset[int]) -> str:
    if "7" not in field:
        return field
    return "*" if len(weekdays) == 7 else ",".join(map(str, sorted(weekdays)))

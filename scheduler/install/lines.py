"""A crontab line field by field, in the words that every cron knows: numbers, ranges, steps and stars."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from cronsim import CronSim
from cronsim.cronsim import SYMBOLIC_DAYS, SYMBOLIC_MONTHS

_PLAIN = re.compile(r"\*(/\d+)?|\d+(-\d+(/\d+)?)?")
_HIGHEST = (59, 23, 31, 12, 7)
DAYS_OF_A_MONTH = frozenset(range(1, 32))


@dataclass(frozen=True, kw_only=True, slots=True)
class CronLine:
    """The five fields as text, and the numbers that they mean; weekdays from 0, Sunday, to 6.

    `day` and `weekday` are stars where the line counts days in a way that crontabs cannot (`L`, `2#1`):
    `is_whole` False.
    """

    minute: str
    hour: str
    day: str
    month: str
    weekday: str
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    is_whole: bool

    @property
    def text(self) -> str:
        """The line in one text."""
        return f"{self.minute} {self.hour} {self.day} {self.month} {self.weekday}"

    @property
    def goes_by_hours(self) -> bool:
        """Whether it is due by the hours that pass, as cron has it of a star in the minute or the hour."""
        return self.minute.startswith("*") or self.hour.startswith("*")

    @property
    def is_daily(self) -> bool:
        """Whether every day of the year is meant."""
        return (self.day, self.month, self.weekday) == ("*", "*", "*")

    @property
    def is_either_day(self) -> bool:
        """Whether a day of the month or a weekday is enough: cron's rule where neither begins with a star."""
        return not self.day.startswith("*") and not self.weekday.startswith("*")

    @property
    def is_every_minute(self) -> bool:
        """Whether each minute is a slot."""
        return len(self.minutes) == 60 and len(self.hours) == 24 and self.is_daily


def read_line(line: str) -> CronLine:
    """The fields of a line that a `Cadence` has accepted, its macros written out."""
    fields = [_numbers(field, place) for place, field in enumerate(line.upper().split())]
    meant = CronSim(line, datetime(2000, 1, 1, tzinfo=UTC))
    is_whole = all(_PLAIN.fullmatch(term) for field in fields for term in field.split(","))
    minute, hour, day, month, weekday = fields
    weekdays = {number % 7 for number in meant.weekdays if isinstance(number, int)}
    return CronLine(
        minute=minute,
        hour=hour,
        day=day if is_whole else "*",
        month=month,
        weekday=weekday if is_whole else "*",
        minutes=frozenset(meant.minutes),
        hours=frozenset(meant.hours),
        days=frozenset(meant.days) if is_whole else DAYS_OF_A_MONTH,
        months=frozenset(meant.months),
        weekdays=frozenset(weekdays if is_whole else range(7)),
        is_whole=is_whole,
    )


def listed(numbers: frozenset[int] | set[int], full: int) -> str:
    """Numbers as a field: a star where they are all of 0 to `full` - 1, a step where they have one, else a list."""
    if len(numbers) == full:
        return "*"
    ordered = sorted(numbers)
    step = full // len(ordered)
    if len(ordered) > 2 and full % step == 0 and ordered == list(range(0, full, step)):
        return f"*/{step}"
    return ",".join(map(str, ordered))


def _numbers(field: str, place: int) -> str:
    """One field with numbers for names, and with an end for each step that has only a beginning."""
    if place in (3, 4):
        names = SYMBOLIC_MONTHS if place == 3 else SYMBOLIC_DAYS
        for number, name in enumerate(names, start=1 if place == 3 else 0):
            field = field.replace(name, str(number))
    return re.sub(r"(?<![-\d/])(\d+)/", rf"\1-{_HIGHEST[place]}/", field)

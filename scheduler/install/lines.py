"""A crontab line field by field, in the words that every cron knows: numbers, ranges, steps and stars."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cronsim import CronSim
from cronsim.cronsim import SYMBOLIC_DAYS, SYMBOLIC_MONTHS


@dataclass(frozen=True, kw_only=True, slots=True)
class CronLine:
    """The five fields as text, and the numbers that they mean; weekdays from 0, Sunday, to 6."""

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
    minute, hour, day, month, weekday = line.upper().split()
    month, weekday = _numbered(month, SYMBOLIC_MONTHS, 1), _numbered(weekday, SYMBOLIC_DAYS, 0)
    meant = CronSim(line, datetime(2000, 1, 1, tzinfo=UTC))
    return CronLine(
        minute=minute,
        hour=hour,
        day=day,
        month=month,
        weekday=weekday,
        minutes=frozenset(meant.minutes),
        hours=frozenset(meant.hours),
        days=frozenset(meant.days),
        months=frozenset(meant.months),
        weekdays=frozenset(number % 7 for number in meant.weekdays if isinstance(number, int)),
    )


def _numbered(field: str, names: Sequence[str], first: int) -> str:
    """A field with numbers for the names of months or weekdays."""
    for number, name in enumerate(names, start=first):
        field = field.replace(name, str(number))
    return field


def listed(numbers: frozenset[int] | set[int], full: int) -> str:
    """Numbers as a field: a star where they are all of 0 to `full` - 1, a step where they have one, else a list."""
    if len(numbers) == full:
        return "*"
    ordered = sorted(numbers)
    step = full // len(ordered)
    if len(ordered) > 2 and full % step == 0 and ordered == list(range(0, full, step)):
        return f"*/{step}"
    return ",".join(map(str, ordered))

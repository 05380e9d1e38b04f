"""Crontab lines drawn at random, and a second reading of them: fields to sets, and every minute looked at."""

import random
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")
LIMITS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def field(draw: random.Random, low: int, high: int, names: tuple[str, ...] = (), *, star: float = 0.35) -> str:
    """A star, a star with a step, or a list of numbers, names, ranges and ranges with a step."""
    if draw.random() < star:
        return "*"
    if draw.random() < 0.2:
        return f"*/{draw.randint(1, high)}"
    return ",".join(_term(draw, low, high, names) for _ in range(draw.choice((1, 1, 1, 2, 3))))


def _term(draw: random.Random, low: int, high: int, names: tuple[str, ...]) -> str:
    first, last = sorted((draw.randint(low, high), draw.randint(low, high)))
    begin, end = (str(first), str(last))
    if names and draw.random() < 0.4 and (low or last < 7):
        cased = draw.choice((str.lower, str.upper, str.capitalize))
        begin, end = cased(names[first - low]), cased(names[last - low])
    kind = draw.choice(("number", "number", "range", "step"))
    return begin if kind == "number" else f"{begin}-{end}" + (f"/{draw.randint(1, 9)}" if kind == "step" else "")


def line(draw: random.Random) -> str:
    """Five fields; days that no month has are rare, and left to the caller."""
    minute, hour = field(draw, 0, 59, star=0.2), field(draw, 0, 23)
    return " ".join((minute, hour, field(draw, 1, 31), field(draw, 1, 12, MONTHS), field(draw, 0, 7, DAYS)))


def numbers(text: str, low: int, high: int, names: tuple[str, ...] = ()) -> set[int]:
    """What a field allows."""
    found: set[int] = set()
    for term in text.lower().split(","):
        span, _, step = term.partition("/")
        first, _, last = span.partition("-")
        begin = low if first == "*" else names.index(first) + low if first in names else int(first)
        end = high if first == "*" or (step and not last) else begin
        if last:
            end = names.index(last) + low if last in names else int(last)
        found |= set(range(begin, end + 1, int(step or 1)))
    return found


class Matcher:
    """One crontab line as Debian's cron reads it."""

    def __init__(self, text: str) -> None:
        fields, names = text.split(), ((), (), (), MONTHS, DAYS)
        self.sets = [numbers(f, *limits, names=n) for f, limits, n in zip(fields, LIMITS, names, strict=True)]
        self.sets[4] = {day % 7 for day in self.sets[4]}
        self.needs_both = fields[2].startswith("*") or fields[4].startswith("*")
        self.is_by_hours = fields[0].startswith("*") or fields[1].startswith("*")

    @property
    def is_ever_due(self) -> bool:
        """Whether any of its months has one of its days; 29 February counts."""
        _, _, days, months, _ = self.sets
        longest = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}
        return not self.needs_both or min(days) <= max(longest.get(month, 31) for month in months)

    def matches(self, at: datetime) -> bool:
        """Whether that local minute is one of the line's."""
        minutes, hours, days, months, weekdays = self.sets
        if at.minute not in minutes or at.hour not in hours or at.month not in months:
            return False
        by_day, by_weekday = at.day in days, at.isoweekday() % 7 in weekdays
        return (by_day and by_weekday) if self.needs_both else (by_day or by_weekday)

    def slots(self, zone: ZoneInfo, after: datetime, upto: datetime) -> list[float]:
        """The instants in `(after, upto]` (UTC) by the stated policy, from every minute that passes and every minute of
        the local calendar."""
        if self.is_by_hours:
            minutes = _minutes(after, upto)
            return [at.timestamp() for at in minutes if self.matches(at.astimezone(zone).replace(tzinfo=None))]
        found: dict[float, None] = {}
        first, last = (at.astimezone(zone).replace(tzinfo=None) for at in (after, upto))
        for local in _minutes(first - timedelta(hours=3), last + timedelta(hours=3)):
            if self.matches(local):
                found[_when(local, zone)] = None
        return [at_s for at_s in sorted(found) if after.timestamp() < at_s <= upto.timestamp()]


def _minutes(after: datetime, upto: datetime) -> list[datetime]:
    first = after.replace(second=0, microsecond=0) + timedelta(minutes=1)
    return [first + timedelta(minutes=n) for n in range(int((upto - first).total_seconds() // 60) + 1)]


@lru_cache(maxsize=50_000)
def _when(local: datetime, zone: ZoneInfo) -> float:
    """The first instant at which the clocks of the zone show that time, or have passed it over."""
    at = local.replace(tzinfo=UTC) - timedelta(hours=16)
    while at.astimezone(zone).replace(tzinfo=None) + timedelta(hours=3) <= local:
        at += timedelta(hours=1)
    while at.astimezone(zone).replace(tzinfo=None) < local:
        at += timedelta(minutes=1)
    return at.timestamp()

"""When a retrain is due: a crontab line or an interval, in a time zone. Slots are planned instants, in seconds UTC.

Crontab lines mean what Debian's cron makes of them: weekdays 0 to 7 from Sunday, `OR` between a day of the month and a
weekday where neither begins with a star, names, steps, `@daily`; `L`, `W`, `#`, `?` and seconds are none of it. cronsim
does that arithmetic on local times; which instants they are is decided here. Summer time: of a line whose minute and
hour do not begin with a star, a local time that does not exist is due at the next minute that does, and one that exists
twice is due once, the first time. A line with a star there goes by the hours that pass: twice, and not at all.
"""

import hashlib
import json
import math
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, time, timedelta
from functools import lru_cache
from itertools import takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, start=1)}),
    ("weekday", 0, 7, {name: number for number, name in enumerate(_DAYS)}),
)
_TERM = re.compile(r"(?P<first>\*|[0-9a-z]+)(-(?P<last>[0-9a-z]+))?(/(?P<step>[0-9]+))?")
_BARE_STEP = re.compile(r"(^|,)[0-9a-z]+/")
_NONE = timedelta(0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cadence:
    """Exactly one of `cron` (five fields, or a macro) and `every_s` (whole seconds from `start_s`, else from 1970).

    `timezone`: an IANA name, for `cron`. `jitter_s`: each slot is due up to so many seconds after it was planned, by a
    hash of the pipeline and the slot. No slot is before `start_s` or after `end_s`. Raises `ValueError`.
    """

    cron: str | None = None
    every_s: float | None = None
    timezone: str = "UTC"
    jitter_s: float = 0.0
    start_s: float | None = None
    end_s: float | None = None

    def __post_init__(self) -> None:
        if (self.cron is None) == (self.every_s is None):
            raise ValueError("a cadence is either cron or every, not both and not neither")
        zone_of(self.timezone)
        if self.start_s is not None and self.end_s is not None and self.start_s > self.end_s:
            raise ValueError("a cadence does not end before it starts")
        if self.cron is not None:
            try:
                found = next(CronSim(in_numbers(self.line), datetime(2000, 1, 1)), None)
            except CronSimError:  # a day that none of its months has; what else it knows to refuse is refused before
                found = None
            except ValueError as error:
                raise ValueError(f"{self.cron!r} is no crontab line: {error}") from None
            if found is None:
                raise ValueError(f"{self.cron!r} is never due")
        elif self.every_s is not None and (self.every_s < 1 or self.every_s != int(self.every_s)):
            raise ValueError("every is at least one second, in whole seconds")

    @property
    def line(self) -> str:
        """The five fields of the crontab line; a macro's where it is one."""
        written = " ".join((self.cron or "").split())
        return MACROS.get(written.lower(), written)

    @property
    def text(self) -> str:
        """All of it as a text that `parsed` reads."""
        return json.dumps(asdict(self), sort_keys=True)

    def after(self, at_s: float) -> Iterator[float]:
        """Every slot later than `at_s`, in order; without end unless the cadence has one."""
        if self.start_s is not None and at_s < self.start_s:
            at_s = math.nextafter(self.start_s, -math.inf)
        slots = self._by_cron(at_s) if self.cron is not None else self._by_interval(at_s)
        if self.end_s is None:
            return slots
        end_s = self.end_s
        return takewhile(lambda slot_s: slot_s <= end_s, slots)

    def next_after(self, at_s: float) -> float | None:
        """The first slot later than `at_s`; None where there is none."""
        return next(self.after(at_s), None)

    def due_s(self, pipeline: str, slot_s: float) -> float:
        """When that slot of that pipeline is due: its planned instant and the same jitter each time one asks."""
        if not self.jitter_s:
            return slot_s
        digest = hashlib.blake2b(f"{pipeline}\0{slot_s!r}".encode(), digest_size=8).digest()
        return slot_s + self.jitter_s * int.from_bytes(digest) / 2**64

    def _by_cron(self, at_s: float) -> Iterator[float]:
        zone, line = zone_of(self.timezone), in_numbers(self.line)
        began = datetime.fromtimestamp(math.floor(at_s), tz=zone)
        back = max(_NONE, _offset(began.replace(fold=0)) - _offset(began.replace(fold=1)))
        minute, hour, _ = line.split(maxsplit=2)
        instants = _as_they_pass if minute.startswith("*") or hour.startswith("*") else _once_each
        for slot_s in instants(_local_times(line, began.replace(tzinfo=None, fold=0) - back), zone):
            if slot_s > at_s:
                yield slot_s

    def _by_interval(self, at_s: float) -> Iterator[float]:
        every_s, anchor_s = self.every_s or 0.0, self.start_s or 0.0
        number = math.floor((at_s - anchor_s) / every_s)
        while True:
            number += 1
            slot_s = anchor_s + number * every_s
            if slot_s > at_s:
                yield slot_s


def in_numbers(line: str) -> str:
    """The five fields with numbers for names. Raises `ValueError`, in words, for what cron refuses or would never find
    due, as a range that ends before it begins."""
    fields = line.lower().split()
    if line.startswith("@") or len(fields) != len(_FIELDS):
        raise ValueError(f"five fields (minute hour day month weekday), or one of {', '.join(MACROS)}")
    told = []
    for field, (what, low, high, names) in zip(fields, _FIELDS, strict=True):
        try:
            told.append(",".join(_term(term, low, high, names) for term in field.split(",")))
        except ValueError:
            hint = ": a step follows a star or a range, as in 5-59/20" if _BARE_STEP.search(field) else ""
            raise ValueError(f"{field!r} is no {what}{hint}") from None
    return " ".join(told)


def _term(term: str, low: int, high: int, names: dict[str, int]) -> str:
    found = _TERM.fullmatch(term)
    if found is None:
        raise ValueError(term)
    first, last, step = found["first"], found["last"], found["step"]
    if step is not None and int(step) == 0:
        raise ValueError(term)
    if first == "*":
        if last is not None:
            raise ValueError(term)
        return term
    if last is None and step is not None:
        raise ValueError(term)
    begin = names[first] if first in names else int(first)
    end = begin if last is None else names[last] if last in names else int(last)
    if not low <= begin <= end <= high:
        raise ValueError(term)
    if begin == end:  # cronsim takes the step of a range of one as that of all from there
        return str(begin)
    return f"{begin}-{end}" + (f"/{int(step)}" if step is not None else "")


def _local_times(line: str, after: datetime) -> Iterator[datetime]:
    """Every local time of the line that is later than `after`, in order. cronsim finds the days."""
    minute, hour, days = line.split(maxsplit=2)
    times = _times_of_day(minute, hour)
    for day in CronSim(f"0 0 {days}", datetime.combine(after, time()) - timedelta(seconds=1)):
        for since_midnight in times:
            local = day + since_midnight
            if local > after:
                yield local


@lru_cache(maxsize=64)
def _times_of_day(minute: str, hour: str) -> tuple[timedelta, ...]:
    day = CronSim(f"{minute} {hour} * * *", datetime(2000, 1, 1))
    return tuple(timedelta(hours=h, minutes=m) for h in sorted(day.hours) for m in sorted(day.minutes))


def _once_each(times: Iterable[datetime], zone: ZoneInfo) -> Iterator[float]:
    """The instants of local times: each once, the first time; one that does not exist at the next minute that does."""
    before_s = -math.inf
    for each in times:
        local = each.replace(tzinfo=zone)
        while _offset(local) < _offset(local.replace(fold=1)):
            local += timedelta(minutes=1)
        slot_s = local.timestamp()
        if slot_s > before_s:  # several times that do not exist are due at the same one
            yield slot_s
            before_s = slot_s


def _as_they_pass(times: Iterable[datetime], zone: ZoneInfo) -> Iterator[float]:
    """The instants of local times: both of one that exists twice, none of one that does not exist."""
    again_s: deque[float] = deque()
    for each in times:
        local = each.replace(tzinfo=zone)
        first, second = _offset(local), _offset(local.replace(fold=1))
        if first < second:
            continue
        slot_s = local.timestamp()
        while again_s and again_s[0] < slot_s:
            yield again_s.popleft()
        yield slot_s
        if first > second:
            again_s.append(local.replace(fold=1).timestamp())


def _offset(local: datetime) -> timedelta:
    return local.utcoffset() or _NONE


def parsed(text: str) -> Cadence | None:
    """The cadence with that text; None where it is no cadence, or none that is known here."""
    try:
        return Cadence(**json.loads(text))
    except (TypeError, ValueError):
        return None


def zone_of(name: str) -> ZoneInfo:
    """The time zone of an IANA name. Raises `ValueError` for a name that this machine does not know."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{name!r} is no time zone known here, as 'UTC' or 'Europe/Paris' are") from None


@lru_cache(maxsize=512)
def iso(at_s: float, zone: str = "UTC") -> str:
    """An instant as it stands in the ledger, in JSON and on `--slot`: ISO 8601 with its offset, to the second."""
    return datetime.fromtimestamp(round(at_s), tz=zone_of(zone)).isoformat()

"""Time zones against each other: whose clocks agree, by how many minutes they differ, and when they are set."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

YEARS_AHEAD = 2
"""How far two zones are held against each other. Beyond, laws change more than tables know."""
_DAY_S = 86_400
LOCALTIME = Path("/etc/localtime")


def machine_zone(file: Path = LOCALTIME) -> tuple[tzinfo, str]:
    """The zone by which cron goes on this machine, and its name for people: that of `/etc/localtime`, else UTC.

    Not that of the shell's `TZ`: cron does not have it.
    """
    if not file.is_file():
        return ZoneInfo("UTC"), "UTC"
    _, found, name = str(file.resolve()).partition("zoneinfo/")
    with file.open("rb") as opened:
        return ZoneInfo.from_file(opened), name if found else str(file)


def differences_min(zone: tzinfo, other: tzinfo, now_s: float) -> frozenset[int]:
    """By how many minutes clocks in `zone` are ahead of those in `other`, from now on for two years."""
    moments = [now_s, *(change.at_s for each in (zone, other) for change in changes(each, now_s, YEARS_AHEAD))]
    return frozenset(round((offset_s(zone, at_s) - offset_s(other, at_s)) / 60) for at_s in moments)


def offset_s(zone: tzinfo, at_s: float) -> float:
    """How far its clocks are ahead of UTC then, in seconds."""
    offset = datetime.fromtimestamp(at_s, tz=zone).utcoffset()
    return (offset or timedelta()).total_seconds()


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """Clocks are set at `at_s` (seconds UTC): forward by so many seconds, back where that is negative."""

    at_s: float
    forward_s: float


def changes(zone: tzinfo, after_s: float, years: int) -> Iterator[Change]:
    """Every change of its clocks after that instant, for so many years, to the minute."""
    before_s = after_s
    for day in range(1, years * 366):
        upto_s = after_s + day * _DAY_S
        was_s = offset_s(zone, before_s)
        if offset_s(zone, upto_s) != was_s:
            low, high = int(before_s // 60), int(upto_s // 60)
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if offset_s(zone, middle * 60.0) == was_s else (low, middle)
            yield Change(at_s=high * 60.0, forward_s=offset_s(zone, high * 60.0) - was_s)
        before_s = upto_s


def utc(at_s: float) -> datetime:
    """That instant in UTC."""
    return datetime.fromtimestamp(at_s, tz=UTC)

"""When a retrain is due: a crontab line or an interval, in a time zone. Slots are planned instants, in seconds UTC.

Crontab lines mean what Debian's cron makes of them: weekdays 0 to 7 from Sunday, `OR` between a day of the month and a
weekday where neither begins with a star, names, steps, `@daily`. cronsim does that arithmetic. Summer time: of a line
whose minute and hour are fixed, a local time that does not exist is due at the next minute that does, and one that
exists twice is due once, the first time. A line with a star in its minute or its hour goes by the hours that pass.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
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
        if self.cron is not None:
            if self.line.startswith("@") or len(self.line.split()) != 5:
                raise ValueError(
                    f"{self.cron!r} is no crontab line: five fields (minute hour day month weekday), or one of"
                    f" {', '.join(MACROS)}"
                )
            try:
                found = next(CronSim(self.line, datetime(2000, 1, 1, tzinfo=UTC)), None)
            except CronSimError as error:
                raise ValueError(f"{self.cron!r} is no crontab line: {str(error).lower()}") from None
            if found is None:
                raise ValueError(f"{self.cron!r} is never due")
        elif self.every_s is not None and (self.every_s < 1 or self.every_s != int(self.every_s)):
            raise ValueError("every is at least one second, in whole seconds")

    @property
    def line(self) -> str:
        """The five fields of the crontab line; a macro's where it is one."""
        written = " ".join((self.cron or "").split())
        return MACROS.get(written.lower(), written)

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
        began = datetime.fromtimestamp(math.floor(at_s), tz=zone_of(self.timezone))
        for slot in CronSim(self.line, began):
            slot_s = slot.timestamp()
            if slot_s > at_s:  # a time that exists twice, asked for between its two
                yield slot_s

    def _by_interval(self, at_s: float) -> Iterator[float]:
        every_s, anchor_s = self.every_s or 0.0, self.start_s or 0.0
        number = math.floor((at_s - anchor_s) / every_s)
        while True:
            number += 1
            slot_s = anchor_s + number * every_s
            if slot_s > at_s:
                yield slot_s


def zone_of(name: str) -> ZoneInfo:
    """The time zone of an IANA name. Raises `ValueError` for a name that this machine does not know."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{name!r} is no time zone known here, as 'UTC' or 'Europe/Paris' are") from None


def iso(at_s: float, zone: str = "UTC") -> str:
    """An instant as it stands in the ledger, in JSON and on `--slot`: ISO 8601 with its offset, to the second."""
    return datetime.fromtimestamp(round(at_s), tz=zone_of(zone)).isoformat()

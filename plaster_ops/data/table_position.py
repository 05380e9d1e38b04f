"""A position in a table as text: how far rows had come in order of arrival, in event time, and how many there were.

`<order>#<rows>`, or `<order>@<time>#<rows>` with an event time. The count makes a position honest: a row that appears
later at or below it (a transaction that committed late, a label that came late) shows as a row too many.
"""

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from plaster_ops.domain.durations import duration_us
from plaster_ops.errors import DataError

_DAY = len("2026-11-28")


@dataclass(frozen=True, kw_only=True, slots=True)
class TablePosition:
    """Rows whose order is at most `order` and whose event time is at most `time` (None: there is no event time).
    `rows`: how many there were when the position was told."""

    order: Any
    time: Any
    rows: int

    def to_text(self) -> str:
        """The watermark."""
        time = "" if self.time is None else f"@{_text(self.time)}"
        return f"{_text(self.order)}{time}#{self.rows}"

    @classmethod
    def parse(cls, text: Any, like_order: Any, like_time: Any) -> "TablePosition":
        """The position that `to_text` wrote; `like_...` are values of the columns, whose type they take. `like_time`
        None: without an event time. Raises `ValueError` for any other text."""
        place, mark, rows = str(text).rpartition("#")
        if not mark:
            raise ValueError("no count of rows")
        if like_time is None:
            return cls(order=_value(place, like_order), time=None, rows=int(rows))
        order, mark, time = place.rpartition("@")
        if not mark:
            raise ValueError("no event time")
        return cls(order=_value(order, like_order), time=_value(time, like_time), rows=int(rows))


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)


def _value(text: str, like: Any) -> Any:
    if isinstance(like, datetime):
        return datetime.fromisoformat(text)
    if isinstance(like, date):
        return date.fromisoformat(text)
    return type(like)(text) if isinstance(like, (int, float, Decimal)) else text


def seconds_of(duration: float | str, what: str) -> float:
    """Seconds of a number, or of a text that `durations.duration_us` reads; `what` names it in the error."""
    if isinstance(duration, (int, float)) and 0 <= duration < math.inf:
        return float(duration)
    try:
        return duration_us(str(duration)) / 1e6
    except ValueError:
        raise DataError(
            f"{what} = {duration!r} is no duration", 'give seconds, or a text such as "90s", "12h", "14d"'
        ) from None


def epoch_s(value: Any) -> float | None:
    """Seconds since the epoch of a date, a point in time (without a zone: UTC), ISO 8601 text or a number; None for
    what is none of these."""
    if isinstance(value, (int, float, Decimal)):
        return float(value)
    moment = _moment(value)
    return moment.timestamp() if moment is not None else None


def is_timed(value: Any) -> bool:
    """Whether the value is a point in time rather than a number."""
    return _moment(value) is not None


def shifted(value: Any, by_s: float) -> Any:
    """The value moved by seconds, of the same type and, for text, in the same form; None where it is no point in time
    and no number."""
    if isinstance(value, (int, float, Decimal)):
        return type(value)(Decimal(str(value)) + Decimal(str(by_s))) if not isinstance(value, float) else value + by_s
    moment = _moment(value)
    if moment is None:
        return None
    return like(value, moment + timedelta(seconds=by_s))


def like(value: Any, moment: datetime) -> Any:
    """The moment as that value is written: a point in time with or without a zone, a date, or ISO 8601 text."""
    if isinstance(value, datetime):
        return moment.astimezone(value.tzinfo) if value.tzinfo else moment.astimezone(UTC).replace(tzinfo=None)
    if isinstance(value, date):
        return moment.date()
    if len(value) == _DAY:
        return moment.date().isoformat()
    told = datetime.fromisoformat(value)
    zoned = moment.astimezone(told.tzinfo) if told.tzinfo else moment.astimezone(UTC).replace(tzinfo=None)
    _, point, fraction = value.partition(".")
    spec = "seconds" if not point else "milliseconds" if len(fraction.rstrip("Z")) == 3 else "microseconds"
    text = zoned.isoformat(sep=value[_DAY], timespec=spec)
    return f"{text.removesuffix('+00:00')}Z" if value.endswith("Z") else text


def _moment(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

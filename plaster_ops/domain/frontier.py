"""A watermark that loses nothing: how far in the order of arrival, and how far in time.

A watermark in event time misses rows that come late; one in the order of arrival gives rows of the future to training.
A frontier is both: its rows are those that had arrived by `position` and happened by `at_us`. Where training ends, and
where everything ends, differ only in time, so that a late row is learned by the next retrain and never held out.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Frontier:
    """The rows at positions up to `position` (from 1) whose event time is at most `at_us`.

    `at_us`: microseconds since the epoch, or a million times the number where `dated` is False and the time column
    holds numbers.
    """

    position: int
    at_us: int
    dated: bool = True

    def holds(self, position: int, at_us: int) -> bool:
        """Whether the row at that position and time belongs to it."""
        return position <= self.position and at_us <= self.at_us

    def to_text(self) -> str:
        """`4320@1998-05-01T00:00:00+00:00`, or `4320@17.5` for numbers; `parse_frontier` reads it."""
        return f"{self.position}@{time_text(self.at_us, dated=self.dated)}"


def time_text(at_us: int, *, dated: bool) -> str:
    """The time alone: ISO 8601 in UTC, or the number."""
    if dated:
        return (_EPOCH + at_us * _US).isoformat()
    whole, part = divmod(abs(at_us), 1_000_000)
    sign = "-" if at_us < 0 else ""
    return f"{sign}{whole}" + (f".{part:06d}".rstrip("0") if part else "")


def parse_frontier(text: str) -> Frontier:
    """The frontier that `to_text` wrote. Raises `ValueError` for any other text."""
    position, separator, at = text.partition("@")
    if not separator or not position.isdecimal():
        raise ValueError(f"{text!r} is not of the form position@time")
    sign, digits = (-1, at[1:]) if at.startswith("-") else (1, at)
    whole, _, part = digits.partition(".")
    if whole.isdecimal() and (not part or (part.isdecimal() and len(part) <= 6)):
        at_us = sign * (int(whole) * 1_000_000 + int(part.ljust(6, "0") or 0))
        return Frontier(position=int(position), at_us=at_us, dated=False)
    moment = datetime.fromisoformat(at)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return Frontier(position=int(position), at_us=(moment - _EPOCH) // _US)


def is_new(position: int, at_us: int, learned: Frontier | None, cut: Frontier) -> bool:
    """Whether a retrain up to `cut` learns the row first: it belongs to `cut` and not to what the champion learned."""
    return cut.holds(position, at_us) and not (learned is not None and learned.holds(position, at_us))


def is_held_out(position: int, at_us: int, cut: Frontier, end: Frontier) -> bool:
    """Whether the row is in the rolling set: arrived by `end`, younger than `cut`, not younger than `end`."""
    return end.holds(position, at_us) and at_us > cut.at_us


def cut_at(wanted_us: int, *, learned: Frontier | None, end: Frontier, floor_us: int | None) -> Frontier:
    """Where training ends: at `wanted_us`, but never before any earlier cut nor after `end`.

    `floor_us` is the latest time at which a cut was ever made. The time of a cut thus never falls, and what is held
    out now (younger than it) was trained on by no earlier champion, whose cut was not later.
    """
    floors = [wanted_us, *([] if floor_us is None else [floor_us]), *([] if learned is None else [learned.at_us])]
    return Frontier(position=end.position, at_us=min(end.at_us, max(floors)), dated=end.dated)

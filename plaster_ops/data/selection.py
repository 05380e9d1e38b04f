"""Which accepted rows a window means: new ones, old ones worth repeating, and those that are held out.

Works on positions and times alone; `domain.frontier` says what a frontier holds, and this is the same for many rows.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from plaster_ops.data.columns import Int64s
from plaster_ops.data.ledger import Entry, Mask
from plaster_ops.domain.durations import Lookback, parse_lookback
from plaster_ops.domain.frontier import Frontier
from plaster_ops.domain.window import Window


@dataclass(frozen=True)
class Rows:
    """Every row that may be given out in one state of a source. Arrays are [rows], in the order of acceptance.

    `entry` counts in `entries`; `row` is the row's number in its file, from 0.
    """

    entries: Sequence[Entry]
    entry: Int64s
    row: Int64s
    position: Int64s
    at_us: Int64s

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> "Rows":
        """The kept rows of these entries."""
        parts: list[tuple[Int64s, Int64s, Int64s, Int64s]] = []
        for number, entry in enumerate(entries):
            at, positions = entry.times_us(), entry.positions()
            rows = positions - entry.start - 1 + entry.first_row
            owner = np.full(entry.rows, number, dtype=np.int64)
            if entry.dropped is not None or entry.unlabelled is not None:
                kept = entry.kept()
                owner, rows, positions, at = owner[kept], rows[kept], positions[kept], at[kept]
            parts.append((owner, rows, positions, at))
        if not parts:
            nothing = np.zeros(0, dtype=np.int64)
            return cls(entries, nothing, nothing, nothing, nothing)
        owner, rows, positions, at = (np.concatenate(column) for column in zip(*parts, strict=True))
        return cls(entries, owner, rows, positions, at)

    @cached_property
    def newest_us(self) -> int | None:
        """The latest time; None without rows."""
        return int(self.at_us.max()) if len(self.at_us) else None

    def held_by(self, frontier: Frontier | None) -> Mask:
        """Rows that the frontier holds; none for None."""
        if frontier is None:
            return np.zeros(len(self.position), dtype=bool)
        return np.asarray((self.position <= frontier.position) & (self.at_us <= frontier.at_us))

    def between(self, after: Frontier | None, upto: Frontier | None) -> Mask:
        """Rows of `upto` that are not in `after`."""
        return self.held_by(upto) & ~self.held_by(after)

    def held_out(self, cut: Frontier, end: Frontier) -> Mask:
        """The rolling set."""
        return self.held_by(end) & (self.at_us > cut.at_us)

    def before_newest(self, end: Frontier, count: int) -> int | None:
        """The latest time at which at least `count` rows of `end` are younger; None without rows."""
        times = np.sort(self.at_us[self.held_by(end)])
        if not len(times):
            return None
        boundary = times[max(0, len(times) - count)]
        older = times[times < boundary]
        return int(older[-1]) if len(older) else int(boundary) - 1


def training(rows: Rows, window: Window, learned: Frontier | None, cut: Frontier) -> Int64s:
    """Indices of the rows to train on, by time and then by position: all new ones, and what is repeated of the old."""
    new, old = rows.between(learned, cut), rows.held_by(learned) & rows.held_by(cut)
    old &= _inside(rows, parse_lookback(window.lookback), new | old, cut)
    if window.replay_ratio is not None:
        wanted = round(window.replay_ratio * int(new.sum()))
        old = _drawn(rows, old, wanted, _seed(window))
    return ordered(rows, new | old)


def ordered(rows: Rows, mask: Mask) -> Int64s:
    """Indices of marked rows by time, then by position."""
    chosen = np.flatnonzero(mask)
    at = rows.at_us[chosen]
    if (at[1:] >= at[:-1]).all() and (np.diff(rows.position[chosen]) > 0).all():
        return chosen
    return chosen[np.lexsort((rows.position[chosen], at))]


def _inside(rows: Rows, lookback: Lookback, part: Mask, cut: Frontier) -> Mask:
    if lookback.age_us is not None:
        return np.asarray(rows.at_us > cut.at_us - lookback.age_us)
    inside = np.ones(len(rows.at_us), dtype=bool)
    if lookback.rows is not None:
        inside[ordered(rows, part)[: -lookback.rows]] = False
    return inside


def _seed(window: Window) -> int:
    text = json.dumps([window.learned, window.cut, window.end])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def _drawn(rows: Rows, old: Mask, count: int, seed: int) -> Mask:
    """`count` of the marked rows at random (all, where they are fewer): the smallest of their positions hashed with
    the seed by splitmix64, so that every process and every release draws the same."""
    chosen = np.flatnonzero(old)
    if count >= len(chosen):
        return old
    drawn = np.zeros(len(old), dtype=bool)
    if count > 0:
        mixed = rows.position[chosen].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        mixed ^= mixed >> np.uint64(31)
        drawn[chosen[np.argpartition(mixed, count - 1)[:count]]] = True
    return drawn

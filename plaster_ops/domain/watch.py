"""From histories of one pipeline to new alarms. A metric is watched where it has a margin or is a headline.

A history holds only retrains that can be held against the newest: same device and inputs, same method. What was told
is not told again; the regime of a metric begins at the newest alarm of it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, takewhile

from plaster_ops.domain.alarm import Alarm
from plaster_ops.domain.changes import Change, ChangeKind
from plaster_ops.domain.metrics import CATALOGUE, Better, Metric, Scale

LEAST_RATIO = 0.5
"""Part of a metric's margin that a change must reach to be told: an estimate scatters around the truth, so a cut at
the margin itself would miss every second change of just that size."""

NEAR = 5
"""Retrains within which a change in the same direction is one that was told."""

FEWEST = 8
"""Values that a regime needs before anything is said of it."""

WATCHED: tuple[Metric, ...] = tuple(each for each in CATALOGUE.values() if each.margin is not None or each.headline)

Candidates = Callable[[int, int], Sequence[Change]]
"""What differs between the records of two retrains, by number, the later one first; empty where one is not known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """A metric over comparable retrains, newest last. `better`: the direction; a score's is the pipeline's own."""

    metric: Metric
    better: Better
    fingerprint: str
    indices: Sequence[int]
    values: Sequence[float | None]

    def start(self, told: Iterable[Alarm]) -> int:
        """The place at which its current regime begins."""
        since = regime_start(told, self.metric.key, self.fingerprint)
        return next((i for i, at in enumerate(self.indices) if at >= since), 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What is the same for all alarms of one retrain. `raised_at`: ISO 8601, UTC."""

    pipeline: str
    raised_index: int
    raised_at: str
    margins: Mapping[str, float]
    alarms: Sequence[Alarm]
    candidates: Candidates


def regime_start(told: Iterable[Alarm], key: str, fingerprint: str) -> int:
    """Number of the retrain at which a metric's current regime begins: its newest alarm's; 0 where none was told."""
    return max((alarm.index for alarm in told if alarm.key == key and alarm.fingerprint == fingerprint), default=0)


def is_of(alarm: Alarm, history: History) -> bool:
    """Whether it was told of that history."""
    return alarm.key == history.metric.key and alarm.fingerprint == history.fingerprint


def least_change(metric: Metric, margins: Mapping[str, float]) -> float:
    """The smallest change of that metric that is told, in its scale."""
    return LEAST_RATIO * (margin_of(metric, margins) or 0.0)


def margin_of(metric: Metric, margins: Mapping[str, float]) -> float | None:
    """The margin of its verdicts: the settings', else the catalogue's."""
    return margins.get(metric.key, metric.margin)


def find_alarms(histories: Iterable[History], told: Told) -> list[Alarm]:
    """Changes that nobody was told of yet, in order of the retrains at which they lie."""
    found = [alarm for history in histories for alarm in _of_history(history, told)]
    return sorted(found, key=lambda alarm: (alarm.index, list(CATALOGUE).index(alarm.key)))


def _of_history(history: History, told: Told) -> list[Alarm]:
    from plaster_ops.domain.scan import scan_all

    metric, mine = history.metric, [alarm for alarm in told.alarms if is_of(alarm, history)]
    changes = scan_all(
        history.values,
        scale=metric.scale,
        start=history.start(mine),
        least=least_change(metric, told.margins),
        margin=margin_of(metric, told.margins),
        better=history.better,
    )
    found: list[Alarm] = []
    for change in changes:
        alarm = Alarm(
            pipeline=told.pipeline,
            key=metric.key,
            fingerprint=history.fingerprint,
            index=history.indices[change.at],
            raised_index=told.raised_index,
            raised_at=told.raised_at,
            shape=change.shape,
            before=change.before,
            after=change.after,
            change=change.change,
            p_value=change.p_value,
            worse=_is_worse(history.better, change.after - change.before),
            candidates=_candidates(history, change.at, told.candidates),
            back_at=_back_at(history, [*mine, *found], change.after, told.margins),
        )
        if not any(is_same(alarm, earlier) for earlier in chain(mine, _near(found, alarm.index))):
            found.append(alarm)
    return found


def _near(found: Sequence[Alarm], index: int) -> Iterator[Alarm]:
    """Those at most so many retrains before that one, of alarms in order."""
    return takewhile(lambda earlier: index - earlier.index <= NEAR, reversed(found))


def is_same(alarm: Alarm, earlier: Alarm) -> bool:
    """Whether it tells of a change that `earlier` told of: same retrain, or tested, near by and in its direction."""
    if (alarm.pipeline, alarm.key, alarm.fingerprint) != (earlier.pipeline, earlier.key, earlier.fingerprint):
        return False
    apart = abs(alarm.index - earlier.index)
    same_way = (alarm.after > alarm.before) == (earlier.after > earlier.before)
    return apart == 0 or (alarm.p_value is not None and same_way and apart <= NEAR)


def _is_worse(better: Better, shift: float) -> bool:
    return shift > 0 if better is Better.LOWER else shift < 0 if better is Better.HIGHER else False


def _candidates(history: History, at: int, between: Candidates) -> tuple[Change, ...]:
    """What changed at that retrain against the one before; where that is but the data, as it is each time, what
    changed one or two retrains beside it, since a place is an estimate."""
    here = _changes(history, at, between)
    if _tells(here):
        return here
    for step in (-1, 1, -2, 2):
        near = _changes(history, at + step, between)
        if _tells(near):
            return near
    return here


def _changes(history: History, at: int, between: Candidates) -> tuple[Change, ...]:
    if not 0 < at < len(history.indices):
        return ()
    return tuple(between(history.indices[at], history.indices[at - 1]))


def _tells(changes: Iterable[Change]) -> bool:
    return any(change.kind is not ChangeKind.DATA for change in changes)


def _back_at(history: History, earlier: Sequence[Alarm], level: float, margins: Mapping[str, float]) -> int | None:
    """The last retrain before an earlier alarm whose level this is once more; None where it is a new one."""
    margin = margin_of(history.metric, margins) or 0.0
    for alarm in reversed(earlier):
        allowed = margin if history.metric.scale is Scale.DIFFERENCE else margin * abs(alarm.before)
        if abs(level - alarm.before) <= allowed and earlier[-1].after != alarm.before:
            return max((index for index in history.indices if index < alarm.index), default=None)
    return None

"""New data makes a retrain due: enough of it, and none for a while. One retrain for a hundred files, not a hundred."""

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from plaster_ops.domain.slots import Cause
from plaster_ops.domain.window import Watermark
from plaster_ops.settings_schedule import TriggerSettings
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.slots import SlotLedger
from scheduler.asked import LastAsks

STEADY = 10
"""Data that never pauses for `debounce_s` is retrained on after so many times that, once enough is there."""


@dataclass(kw_only=True, slots=True)
class _Arrived:
    """`samples` came after the position `since`, up to `newest`. `changed_s`: when that was heard to change last.

    `is_weighed`: the next two are of what is there now. `enough_s`: since when there has been enough; None where there
    is not. `was_asked`: a retrain was asked for them, so that there is enough again only where it was skipped, or where
    more comes.
    """

    newest: Watermark | None
    samples: int
    since: Watermark | None
    changed_s: float
    is_weighed: bool = False
    enough_s: float | None = None
    was_asked: bool = False
    not_before_s: float = 0.0


class DataTrigger:
    """The pipelines with `on_data`, and what arrived of those with `on_drift`. Instants are seconds UTC."""

    def __init__(self, triggers: Mapping[str, TriggerSettings], ledger: SlotLedger, journal: Journal) -> None:
        self._journal = journal
        self._asked = LastAsks(ledger, Cause.DATA)
        self._arrived: dict[str, _Arrived] = {}
        self._uncounted: set[str] = set()
        self.load(triggers)

    def load(self, triggers: Mapping[str, TriggerSettings]) -> None:
        """New settings; what was heard of pipelines that still are in them is kept."""
        self._triggers = {name: trigger for name, trigger in triggers.items() if trigger.on_data or trigger.on_drift}
        self._uncounted = {name for name in self._uncounted if name in self._triggers}
        self._arrived = {name: each for name, each in self._arrived.items() if name in self._triggers}

    def heard(self, event: Mapping[str, Any], now_s: float) -> None:
        """How much of a pipeline's data no retrain has taken, as the watcher found it. Touches no file, so that nothing
        is lost where one cannot be read."""
        name, newest, samples, since = event["pipeline"], event["newest"], event["samples"], event["since"]
        if name not in self._triggers:
            return
        (self._uncounted.add if samples is None else self._uncounted.discard)(name)
        if not samples:
            self._arrived.pop(name, None)
            return
        arrived = self._arrived.get(name)
        if arrived is None:
            arrived = _Arrived(newest=newest, samples=samples, since=since, changed_s=now_s)
            self._arrived[name] = arrived
        if arrived.since != since:
            arrived.enough_s = None
        elif arrived.samples != samples:
            arrived.changed_s = now_s
        if arrived.newest != newest:
            arrived.changed_s = now_s
        arrived.newest, arrived.samples, arrived.since = newest, samples, since
        arrived.is_weighed, arrived.not_before_s = False, 0.0

    def is_ready(self, name: str, now_s: float) -> bool:
        """Whether a retrain would find enough to learn, and no more is coming just now. It always does where there is
        no source."""
        arrived = self._arrived.get(name)
        if arrived is None or arrived.since != self._journal.taken(name):
            return name in self._uncounted
        self._weigh(name, now_s)
        return arrived.enough_s is not None and now_s >= self._due_s(arrived, self._triggers[name])

    def freed(self, name: str) -> None:
        """A retrain of it has ended: it may be considered at once."""
        if name in self._arrived:
            self._arrived[name].not_before_s = 0.0

    def set_back(self, now_s: float) -> None:
        """The clock shows an earlier instant than before: nothing was heard after it."""
        for arrived in self._arrived.values():
            arrived.changed_s, arrived.not_before_s = min(arrived.changed_s, now_s), 0.0
            arrived.enough_s = None if arrived.enough_s is None else min(arrived.enough_s, now_s)

    def due(self, now_s: float, busy: Container[str]) -> list[str]:
        """Pipelines to ask `reason` of."""
        return [name for name, at_s in self._looks(busy) if at_s <= now_s]

    def next_s(self, busy: Container[str]) -> float | None:
        """When the next one may be due; None where none will be by itself."""
        return min((at_s for _, at_s in self._looks(busy)), default=None)

    def _looks(self, busy: Container[str]) -> Iterator[tuple[str, float]]:
        for name in self._arrived:
            at_s = self._look_s(name) if name not in busy and self._triggers[name].on_data else None
            if at_s is not None:
                yield name, at_s

    def reason(self, name: str, now_s: float) -> str | None:
        """Why a retrain is due now; None where it is not after all."""
        arrived, trigger = self._arrived[name], self._triggers[name]
        if arrived.since != self._journal.taken(name):
            arrived.not_before_s = now_s + trigger.poll_s
            return None  # a retrain took some of it since: the watcher will tell how much is left
        skipped_s = self._weigh(name, now_s)
        if arrived.enough_s is not None and now_s < self._due_s(arrived, trigger):
            return None
        arrived.not_before_s = now_s + trigger.poll_s
        is_too_soon = skipped_s is not None and skipped_s <= now_s < skipped_s + self._again_s(name)
        if arrived.enough_s is None or is_too_soon:
            return None
        there, quiet_s = told(arrived.samples, arrived.since, trigger.min_new_samples), now_s - arrived.changed_s
        if quiet_s >= trigger.debounce_s:
            return f"{there}; none came for {quiet_s:.0f} s"
        return f"{there}; they have been coming for {now_s - arrived.enough_s:.0f} s"

    def was_asked(self, name: str, now_s: float) -> None:
        """The retrain that `reason` gave is asked for."""
        arrived = self._arrived[name]
        self._asked.remember(name, now_s, {"samples": arrived.samples, "since": arrived.since})
        arrived.enough_s, arrived.was_asked, arrived.not_before_s = None, True, now_s + self._again_s(name)

    def _look_s(self, name: str) -> float | None:
        arrived = self._arrived[name]
        if not arrived.is_weighed:
            return arrived.not_before_s
        if arrived.enough_s is None:
            return arrived.not_before_s if arrived.was_asked else None
        return max(self._due_s(arrived, self._triggers[name]), arrived.not_before_s)

    @staticmethod
    def _due_s(arrived: _Arrived, trigger: TriggerSettings) -> float:
        assert arrived.enough_s is not None
        return min(arrived.changed_s + trigger.debounce_s, arrived.enough_s + STEADY * trigger.debounce_s)

    def _again_s(self, name: str) -> float:
        return max(self._triggers[name].debounce_s, self._triggers[name].poll_s)

    def _weigh(self, name: str, now_s: float) -> float | None:
        """Whether there is enough that no retrain was asked for yet: that one may be at work, or have failed before it
        took it. Returns when the last one that was asked for was skipped, if it was."""
        arrived, last = self._arrived[name], self._asked.last(name)
        taken = last.about["samples"] if last.about and last.about["since"] == arrived.since else 0
        arrived.is_weighed, arrived.was_asked = True, taken > 0
        if arrived.samples - taken < self._triggers[name].min_new_samples:
            arrived.enough_s = None
        elif arrived.enough_s is None:
            arrived.enough_s = now_s
        return last.skipped_s


def told(samples: int, since: Watermark | None, needed: int) -> str:
    """What is there, in words."""
    return f"{samples} new samples{'' if since is None else f' since {since}'}, min_new_samples is {needed}"

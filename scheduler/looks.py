"""Looks at a project, kept for a moment: however many browsers and probes ask, the ledger is read now and then."""

import threading
import time

from plaster_ops.settings import Settings
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.slots import SlotLedger
from scheduler.counts import SlotCounts
from scheduler.metrics import registry_of
from scheduler.snapshot import collect
from scheduler.status import Snapshot

KEEP_S = 2.0
"""A snapshot younger than this is told again."""


class Looks:
    """Snapshots of one project, each kept for `KEEP_S`; usable from several threads."""

    def __init__(self, settings: Settings, journal: Journal) -> None:
        self._settings, self._journal = settings, journal
        self._ledger = SlotLedger(journal.file)
        self._counts = SlotCounts(self._ledger)
        self._lock = threading.Lock()
        self._kept: tuple[float, Snapshot, dict[tuple[str, str], int]] | None = None
        self.registry = registry_of(self.snapshot, self.counts)

    def reload(self, settings: Settings) -> None:
        """Of these settings from now on."""
        with self._lock:
            self._settings, self._kept = settings, None

    def snapshot(self) -> Snapshot:
        """What is going on, `KEEP_S` ago at most."""
        return self._look()[0]

    def counts(self) -> dict[tuple[str, str], int]:
        """How many slots ended how."""
        return self._look()[1]

    def _look(self) -> tuple[Snapshot, dict[tuple[str, str], int]]:
        with self._lock:
            if self._kept is None or time.monotonic() - self._kept[0] > KEEP_S:
                told = collect(self._ledger, self._journal, self._settings, time.time())
                self._kept = (time.monotonic(), told, self._counts.now())
            return self._kept[1:]

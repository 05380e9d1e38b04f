"""The energy of a retrain, stage by stage, in the journal: a run that is resumed goes on adding up."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from plaster_ops.domain.timeline import Phase
from plaster_ops.errors import UsageError
from plaster_ops.plaster.phase_energy import COUNTED, EVERY, Gauges, open_gauges, span
from plaster_ops.settings_sections import PipelineSettings
from plaster_ops.tracking.journal import Journal
from plaster_ops.training.devices import choose_devices

STAGE = "energy"
"""The journal's row of it."""


class Ledger:
    """What one run spent. Each span is written down when it opens, so that one that is cut off is known to be missing.

    Close it: it holds counters.
    """

    def __init__(self, journal: Journal, uid: str, gauges: Gauges, *, resumed: bool) -> None:
        self._journal, self._uid, self._gauges = journal, uid, gauges
        kept = journal.stages(uid)
        self.spans: list[dict[str, Any]] = list(kept.get(STAGE, {}).get("spans", ()))
        if resumed and STAGE not in kept and _anything_to_count(kept):
            self.spans.append(span("an earlier attempt", EVERY, None, None))

    @contextmanager
    def stage(self, name: str, phase: Phase) -> Iterator[None]:
        """Everything inside belongs to that stage; phases that are not counted leave no trace."""
        if phase not in COUNTED:
            yield
            return
        place, before = len(self.spans), self._gauges.read()
        self.spans.append(span(name, phase, before, None))
        self._save()
        try:
            yield
        finally:
            self.spans[place] = span(name, phase, before, self._gauges.read())
            self._save()

    def close(self) -> None:
        """Gives the counters back."""
        self._gauges.close()

    def _save(self) -> None:
        self._journal.stage_done(self._uid, STAGE, {"spans": self.spans}, 0.0)


def open_ledger(journal: Journal, uid: str, pipeline: PipelineSettings, *, resumed: bool) -> Ledger:
    """The ledger of a run, with a counter for each GPU that its training will use."""
    return Ledger(journal, uid, open_gauges(_gpus(pipeline)), resumed=resumed)


def _gpus(pipeline: PipelineSettings) -> tuple[str, ...]:
    """The GPUs that the training will get; () where it runs on the CPU, or will be refused."""
    try:
        return choose_devices(pipeline.train.devices, "auto", os.environ).visible
    except UsageError:
        return ()


def _anything_to_count(kept: Mapping[str, Any]) -> bool:
    return any(name == "fit" or name.startswith(("export", "build ", "evaluate")) for name in kept)

"""What a trigger asked for last, kept beside the ledger, so that a restart asks for nothing twice and loses nothing."""

import json
from dataclasses import dataclass, field
from typing import Any

from plaster_ops.domain.slots import Cause, SlotState
from plaster_ops.tracking.slots import SlotLedger


@dataclass(frozen=True, kw_only=True, slots=True)
class LastAsk:
    """`about`: what it was about; empty where nothing counts as asked for. `skipped_s`: when its slot was skipped."""

    about: dict[str, Any] = field(default_factory=dict)
    skipped_s: float | None = None


class LastAsks:
    """One remembered ask for each pipeline, of one cause."""

    def __init__(self, ledger: SlotLedger, cause: Cause) -> None:
        self._ledger, self._cause = ledger, cause

    def remember(self, pipeline: str, at_s: float, about: dict[str, Any]) -> None:
        """A retrain is asked for at `at_s` (seconds UTC), which is when its slot will be planned."""
        self._ledger.file.remember(self._key(pipeline), json.dumps({"at_s": at_s, "about": about}))

    def last(self, pipeline: str) -> LastAsk:
        """The last ask whose slot waits, runs or was run. One that was skipped, or never written, served nobody."""
        text = self._ledger.file.meta(self._key(pipeline))
        if text is None:
            return LastAsk()
        kept = json.loads(text)
        slot = self._ledger.find(pipeline, self._cause, kept["at_s"])
        if slot is None:
            return LastAsk()
        if slot.state is SlotState.SKIPPED:
            return LastAsk(skipped_s=slot.ended_s)
        return LastAsk(about=kept["about"])

    def _key(self, pipeline: str) -> str:
        return f"asked by {self._cause}: {pipeline}"

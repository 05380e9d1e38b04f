"""Alerts of what no retrain tells of: a slot that is late, a pipeline that keeps failing. In a thread of its own with
its own connection, so that a receiver that does not answer delays no slot."""

import logging
import threading
import time

from plaster_ops.errors import PlasterError
from plaster_ops.flow.alerting import BY_THE_CLOCK, evaluate, send_pending
from plaster_ops.settings import Settings
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.slots import SlotLedger

_log = logging.getLogger(__name__)

LOOK_S = 30.0


class Teller:
    """Looks every `LOOK_S`, as long as the project has alerts."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="plaster-teller", daemon=True)

    def start(self) -> None:
        """From now on."""
        self._thread.start()

    def stop(self) -> None:
        """No more looks; one that is under way is waited for, a few seconds at most."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(10.0)

    def load(self, settings: Settings) -> None:
        """New settings, from the next look on."""
        self._settings = settings

    def look(self) -> None:
        """One look: what changed is noted, what waits is sent."""
        settings = self._settings
        if not any(pipeline.alerts for pipeline in settings.pipelines.values()):
            return
        try:
            with Journal.open(settings.memory) as journal:
                ledger = SlotLedger(journal.file)
                evaluate(ledger, journal, settings, time.time(), only=BY_THE_CLOCK)
                send_pending(ledger, settings, time.time())
        except PlasterError as error:
            _log.warning("alerts were not looked at: %s", error.message)

    def _keep(self) -> None:
        while not self._ended.wait(LOOK_S):
            self.look()

"""The record's way from the journal to MLflow: at once where it can be reached, later by `sync` where it cannot."""

import logging
from typing import Any

from plaster_ops.errors import TrackingUnavailable
from plaster_ops.flow.context import Context
from plaster_ops.flow.wiring import Ports
from plaster_ops.tracking.liveness import this_host
from plaster_ops.tracking.moved import Moved, detect_move, repair_move
from plaster_ops.tracking.outbox import SyncReport, sync

_log = logging.getLogger(__name__)


def publish(ctx: Context, ports: Ports) -> dict[str, Any]:
    """Replays what waits in the journal. Returns the ids of this run, or `spooled` with the reason; never raises."""
    ctx.tell({"event": "stage", "stage": "log", "state": "start"})
    began_s = ctx.clock.monotonic_s()
    report = replay(ports)
    ctx.tell({"event": "stage", "stage": "log", "state": "done", "seconds": ctx.clock.monotonic_s() - began_s})
    row = ctx.journal.run(ctx.uid)
    if row.mlflow_run_id is None:
        reason = report.reason or "the tracker did not take it"
        ctx.tell({"event": "note", "text": f"MLflow: {reason}; the record is kept, run: plaster-ops sync"})
        return {"spooled": reason}
    return {
        "tracking_uri": row.tracking_uri,
        "experiment": row.experiment,
        "run_id": row.mlflow_run_id,
        "model_version": row.model_version,
        "spooled": None,
    }


def replay(ports: Ports) -> SyncReport:
    """Sends every waiting record, oldest first, exactly once, and sets the aliases.

    Before that, paths in the embedded store are mended where the project folder was moved, and runs that a dead
    process left RUNNING in MLflow are closed.
    """
    mend_move(ports)
    tracker = ports.tracker()
    owned = [waiting.uid for waiting in ports.journal.pending()]
    report = sync(ports.journal, tracker)
    if report.reason is None:
        try:
            tracker.sweep_stale(this_host(), owned)
        except TrackingUnavailable as error:
            _log.warning("runs of dead processes are not closed in MLflow yet: %s", error.message)
    return report


def mend_move(ports: Ports) -> Moved | None:
    """Rewrites the embedded store's paths after the project folder was moved; None where it was not."""
    database = ports.location().database
    if database is None:
        return None
    moved = detect_move(ports.journal, database)
    if moved is not None:
        backup = repair_move(moved, ports.journal, database)
        _log.warning("project moved from %s to %s: MLflow's paths are mended (backup %s)", moved.old, moved.new, backup)
    return moved

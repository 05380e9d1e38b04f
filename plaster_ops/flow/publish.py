"""The record's way from the journal to MLflow: at once where it can be reached, later by `sync` where it cannot."""

from typing import Any

from plaster_ops.flow.context import Context
from plaster_ops.flow.wiring import Ports
from plaster_ops.tracking.outbox import SyncReport, sync


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
    """Sends every waiting record, oldest first, exactly once, and sets the aliases."""
    return sync(ports.journal, ports.tracker())

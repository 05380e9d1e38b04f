"""The page of a retrain: what it shows is gathered here, drawn in a child or by `plaster-ops report`."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plaster_ops.domain.metrics import CPU_TIME_PER_INFERENCE_S, HEADLINES
from plaster_ops.domain.run import RunRecord
from plaster_ops.errors import Interrupted, PlasterError, UsageError
from plaster_ops.flow.baseline import choose_baseline
from plaster_ops.flow.context import Context, worker_env
from plaster_ops.flow.lock import slug
from plaster_ops.flow.wiring import has_journal
from plaster_ops.report.json_text import run_payload
from plaster_ops.settings import Settings
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_rows import RunRow, RunState
from plaster_ops.tracking.journal_runs import state_now

_log = logging.getLogger(__name__)

PAGE = "report.html"
"""Its name among the artifacts."""

STAGE = "page"
TIMEOUT_S = 60.0
MOST_RUNS = 5000
"""Retrains that a trend looks back on."""


def sheet_of(journal: Journal, record: RunRecord, mlflow: Mapping[str, Any]) -> dict[str, Any]:
    """What `report.page.render_page` takes, plain values: the record, and each headline up to that retrain."""
    return {
        "payload": run_payload(record, mlflow),
        "record": {
            name: value
            for name, value in record.to_json().items()
            if name in ("uid", "started_at", "ended_at", "fingerprint", "curves", "datasets", "params", "tags")
        },
        "trends": _trends(journal, record),
        "alarms": alarms_of(journal, record),
    }


def _trends(journal: Journal, record: RunRecord) -> dict[str, list[dict[str, Any]]]:
    """Each headline, and CPU time, over the finished retrains up to that one; what did not settle is marked."""
    rows = [
        row
        for row in journal.history(record.pipeline, MOST_RUNS)
        if row.state is RunState.FINISHED and row.index is not None and row.index <= record.index
    ]
    return {metric.key: _trend(journal, rows, metric.key) for metric in (*HEADLINES, CPU_TIME_PER_INFERENCE_S)}


def _trend(journal: Journal, rows: Sequence[RunRow], key: str) -> list[dict[str, Any]]:
    points = {point.index: point for point in journal.points(rows[0].pipeline, key, MOST_RUNS)} if rows else {}
    found = []
    for row in rows:
        point, value = points.get(row.index or 0), row.headlines.get(key)
        if point is not None:
            value = point.value
        if value is None:
            continue
        found.append(
            {
                "index": row.index,
                "value": value,
                "verdict": row.verdict or "",
                "regime": "" if point is None else f"{point.fingerprint} {point.method}",
                "is_settled": point is not None and point.is_settled,
                "is_measured": point is not None,
            }
        )
    return found


def alarms_of(journal: Journal, record: RunRecord) -> list[dict[str, Any]]:
    """The alarms that were told by the time of that retrain, as in `drift --json` and as they stand now."""
    return [alarm.to_json() for alarm in journal.alarms(record.pipeline) if alarm.raised_index <= record.index]


def write_page(ctx: Context, record: RunRecord) -> None:
    """Draws the page into the run's artifacts in a child of its own; what goes wrong is told as a note, no more."""
    if not ctx.pipeline.report or not record.artifacts:
        return
    target = Path(record.artifacts) / PAGE
    mlflow = {"tracking_uri": ctx.settings.tracking_uri, "experiment": f"plaster/{ctx.name}"}
    try:
        spec = {"sheet": sheet_of(ctx.journal, record, mlflow), "target": str(target)}
        ctx.child(STAGE, spec, timeout_s=TIMEOUT_S)
    except Interrupted:
        raise
    except Exception as error:  # a page is worth no retrain
        _log.warning("the page of run #%s was not written", record.index, exc_info=True)
        told = error.message if isinstance(error, PlasterError) else f"{type(error).__name__}: {error}"
        ctx.tell({"event": "note", "text": f"{PAGE} was not written ({told}); try: plaster-ops report {record.index}"})


def report_text(settings: Settings, name: str | None, run: str | None) -> tuple[str, str, int]:
    """The page of that run (None: the newest that ended), its pipeline and its number.

    Raises `UsageError` where there is no such run.
    """
    from plaster_ops.report.page import render_page

    found, _ = settings.pipeline(name)
    if not has_journal(settings):
        raise UsageError(f"pipeline {found!r} has no retrain yet", f"plaster-ops retrain {name or ''}".strip())
    os.environ.setdefault("MPLCONFIGDIR", worker_env(settings)["MPLCONFIGDIR"])
    with Journal.open(settings.memory) as journal:
        row = chosen_run(journal, found, run)
        record = journal.record(row.uid) or _bare(row)
        mlflow = {
            "tracking_uri": row.tracking_uri or settings.tracking_uri,
            "experiment": row.experiment or f"plaster/{found}",
            "run_id": row.mlflow_run_id,
            "model_version": row.model_version,
        }
        sheet = sheet_of(journal, record, mlflow)
    return render_page(sheet), found, record.index


def default_file(settings: Settings, pipeline: str, index: int) -> Path:
    """Where a page goes that was given no name: `mlruns/reports/NAME-N.html`."""
    return settings.memory / "reports" / f"{slug(pipeline)}-{index}.html"


def chosen_run(journal: Journal, pipeline: str, run: str | None) -> RunRow:
    """The run of that number, id or word; None: the newest that ended. `UsageError` where there is none."""
    if run is None:
        newest = journal.last_ended(pipeline)
        if newest is None:
            raise UsageError(f"no retrain of {pipeline!r} has ended yet", f"plaster-ops history {pipeline}")
        return newest
    if run in ("last", "champion", "best"):
        chosen = choose_baseline(journal, pipeline, run)
        if chosen is None:
            raise UsageError(f"pipeline {pipeline!r} has no {run} run yet", f"plaster-ops history {pipeline}")
        return journal.run(chosen.record.uid)
    return journal.find_run(pipeline, run)


def _bare(row: RunRow) -> RunRecord:
    """What can be said of a run that left no record: it runs, was cut off, or failed before its data was read."""
    return RunRecord(
        uid=row.uid,
        pipeline=row.pipeline,
        index=row.index or 0,
        trigger=row.trigger,
        slot=row.slot,
        started_at=row.started_at,
        ended_at=row.ended_at or "",
        verdict=row.verdict or state_now(row).value,
        exit_code=row.exit_code or 0,
        reasons=row.reasons,
        phases=row.phases,
    )

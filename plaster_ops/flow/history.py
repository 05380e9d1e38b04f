"""What happened, from the journal alone: no tracker is asked, nothing heavy is imported."""

from typing import Any

from plaster_ops.flow.wiring import has_journal
from plaster_ops.settings import Settings
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_rows import RunRow, RunState
from plaster_ops.tracking.journal_runs import how_to_resume, last_words, state_now

HISTORY_KEYS = (
    *("pipeline", "index", "id", "uid", "state", "verdict", "champion", "trigger", "started_at", "ended_at"),
    *("seen", "learned", "headlines", "reasons", "next_step", "exit_code", "in_mlflow"),
)
"""Keys of a row of `history_rows`, in order: what a table of none has for columns."""


def history_rows(settings: Settings, pipeline: str | None, limit: int) -> list[dict[str, Any]]:
    """The newest rows, newest last, as plain mappings; empty where the project has no journal yet."""
    if not has_journal(settings):
        return []
    with Journal.open(settings.memory) as journal:
        champions = {name: journal.champion(name) for name in ([pipeline] if pipeline else journal.pipelines())}
        uids = {row.uid for row in champions.values() if row is not None}
        return [_plain(settings, row, champion=row.uid in uids) for row in journal.history(pipeline, limit)]


def _plain(settings: Settings, row: RunRow, *, champion: bool) -> dict[str, Any]:
    state, reasons = state_now(row), list(row.reasons)
    if state is not row.state:
        reasons.append(last_words(row))
    called = row.pipeline if row.pipeline in settings.pipelines else row.reference
    return {
        "pipeline": row.pipeline,
        "index": row.index,
        "id": row.mlflow_run_id or row.uid,
        "uid": row.uid,
        "state": state.value,
        "verdict": row.verdict,
        "champion": champion,
        "trigger": row.trigger,
        "started_at": row.started_at,
        "ended_at": row.ended_at,
        "seen": row.seen,
        "learned": row.learned,
        "headlines": dict(row.headlines),
        "reasons": reasons,
        "next_step": how_to_resume(row, called) if state is RunState.INTERRUPTED else None,
        "exit_code": row.exit_code,
        "in_mlflow": row.mlflow_run_id is not None,
    }

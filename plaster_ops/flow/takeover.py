"""Whether a plain retrain goes on with the run that was killed before it, or starts another one.

Cron starts the same command night by night and nobody types `--resume`: what a machine that was taken away, or a
`kill -9`, has cut off is continued, where the run would be the same one. What a person stopped with Ctrl-C waits for
that person.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

from plaster_ops.domain.timeline import Phase
from plaster_ops.errors import Interrupted, PlasterError
from plaster_ops.flow.context import Context
from plaster_ops.settings_sections import PipelineSettings
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_rows import RunRow, RunState

MOST_AGE_S = 24 * 3600.0
"""A run that was stopped longer ago is not continued by itself."""

_BY_HAND = Interrupted(2).message
_SAME = ("window", "train_digest", "eval_digest")
_RESUMED = "resumed "


def why_not_continued(journal: Journal, row: RunRow, pipeline: PipelineSettings, now_s: float) -> str:
    """Why that unfinished run is not the one that would be started now; empty where it may be, but for its data."""
    if row.state is not RunState.INTERRUPTED or _BY_HAND in row.reasons:
        return "it was stopped by hand"
    if journal.settings_json(row.uid) != pipeline.model_dump_json():
        return "its settings were others"
    times = resumes(journal, row.uid)
    if times >= pipeline.train.max_resumes:
        return f"it was continued {times} times already (train.max_resumes)"
    if row.ended_at is not None and now_s - _epoch_s(row.ended_at) > MOST_AGE_S:
        return "it was stopped over a day ago"
    kept = journal.stages(row.uid).get("baselines")
    champion = journal.champion(row.pipeline)
    if kept is not None and kept["champion"] != (champion.uid if champion else None):
        return "the champion is another one since"
    return ""


def why_other_data(ctx: Context) -> str:
    """Why the data of the run in `ctx` cannot be had again; empty where it can.

    A window of a source names its rows, whatever arrived since: that is for the next retrain. Without a source the data
    is read and held against what it was.
    """
    kept = ctx.journal.stages(ctx.uid).get("prepare")
    if kept is None or kept["window"]["end"] is not None:
        return ""
    spec = ctx.data_spec(arrived=True)
    try:
        with ctx.timeline.phase(Phase.DATA):
            now = ctx.child("prepare", spec, folder="prepare-again", timeout_s=ctx.pipeline.train.timeout_s)
    except Interrupted:
        raise
    except PlasterError as error:
        return f"its data could not be read: {error.message}"
    changed = [name for name in _SAME if now.get(name) != kept.get(name)]
    return "other data is there now" if changed else ""


def resumes(journal: Journal, uid: str) -> int:
    """How often that run was continued."""
    return count_resumes(journal.stages(uid))


def count_resumes(stages: Iterable[str]) -> int:
    """How often a run with these stages was continued."""
    return sum(stage.startswith(_RESUMED) for stage in stages)


def note_resume(journal: Journal, uid: str, at_s: float) -> None:
    """Counts one more time that the run is continued."""
    journal.stage_done(uid, f"{_RESUMED}{resumes(journal, uid) + 1}", {"at": at_s}, 0.0)


def _epoch_s(instant: str) -> float:
    found = datetime.fromisoformat(instant)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()

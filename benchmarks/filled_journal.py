"""Journals of retrains that nobody ran, for benchmarks of the questions that are asked of them."""

from pathlib import Path
from typing import Any

from plaster_ops.domain.card import Card
from plaster_ops.domain.run import RunRecord
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_rows import RunRow


def write_settings(project: Path, *pipelines: str) -> None:
    """A `plaster.toml` with these pipelines, the first of them the default; none of them can be loaded."""
    names = "".join(f'[pipelines.{name}]\nref = "m:p"\n' for name in pipelines)
    (project / "plaster.toml").write_text(f'default = "{pipelines[0]}"\n{names}', encoding="utf-8")


def begin_run(journal: Journal, pipeline: str) -> RunRow:
    """A retrain that was started by cron and goes on."""
    return journal.start_run(
        pipeline, trigger="cron", slot=None, reference="m:p", settings_json="{}", pid=1, host="h", pid_started=None
    )


def held_record(row: RunRow, card: Card, **more: Any) -> RunRecord:
    """Its record, with that card and whatever more of it is given; not in the journal yet."""
    return RunRecord(
        uid=row.uid,
        pipeline=row.pipeline,
        index=row.index or 0,
        trigger=row.trigger,
        started_at=row.started_at,
        ended_at=row.started_at,
        verdict="held",
        exit_code=0,
        card=tuple(card.to_json()),
        **more,
    )

"""The store that the benchmark of scale fills is one that the real tracker might have written, and comes back whole."""

import shutil
from pathlib import Path

from benchmarks.scale_store import fill
from plaster_ops.flow.explain import explain
from plaster_ops.flow.history import history_rows
from plaster_ops.flow.rebuild import rebuild
from plaster_ops.settings import Settings
from plaster_ops.settings_sections import PipelineSettings
from plaster_ops.tracking.connection import resolve_uri

URI = "sqlite:///mlruns/mlflow.db"


def test_bulk_rows_are_those_of_the_tracker_and_the_journal_is_had_from_them(
    tmp_path: Path, template_store: Path
) -> None:
    project = tmp_path / "project"
    (project / "mlruns").mkdir(parents=True)
    shutil.copyfile(template_store, project / "mlruns" / "mlflow.db")
    pipelines = {f"pipeline{i:02d}": PipelineSettings(ref="m:p") for i in range(2)}
    settings = Settings(project=project, file=None, tracking_uri=URI, default="pipeline00", pipelines=pipelines)
    differences, made = fill(project, resolve_uri(URI, project), 24, 2)
    assert (differences, made) == ([], 24)
    before = history_rows(settings, None, 100)
    assert len(before) == 24
    for file in settings.memory.glob("plaster.db*"):
        file.unlink()
    found = rebuild(settings, force=False, tell=lambda _: None)
    assert (found.runs, found.from_metrics, found.with_evidence, found.unreadable) == (24, 0, 24, [])
    assert history_rows(settings, None, 100) == before
    assert len(explain(settings, "pipeline01", "7", "p50").restarts) == 3

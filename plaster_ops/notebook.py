"""What happened, for a notebook: the journal's runs and metrics as data frames. Nothing is written.

`import plaster_ops` offers these functions and loads none of this until one is called.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaster_ops.domain.alarm import ALARM_KEYS
from plaster_ops.domain.metrics import CATALOGUE, HEADLINES
from plaster_ops.errors import UsageError
from plaster_ops.flow.history import HISTORY_KEYS, history_rows
from plaster_ops.flow.pages import chosen_run
from plaster_ops.flow.wiring import has_journal
from plaster_ops.settings import Settings, load_settings
from plaster_ops.tracking.journal import Journal

if TYPE_CHECKING:
    import pandas as pd


def history(name: str | None = None, *, project: str | Path | None = None, limit: int = 1000) -> "pd.DataFrame":
    """One row a retrain or skip, newest last: `index`, `verdict`, `started_at` and so on, and the seven headlines.

    `name`: the pipeline, None for the project's default. `project`: its folder, None for the nearest upwards. Columns
    of headlines carry the metric's key; NaN where one was not measured. Raises `PlasterError` as the commands do.
    """
    import pandas as pd

    settings = _settings(project)
    rows = history_rows(settings, settings.pipeline(name)[0], limit)
    plain = [{key: value for key, value in row.items() if key != "headlines"} | row["headlines"] for row in rows]
    names = [*(key for key in HISTORY_KEYS if key != "headlines"), *(metric.key for metric in HEADLINES)]
    frame = pd.DataFrame(plain, columns=names)
    for column in ("started_at", "ended_at"):
        frame[column] = pd.to_datetime(frame[column], utc=True, format="ISO8601")
    return frame


def series(key: str, name: str | None = None, *, project: str | Path | None = None) -> "pd.DataFrame":
    """One metric over the finished retrains: index `index`; `value`, `verdict`, `started_at`, `fingerprint`, `method`.

    Values of two rows with another fingerprint or method are not comparable. Raises `UsageError` for an unknown key.
    """
    import pandas as pd

    if key not in CATALOGUE:
        raise UsageError(f"no metric has the key {key!r}", "docs/metrics.md lists them")
    with _journal(project, name) as (journal, found):
        points = journal.points(found, key, 100_000)
    names = ("value", "verdict", "started_at", "fingerprint", "method")
    frame = pd.DataFrame(
        [[getattr(point, name) for name in names] for point in points],
        columns=list(names),
        index=pd.Index([point.index for point in points], name="index"),
    )
    frame["started_at"] = pd.to_datetime(frame["started_at"], utc=True, format="ISO8601")
    return frame


def record(
    run: int | str | None = None, name: str | None = None, *, project: str | Path | None = None
) -> dict[str, Any]:
    """All that is kept of a run, named by number, id, `last`, `champion` or `best`; None: the newest that ended."""
    with _journal(project, name) as (journal, found):
        row = chosen_run(journal, found, None if run is None else str(run))
        kept = journal.record(row.uid)
    if kept is None:
        raise UsageError(f"run {row.label} of {found!r} left no record", f"plaster-ops history {found}")
    return kept.to_json()


def alarms(name: str | None = None, *, project: str | Path | None = None) -> "pd.DataFrame":
    """Drift alarms, one row each, as in `drift --json`; empty where none was raised."""
    import pandas as pd

    with _journal(project, name) as (journal, found):
        rows = [alarm.to_json() for alarm in journal.alarms(found)]
    return pd.DataFrame(rows, columns=list(ALARM_KEYS))


def _settings(project: str | Path | None) -> Settings:
    return load_settings(None if project is None else Path(project))


@contextmanager
def _journal(project: str | Path | None, name: str | None) -> Iterator[tuple[Journal, str]]:
    settings = _settings(project)
    found, _ = settings.pipeline(name)
    if not has_journal(settings):
        raise UsageError(f"pipeline {found!r} has no retrain yet", f"plaster-ops retrain {found}")
    with Journal.open(settings.memory) as journal:
        yield journal, found

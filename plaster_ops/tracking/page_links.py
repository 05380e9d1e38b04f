"""The addresses that `ui` tells: of each pipeline its runs, its prepared views, its champion, its newest retrain."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from plaster_ops.tracking import addresses
from plaster_ops.tracking.connection import Location, open_client, translated
from plaster_ops.tracking.experiment_note import REMEMBERED, Pages
from plaster_ops.tracking.names import experiment_name, registered_name

_PREFIX = experiment_name("")
_SQL = (
    "SELECT experiments.name, experiments.experiment_id, tags.value FROM experiments LEFT JOIN experiment_tags AS tags"
    " ON tags.experiment_id = experiments.experiment_id AND tags.key = ?"
    " WHERE experiments.lifecycle_stage = 'active' AND experiments.name LIKE ? ORDER BY experiments.name"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PageLinks:
    """Of one pipeline: `(what it is, address after the page's own)`."""

    pipeline: str
    rows: tuple[tuple[str, str], ...]


def links_of_store(location: Location) -> list[PageLinks]:
    """Every pipeline that the store has an experiment of. Raises `TrackingUnavailable` where it cannot be read."""
    if location.database is not None:
        return [] if not location.database.is_file() else list(_from_file(location.database))
    client = open_client(location)
    with translated(location):
        found = client.search_experiments(filter_string=f"name LIKE '{_PREFIX}%'")
    return sorted((_links(e.name, str(e.experiment_id), e.tags) for e in found), key=lambda links: links.pipeline)


def _from_file(database: Path) -> Iterator[PageLinks]:
    """Without MLflow, which takes seconds to load; a file that is no store of MLflow's has no links."""
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as db:
            rows = db.execute(_SQL, (REMEMBERED, f"{_PREFIX}%")).fetchall()
    except sqlite3.Error:
        return
    for name, experiment_id, remembered in rows:
        yield _links(name, str(experiment_id), {} if remembered is None else {REMEMBERED: remembered})


def _links(name: str, experiment_id: str, tags: Mapping[str, str]) -> PageLinks:
    pipeline = name.removeprefix(_PREFIX)
    pages = Pages.read(tags.get(REMEMBERED))
    rows = [("runs", addresses.experiment_address(experiment_id))]
    if REMEMBERED in tags:
        rows.append(("drift over retrains", addresses.view_address(experiment_id, addresses.DRIFT_VIEW)))
        rows.append(("table of retrains", addresses.view_address(experiment_id, addresses.RETRAINS_VIEW)))
    if pages.newest is not None:
        number, run_id = pages.newest
        rows.append((f"newest: #{number}, {pages.verdict}", addresses.run_address(experiment_id, run_id)))
    if pages.champion is not None:
        version, number = pages.champion
        there = addresses.model_address(registered_name(pipeline), version)
        rows.append((f"champion: version {version}, made by #{number}", there))
    return PageLinks(pipeline=pipeline, rows=tuple(rows))

"""A project folder that was moved or copied: MLflow's store holds absolute paths, rewritten here after a backup."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from urllib.parse import unquote, urlsplit

from plaster_ops.errors import PlasterError
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.schema import back_up

META_PROJECT = "project"

_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("workspaces", "trace_archival_location"),
)
_TAG_TABLES = (("trace_tags", "value", "key = 'mlflow.artifactLocation'"),)


@dataclass(frozen=True, kw_only=True, slots=True)
class Moved:
    """The project lies in `new` while its store still says `old`. `rows` of the store hold the old path."""

    old: Path
    new: Path
    rows: int


def detect_move(journal: Journal, database: Path) -> Moved | None:
    """Compares where the project lies with where the journal and the store believe it to lie; None where all agree.

    The first call writes the place down.
    """
    project = journal.file.project
    remembered = journal.file.meta(META_PROJECT)
    if remembered is None:
        journal.file.remember(META_PROJECT, str(project))
    olds = [Path(remembered)] if remembered is not None else []
    if database.is_file():
        olds += _experiment_projects(database)
    for old in dict.fromkeys(olds):
        if old == project:
            continue
        rows = _count(database, _prefixes(old)) if database.is_file() else 0
        if rows or remembered == str(old):
            return Moved(old=old, new=project, rows=rows)
    return None


def repair_move(moved: Moved, journal: Journal, database: Path) -> Path | None:
    """Rewrites the old place to the new one in every column that holds it, in one transaction; returns the backup.

    None where the store held nothing to rewrite. Afterwards `detect_move` finds nothing.
    """
    backup: Path | None = None
    if moved.rows:
        backup = back_up(database)
        pairs = tuple(zip(_prefixes(moved.old), _prefixes(moved.new), strict=True))
        try:
            with closing(sqlite3.connect(database, timeout=20.0, isolation_level=None)) as db:
                db.execute("BEGIN IMMEDIATE")
                for (table, column, condition), (old, new) in product(_places(db), pairs):
                    db.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?)"
                        f" WHERE {condition} AND substr({column}, 1, ?) = ?",
                        (new, len(old) + 1, len(old), old),
                    )
                db.execute("COMMIT")
        except sqlite3.Error as error:
            raise PlasterError(
                f"the paths in {database} could not be rewritten; nothing was changed: {error}",
                "stop whatever uses the store (an MLflow UI?), then run it again",
            ) from error
    journal.file.remember(META_PROJECT, str(moved.new))
    return backup


def _prefixes(project: Path) -> tuple[str, str]:
    """How a path below `mlruns/` begins in the store: as a URI, or plain where MLflow itself chose the place."""
    return f"{project.as_uri()}/mlruns/", f"{project}/mlruns/"


def _experiment_projects(database: Path) -> list[Path]:
    """Projects in which experiments of this store keep their artifacts, as their locations say."""
    with closing(sqlite3.connect(database, timeout=20.0)) as db:
        if not _has(db, "experiments", "artifact_location"):
            return []
        rows = db.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
    paths = [Path(unquote(urlsplit(text).path)) for (text,) in rows if text and text.startswith("file://")]
    return [path.parent.parent for path in paths if path.parts[-2:] == ("mlruns", "artifacts")]


def _count(database: Path, prefixes: tuple[str, ...]) -> int:
    with closing(sqlite3.connect(database, timeout=20.0)) as db:
        return sum(
            db.execute(
                f"SELECT COUNT(*) FROM {table} WHERE {condition} AND substr({column}, 1, ?) = ?", (len(prefix), prefix)
            ).fetchone()[0]
            for (table, column, condition), prefix in product(_places(db), prefixes)
        )


def _places(db: sqlite3.Connection) -> Iterator[tuple[str, str, str]]:
    """`(table, column, condition)` of every column of this store's schema that can hold an artifact path."""
    for table, column, condition in (*((t, c, "1") for t, c in _COLUMNS), *_TAG_TABLES):
        if _has(db, table, column):
            yield table, column, condition


def _has(db: sqlite3.Connection, table: str, column: str) -> bool:
    return any(row[1] == column for row in db.execute(f"PRAGMA table_info({table})"))

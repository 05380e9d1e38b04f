"""Whether an MLflow store in SQLite fits the installed MLflow, and how it is brought up to it: backup, then upgrade.

mlflow itself is not imported: the installed revisions are read from the text of its migration scripts (some 20 ms).
"""

import importlib.util
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from plaster_ops.errors import PlasterError, TrackingUnavailable

UPGRADE_TIMEOUT_S = 600.0

_REVISION = re.compile(r"""^revision(?:\s*:[^=]+)?\s*=\s*["'](\w+)["']""", re.MULTILINE)
_DOWN = re.compile(r"^down_revision(?:\s*:[^=]+)?\s*=\s*(.+?)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class SchemaState:
    """`current` is None for a store that is not made yet; `expected` is what the installed MLflow needs.

    `behind`: an upgrade brings it up. `newer`: the installed MLflow does not know it.
    """

    current: str | None
    expected: str
    behind: bool
    newer: bool = False


def inspect_store(database: Path) -> SchemaState:
    """Compares the store's revision with the installed MLflow's newest. Raises where the file is no database."""
    head, known = _installed_revisions()
    if not database.is_file() or database.stat().st_size == 0:
        return SchemaState(current=None, expected=head, behind=False)
    current = _current_revision(database)
    return SchemaState(
        current=current,
        expected=head,
        behind=current in known and current != head,
        newer=current is not None and current not in known,
    )


def back_up(database: Path) -> Path:
    """A consistent copy beside the store, even while it is in use; returns its path."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    copy = database.with_name(f"{database.name}.backup-{stamp}")
    part = copy.with_name(copy.name + ".part")
    try:
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(part)) as target:
            source.backup(target)
        part.replace(copy)
    except (sqlite3.Error, OSError) as error:
        part.unlink(missing_ok=True)
        raise PlasterError(
            f"{database} could not be backed up: {error}", "make room in its folder, then again"
        ) from error
    return copy


def upgrade(database: Path, timeout_s: float = UPGRADE_TIMEOUT_S) -> Path:
    """Backs the store up, upgrades it in a process of its own, and returns the backup.

    A failed upgrade puts the backup in the store's place again and raises with the last lines of MLflow's output.
    """
    backup = back_up(database)
    command = [sys.executable, "-m", "mlflow", "db", "upgrade", f"sqlite:///{database.absolute()}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        failure = "" if done.returncode == 0 else (done.stderr or done.stdout).strip()[-1500:]
    except subprocess.TimeoutExpired:
        failure = f"it took longer than {timeout_s:.0f} s"
    if not failure and inspect_store(database).behind:
        failure = "the revision is unchanged"
    if failure:
        _restore(backup, database)
        raise TrackingUnavailable(
            f"MLflow could not upgrade {database}; it is as it was before: {failure}", f"the backup is {backup}"
        )
    return backup


def _restore(backup: Path, database: Path) -> None:
    for suffix in ("-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    shutil.copyfile(backup, database)


def _current_revision(database: Path) -> str | None:
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=10.0)) as connection:
            known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone() if known else None
    except sqlite3.Error as error:
        raise TrackingUnavailable(
            f"{database} cannot be read as a tracking store: {error}",
            "restore it from a backup, or move it away; then run: plaster-ops sync",
        ) from error
    return None if row is None else str(row[0])


@cache
def _installed_revisions() -> tuple[str, frozenset[str]]:
    """The newest revision and all revisions of the installed MLflow."""
    spec = importlib.util.find_spec("mlflow")
    if spec is None or spec.origin is None:
        raise TrackingUnavailable("mlflow is not installed", "install it: pip install mlflow")
    folder = Path(spec.origin).parent / "store" / "db_migrations" / "versions"
    revisions: set[str] = set()
    followed: set[str] = set()
    for script in folder.glob("*.py"):
        text = script.read_text(encoding="utf-8")
        revision, down = _REVISION.search(text), _DOWN.search(text)
        if revision:
            revisions.add(revision[1])
        if down:
            followed |= set(re.findall(r"[\"'](\w+)[\"']", down[1]))
    heads = revisions - followed
    if len(heads) != 1:
        raise TrackingUnavailable(f"the migrations of the installed MLflow in {folder} have {len(heads)} newest ones")
    return heads.pop(), frozenset(revisions)

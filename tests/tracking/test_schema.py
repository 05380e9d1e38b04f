"""MLflow's own schema: seen to be behind, backed up, upgraded, and put back where the upgrade fails."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from plaster_ops.errors import TrackingUnavailable
from plaster_ops.tracking import schema
from plaster_ops.tracking.connection import Location
from plaster_ops.tracking.mlflow_store import MlflowTracker
from plaster_ops.tracking.schema import back_up, inspect_store, upgrade
from tests.tracking.samples import make_record


def set_revision(database: Path, revision: str) -> None:
    with closing(sqlite3.connect(database)) as db, db:
        db.execute("UPDATE alembic_version SET version_num = ?", (revision,))


def revision_of(database: Path) -> str:
    with closing(sqlite3.connect(database)) as db:
        return str(db.execute("SELECT version_num FROM alembic_version").fetchone()[0])


@pytest.fixture
def database(project: Path) -> Path:
    return project / "mlruns" / "mlflow.db"


@pytest.fixture
def one_behind(database: Path) -> Path:
    """A store whose newest migration is undone by MLflow's own script."""
    script = (
        "import sys, sqlalchemy; from alembic import command; from mlflow.store.db.utils import _get_alembic_config\n"
        "url = 'sqlite:///' + sys.argv[1]; config = _get_alembic_config(url)\n"
        "with sqlalchemy.create_engine(url).begin() as c:\n"
        "    config.attributes['connection'] = c; command.stamp(config, '-1')"
    )
    script = script.replace("command.stamp(config, '-1')", "command.downgrade(config, '-1')")
    subprocess.run([sys.executable, "-c", script, str(database)], check=True, capture_output=True, timeout=120)
    return database


def test_a_store_of_the_installed_mlflow_fits(database: Path) -> None:
    state = inspect_store(database)
    assert state.current == state.expected == revision_of(database)
    assert (state.behind, state.newer) == (False, False)


def test_a_store_that_is_not_made_yet_is_not_behind(tmp_path: Path) -> None:
    state = inspect_store(tmp_path / "mlflow.db")
    assert (state.current, state.behind, state.newer) == (None, False, False)


def test_looking_does_not_import_mlflow(database: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from plaster_ops.tracking.schema import inspect_store\n"
        "inspect_store(Path(sys.argv[1])); print('mlflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(database)], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "False"


def test_a_store_that_is_behind_is_not_touched_until_it_is_upgraded(one_behind: Path, location: Location) -> None:
    old = revision_of(one_behind)
    assert inspect_store(one_behind).behind
    with MlflowTracker(location) as tracker:
        with pytest.raises(TrackingUnavailable, match="behind the installed MLflow") as caught:
            tracker.record(make_record("a" * 32))
        assert "doctor" in caught.value.next_step
        assert revision_of(one_behind) == old
        backup = upgrade(one_behind)
        assert revision_of(backup) == old
        assert not inspect_store(one_behind).behind
        assert tracker.record(make_record("a" * 32)).run_id


def test_a_store_of_a_newer_mlflow_is_told_from_one_that_is_behind(database: Path, location: Location) -> None:
    set_revision(database, "0123456789ab")
    state = inspect_store(database)
    assert (state.behind, state.newer) == (False, True)
    with MlflowTracker(location) as tracker, pytest.raises(TrackingUnavailable, match="newer MLflow"):
        tracker.record(make_record("a" * 32))


def test_an_upgrade_that_fails_puts_the_store_back(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(schema._installed_revisions()[1])[0]
    set_revision(database, before)

    def broken(*_: object, **__: object) -> subprocess.CompletedProcess[str]:
        with closing(sqlite3.connect(database)) as db, db:
            db.execute("DROP TABLE runs")
        return subprocess.CompletedProcess([], 1, "", "alembic: it broke")

    monkeypatch.setattr(schema.subprocess, "run", broken)
    with pytest.raises(TrackingUnavailable, match="it broke"):
        upgrade(database)
    with closing(sqlite3.connect(database)) as db:
        assert db.execute("SELECT COUNT(*) FROM runs").fetchone() == (0,)
    assert revision_of(database) == before


def test_a_backup_holds_what_is_still_in_the_write_ahead_log(database: Path) -> None:
    with closing(sqlite3.connect(database)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("UPDATE alembic_version SET version_num = 'inthelog'")
        db.commit()
        plain = shutil.copyfile(database, database.with_name("plain"))
        backup = back_up(database)
    assert revision_of(plain) != "inthelog"
    assert revision_of(backup) == "inthelog"


def test_a_file_that_is_no_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"no database at all " * 100)
    with pytest.raises(TrackingUnavailable, match=r"mlflow\.db cannot be read"):
        inspect_store(tmp_path / "mlflow.db")

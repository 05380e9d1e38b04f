"""A moved project: noticed, and repaired so that old artifacts open and new ones land in the new place."""

import shutil
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest

from plaster_ops.errors import PlasterError
from plaster_ops.tracking.connection import resolve_uri
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.mlflow_store import MlflowTracker
from plaster_ops.tracking.moved import Moved, detect_move, repair_move
from plaster_ops.tracking.outbox import sync
from tests.tracking import census
from tests.tracking.samples import finish


@pytest.fixture
def used(project: Path) -> Path:
    """A project with one retrain in journal and store."""
    with Journal.open(project / "mlruns") as journal:
        assert detect_move(journal, project / "mlruns" / "mlflow.db") is None
        finish(journal, folder=project / "mlruns" / "runs")
        with MlflowTracker(resolve_uri("sqlite:///mlruns/mlflow.db", project)) as tracker:
            assert sync(journal, tracker).left == 0
    return project


def test_a_project_that_stays_is_not_moved(used: Path) -> None:
    with Journal.open(used / "mlruns") as journal:
        assert detect_move(journal, used / "mlruns" / "mlflow.db") is None


def test_a_moved_project_is_repaired(used: Path) -> None:
    new = used.with_name("new place é")
    used.rename(new)
    database = new / "mlruns" / "mlflow.db"
    with (
        Journal.open(new / "mlruns") as journal,
        MlflowTracker(resolve_uri("sqlite:///mlruns/mlflow.db", new)) as tracker,
    ):
        moved = detect_move(journal, database)
        assert moved is not None
        assert (moved.old, moved.new) == (used, new)
        assert moved.rows > 5
        backup = repair_move(moved, journal, database)
        assert backup is not None
        assert backup.is_file()
        assert detect_move(journal, database) is None
        row = journal.history("digits")[0]
        client = census.client_of(tracker)
        assert [f.path for f in client.list_artifacts(row.mlflow_run_id)] == ["compare.md"]
        version = client.get_model_version("digits", "1")
        model = client.get_logged_model(version.source.removeprefix("models:/"))
        assert (Path(url2pathname(urlsplit(model.artifact_location).path)) / "model.bin").is_file()
        assert new.as_uri() in client.get_model_version_download_uri("digits", "1")
        finish(journal, folder=new / "mlruns" / "runs")
        assert sync(journal, tracker).left == 0
    assert not used.exists()


def test_a_copy_whose_journal_was_lost_is_noticed_by_its_store(used: Path) -> None:
    new = used.with_name("copy")
    shutil.copytree(used, new)
    for path in (new / "mlruns").glob("plaster.db*"):
        path.unlink()
    with Journal.open(new / "mlruns") as journal:
        moved = detect_move(journal, new / "mlruns" / "mlflow.db")
        assert moved is not None
        assert (moved.old, moved.new) == (used, new)


def test_a_moved_project_without_a_store_only_moves_its_memory(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    database = new / "mlruns" / "mlflow.db"
    with Journal.open(old / "mlruns") as journal:
        assert detect_move(journal, old / "mlruns" / "mlflow.db") is None
    old.rename(new)
    with Journal.open(new / "mlruns") as journal:
        moved = detect_move(journal, database)
        assert moved == Moved(old=old, new=new, rows=0)
        assert repair_move(moved, journal, database) is None
        assert detect_move(journal, database) is None


def test_a_store_that_cannot_be_rewritten_stays_as_it_is(used: Path) -> None:
    new = used.with_name("new")
    used.rename(new)
    database = new / "mlruns" / "mlflow.db"
    with Journal.open(new / "mlruns") as journal:
        moved = detect_move(journal, database)
        assert moved is not None
        database.write_bytes(b"no database" * 1000)
        with pytest.raises(PlasterError, match="could not be"):
            repair_move(moved, journal, database)

"""The journal's file: migrated forward, refused where it cannot be written, and light to open."""

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from plaster_ops.errors import ExitCode, NotRecorded
from plaster_ops.tracking import journal_file
from plaster_ops.tracking.journal import Journal
from tests.tracking.samples import finish, start


def test_an_older_journal_is_migrated_and_keeps_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal.open(tmp_path) as journal:
        uid = finish(journal).uid
    later = (*journal_file.MIGRATIONS, ("ALTER TABLE runs ADD COLUMN mood TEXT NOT NULL DEFAULT 'calm'",))
    monkeypatch.setattr(journal_file, "MIGRATIONS", later)
    for _ in range(2):
        with Journal.open(tmp_path) as journal:
            row = journal.file.row("SELECT mood FROM runs WHERE uid = ?", (uid,))
            assert row is not None
            assert row["mood"] == "calm"
            assert len(journal.file.rows("SELECT version FROM schema_version")) == len(later)


def test_a_migration_that_breaks_off_leaves_the_old_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Journal.open(tmp_path).close()
    broken = (*journal_file.MIGRATIONS, ("CREATE TABLE extra (a)", "CREATE NONSENSE"))
    with monkeypatch.context() as patch:
        patch.setattr(journal_file, "MIGRATIONS", broken)
        with pytest.raises(NotRecorded):
            Journal.open(tmp_path)
    with Journal.open(tmp_path) as journal:
        assert journal.file.row("SELECT 1 FROM sqlite_master WHERE name = 'extra'") is None


def test_a_journal_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal, journal.file.write() as db:
        db.execute("INSERT INTO schema_version VALUES (99, '')")
    with pytest.raises(NotRecorded, match="newer plaster-ops") as caught:
        Journal.open(tmp_path)
    assert caught.value.exit_code == ExitCode.NOT_RECORDED


@pytest.fixture
def someone_else() -> Iterator[Path]:
    """A folder that the current user may read but not write; root acts as nobody meanwhile."""
    with tempfile.TemporaryDirectory(dir="/tmp") as text:
        folder = Path(text)
        Journal.open(folder).close()
        for path in (folder, *folder.iterdir()):
            path.chmod(0o555 if path.is_dir() else 0o444)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            if is_root:
                os.seteuid(0)
            folder.chmod(0o755)


def test_a_read_only_folder_is_not_recorded_and_says_where(someone_else: Path) -> None:
    with pytest.raises(NotRecorded) as caught:
        Journal.open(someone_else)
    assert caught.value.exit_code == ExitCode.NOT_RECORDED
    assert str(someone_else / "plaster.db") in caught.value.message
    assert "writable" in caught.value.next_step


def test_a_folder_that_cannot_be_made_is_not_recorded(someone_else: Path) -> None:
    with pytest.raises(NotRecorded, match="cannot be opened"):
        Journal.open(someone_else / "mlruns")


def test_a_file_that_is_no_journal_is_not_recorded(tmp_path: Path) -> None:
    (tmp_path / "plaster.db").write_bytes(b"not a database, but long enough to be read as one" * 99)
    with pytest.raises(NotRecorded, match="damaged"):
        Journal.open(tmp_path)


def test_a_journal_that_another_process_holds_is_not_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_file, "BUSY_TIMEOUT_S", 0.05)
    with Journal.open(tmp_path) as holder, Journal.open(tmp_path) as journal, holder.file.write():
        with pytest.raises(NotRecorded, match="locked") as caught:
            start(journal)
        assert "another process" in caught.value.next_step


def test_the_write_ahead_log_is_used_on_a_local_disk_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def mode(journal: Journal) -> str:
        row = journal.file.row("PRAGMA journal_mode")
        assert row is not None
        return str(row[0])

    monkeypatch.setattr(journal_file.log, "disabled", False)  # whatever a library of another test did to all loggers
    caplog.set_level(logging.WARNING, logger=journal_file.log.name)
    with Journal.open(tmp_path / "local") as journal:
        assert mode(journal) == "wal"
    monkeypatch.setattr(journal_file, "is_network_path", lambda _: True)
    with Journal.open(tmp_path / "share") as journal:
        assert mode(journal) == "delete"
        assert start(journal).index == 1
    assert "network file system" in caplog.text


def test_the_journal_needs_the_standard_library_only(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from plaster_ops.tracking.journal import Journal\n"
        "Journal.open(Path(sys.argv[1])).close()\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'mlflow', 'sqlalchemy', 'torch', 'numpy', 'pandas'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "[]"

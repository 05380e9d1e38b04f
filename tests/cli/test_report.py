"""`plaster-ops report`: a file, or stdout."""

from pathlib import Path

import pytest

from plaster_ops.errors import ExitCode
from plaster_ops.flow import pages
from plaster_ops.tracking.journal import Journal
from tests.cli.conftest import Command
from tests.tracking.samples import finish


@pytest.fixture
def told(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three finished retrains; the page itself is doubled."""
    with Journal.open(project / "mlruns") as journal:
        for _ in range(3):
            finish(journal)
        finish(journal, "power")
    monkeypatch.setattr(
        "plaster_ops.report.page.render_page", lambda sheet: f"page of {sheet['payload']['run']['index']}"
    )
    return project


def test_the_page_goes_to_a_file_of_its_own_and_its_path_is_told(command: Command, told: Path) -> None:
    ended = command("report")
    file = told / "mlruns" / "reports" / "digits-3.html"
    assert (ended.code, ended.out) == (0, f"{file}\n")
    assert file.read_text() == "page of 3"


def test_a_run_a_pipeline_and_a_file_can_be_named(command: Command, told: Path) -> None:
    assert command("report", "#2", "--output", "pages/two.html").out == "pages/two.html\n"
    assert (told / "pages" / "two.html").read_text() == "page of 2"
    assert command("report", "--pipeline", "power", "-o", "-").out == "page of 1"


def test_a_file_that_cannot_be_written_is_refused_with_what_to_do(command: Command, told: Path) -> None:
    ended = command("report", "--output", str(told / "plaster.toml" / "x.html"))
    assert ended.code == ExitCode.USAGE
    assert "name another file with --output" in ended.err


def test_a_run_that_is_not_there_lists_those_that_are(command: Command, told: Path) -> None:
    del told
    ended = command("report", "9")
    assert ended.code == ExitCode.USAGE
    assert "#3" in ended.err


def test_open_shows_it_in_the_browser(command: Command, told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr("webbrowser.open", shown.append)
    command("report", "--open")
    assert shown == [(told / "mlruns" / "reports" / "digits-3.html").as_uri()]
    assert pages.PAGE == "report.html"

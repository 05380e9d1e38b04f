"""Commands in a project in which nothing was recorded, and in one whose journal is no journal: answered, nothing made,
nothing lost."""

from pathlib import Path

import pytest

from plaster_ops.errors import ExitCode
from tests.cli.conftest import Command

ON_NOTHING = [
    ("history", 0),
    ("history --all", 0),
    ("drift", 0),
    ("drift --acknowledge 3", 2),
    ("promotions", 0),
    ("explain last --metric p50", 2),
    ("explain 7 --metric no-such", 2),
    ("report", 2),
    ("report 7", 2),
    ("compare 2 1 --stored", 2),
    ("compare last champion", 4),
    ("recompute 1", 2),
    ("cadence", 2),
    ("calibrate", 2),
    ("promote 1", 2),
    ("promote last --force --reason now", 2),
    ("rollback", 2),
    ("rollback --to 3", 2),
    ("prune --dry-run", 0),
    ("prune", 0),
    ("rebuild", 1),
    ("rebuild --force", 1),
]


@pytest.mark.parametrize(("line", "code"), ON_NOTHING)
def test_a_project_without_a_journal_gets_an_answer_and_no_file(
    command: Command, project: Path, line: str, code: int
) -> None:
    ended = command(*line.split())
    assert ended.code == code
    assert code == 0 or ("error: " in ended.err and "next:  " in ended.err)
    assert [file.name for file in project.iterdir()] == ["plaster.toml"]


ON_RUBBISH = [line for line, _ in ON_NOTHING if line not in ("calibrate", "cadence")]


@pytest.mark.parametrize("line", ON_RUBBISH)
def test_a_file_that_is_no_journal_is_told_with_its_path_and_stays_as_it_is(
    command: Command, project: Path, line: str
) -> None:
    file = project / "mlruns" / "plaster.db"
    file.parent.mkdir()
    file.write_text("no journal at all\n" * 400)
    ended = command(*line.split())
    assert ended.code == ExitCode.NOT_RECORDED
    assert str(file) in ended.err
    assert "next:  " in ended.err
    assert file.read_text() == "no journal at all\n" * 400

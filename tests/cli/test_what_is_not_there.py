"""Commands that ask for what is not there, of a project without a journal, with a file that is none, or with runs of
other numbers: answered with our error and a next step, nothing made, nothing lost."""

from pathlib import Path

import pytest

from plaster_ops.errors import ExitCode
from tests.cli.conftest import Command
from tests.flow.champions import champions, ledger, make_project

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


NUMBERS = ("0", "99999999999999999999", "9" * 5000, "#", "-", "nine", "\u0669")
NO_SUCH_RUN = ("explain RUN --metric p50", "report RUN", "recompute RUN", "compare RUN 1 --stored", "compare 1 RUN")
NO_SUCH_CHAMPION = ("promote RUN --force --reason now", "rollback --to RUN")


@pytest.mark.parametrize("line", [*NO_SUCH_RUN, *NO_SUCH_CHAMPION])
def test_a_run_that_is_none_is_no_run_however_it_is_written(command: Command, project: Path, line: str) -> None:
    settings = make_project(project)
    champions(settings, 2)
    before = ledger(settings)
    for number in NUMBERS:
        ended = command(*line.replace("RUN", number).split())
        assert ended.code == 2, number
        assert "has no run" in ended.err
        assert "newest runs: #2" in ended.err
    assert ledger(settings) == before


@pytest.mark.parametrize("id", ["0", "-1", "99999999999999999999"])
def test_an_alarm_that_is_none_is_no_alarm(command: Command, project: Path, id: str) -> None:
    make_project(project)
    ended = command("drift", "--acknowledge", id)
    assert (ended.code, ended.err.splitlines()[0]) == (2, f"error: no alarm has the id {id}")


@pytest.mark.parametrize(
    "line",
    [
        "history -n 0",
        "history -n 99999999999999999999",
        "promotions -n 0",
        "promotions -n 99999999999999999999",
        "cadence -n 99999999999999999999",
        "prune --keep 0",
        "prune --keep -3",
        "prune --slots-older-than 0",
        "prune --slots-older-than nan",
        "drift --metric p50x",
        "drift --fail-on better",
        "drift --note x",
        "drift --acknowledge 1 --resolve 1",
        "explain last",
        "explain last --metric",
        "promote",
        "promote 1 --force",
        "compare 1 2 --stored --fail-on nothing",
        "rebuild now",
        "history nobody",
        "drift nobody",
        "report --pipeline nobody",
        "rollback nobody",
        "prune nobody",
    ],
)
def test_a_wrong_option_is_exit_2_and_changes_nothing(command: Command, project: Path, line: str) -> None:
    settings = make_project(project)
    champions(settings, 2)
    before, files = ledger(settings), sorted(settings.memory.rglob("engine-*"))
    ended = command(*line.split())
    assert ended.code == 2
    assert ended.err
    assert (ledger(settings), sorted(settings.memory.rglob("engine-*"))) == (before, files)

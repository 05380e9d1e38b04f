"""`prune` as it is typed: words, JSON and exit codes."""

import json
from pathlib import Path

from plaster_ops.errors import ExitCode
from plaster_ops.flow.lock import pipeline_lock
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.memory_store import MemoryTracker
from plaster_ops.tracking.outbox import sync
from tests.cli.conftest import Command, plain
from tests.flow.champions import add_run, champions, make_project


def test_a_dry_run_tells_and_the_real_one_does(command: Command, project: Path) -> None:
    settings = make_project(project)
    (first,) = champions(settings, 1)
    for _ in range(3):
        add_run(settings, against=first)
    with Journal.open(settings.memory) as journal:
        sync(journal, MemoryTracker())
    assert "would remove engines of #2, #3" in command("prune", "--keep", "1", "--dry-run").out
    answer = json.loads(command("prune", "--keep", "1", "--json").out)
    assert answer["schema"] == 1
    assert {row["index"] for row in answer["removed"]} == {2, 3}
    assert answer["bytes"] == sum(row["bytes"] for row in answer["removed"]) > 0
    assert command("prune", "--keep", "1").out.startswith("nothing to remove\nkept: #1 the champion; #4")


def test_while_a_retrain_is_going_on_it_is_busy(command: Command, project: Path) -> None:
    settings = make_project(project)
    champions(settings, 1)
    with pipeline_lock(settings.memory / "locks", "digits", "digits"):
        assert command("prune").code == ExitCode.BUSY


def test_its_help_has_examples(command: Command) -> None:
    assert "plaster-ops prune digits --keep 5" in plain(command("prune", "--help").out)

"""Debian's cron runs a retrain by the line that `schedule install` wrote; at the same moment a hand finds it busy."""

import json
import shlex
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from plaster_ops.domain.slots import Slot, SlotState
from plaster_ops.tracking.journal_file import JournalFile
from plaster_ops.tracking.slots import SlotLedger
from tests.e2e.conftest import SETTINGS, command_line, environment, make_project, run_command
from tests.e2e.test_interruptions import wait_until
from tests.scheduler.cron_daemon import cron_running, path_to_this_tree

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

EVERY_MINUTE = 'cadence = { cron = "* * * * *", timezone = "Asia/Kathmandu" }\n'


def slots_of(project: Path) -> list[Slot]:
    """The slots of the only pipeline, newest first, as another process reads them."""
    if not (project / "mlruns" / "plaster.db").exists():
        return []
    journal = JournalFile(project / "mlruns")
    try:
        return SlotLedger(journal).newest("flowers")
    finally:
        journal.close()


def test_a_line_that_was_installed_retrains_under_crons_own_environment(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", SETTINGS + EVERY_MINUTE)
    install = shlex.join(command_line("schedule", "install", "--crontab", "--project", str(project)))
    head = path_to_this_tree().strip()
    first = f"""
printf '%s\\n' '{head}' | crontab -
export PYTHONPATH={shlex.quote(environment()["PYTHONPATH"])}
{install}
test "$({install})" = "nothing to change"
unset PYTHONPATH
"""
    with cron_running(tmp_path / "cron", first):
        wait_until(lambda: any(slot.state is SlotState.RUNNING for slot in slots_of(project)), 200)
        hand = run_command(project, "retrain", "flowers", "--json")
        wait_until(lambda: any(slot.exit_code is not None for slot in slots_of(project)), 200)
        by_cron = next(slot for slot in reversed(slots_of(project)) if slot.exit_code is not None)
        assert sorted([hand.code, by_cron.exit_code or 0]) == [0, 75], (hand.err, by_cron)
        wait_until(lambda: any(slot.state is SlotState.RAN for slot in slots_of(project)), 200)
    ran = next(slot for slot in reversed(slots_of(project)) if slot.state is SlotState.RAN)
    assert (ran.exit_code, ran.attempts) == (0, 1)
    assert ran.planned_s % 60 == 0
    runs = json.loads(run_command(project, "history", "--json").out)["runs"]
    assert "cron" in {run["trigger"] for run in runs}
    with closing(sqlite3.connect(project / "mlruns" / "mlflow.db")) as db:
        (finished,) = db.execute("SELECT COUNT(*) FROM runs WHERE name LIKE '#%' AND status = 'FINISHED'").fetchone()
    assert finished >= 1
    assert (project / "mlruns/scheduler/logs/flowers.cron.log").exists()

"""Debian's cron at work: it runs the line that we write in the little that it calls an environment, and a retrain by
the line that `schedule install` wrote, while a hand finds it busy. Two crons, for both lines to wait for one minute."""

import json
import os
import select
import shlex
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from plaster_ops.domain.slots import Slot, SlotState
from plaster_ops.tracking.journal_file import JournalFile
from plaster_ops.tracking.slots import SlotLedger
from scheduler.install.call import Call
from scheduler.install.crontab import crontab_block
from scheduler.install.zones import machine_zone
from tests.e2e.conftest import SETTINGS, command_line, environment, make_project, run_command
from tests.e2e.test_interruptions import wait_until
from tests.scheduler.cron_daemon import cron_running, path_to_this_tree
from tests.scheduler.install.samples import NIGHTLY, NOW_S, settings_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

EVERY_MINUTE = 'cadence = { cron = "* * * * *", timezone = "Asia/Kathmandu" }\n'
BARE = {"HOME", "LOGNAME", "PATH", "SHELL", "PWD", "OLDPWD", "LANG", "LC_CTYPE"}
"""What cron, its shell and Python's own start put there."""
RECORD = """
import json, os, sys
print(json.dumps({"argv": sys.argv[1:], "cwd": os.getcwd(), "env": dict(os.environ), "tty": sys.stdin.isatty()}))
sys.stdout.flush()
print("and an error", file=sys.stderr, flush=True)
open(FIFO, "w").close()
"""


@dataclass(frozen=True)
class AtWork:
    """Two projects with a line in a crontab. Where the first is called, `recorder.py` writes to its log and `fifo`."""

    recorded: Path
    fifo: Path
    project: Path


@pytest.fixture(scope="module")
def crons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AtWork]:
    """Both crons, until the last test of this file has ended."""
    folder = tmp_path_factory.mktemp("crons")
    at_work = AtWork(recorded=folder / "it's 100% mine", fifo=folder / "done", project=folder / "project")
    os.mkfifo(at_work.fifo)
    with (
        cron_running(folder / "recording", recording(at_work, folder)),
        cron_running(folder / "retraining", retraining(at_work)),
    ):
        yield at_work


def recording(at_work: AtWork, folder: Path) -> str:
    """Shell lines that install a call of the recorder, every minute."""
    recorder, table = folder / "recorder.py", folder / "table"
    recorder.write_text(RECORD.replace("FIFO", repr(str(at_work.fifo))))
    text = NIGHTLY.replace("0 2 * * *", "* * * * *").replace("churn", '"a b%c"')
    call = Call(project=str(at_work.recorded), program=(sys.executable, str(recorder)))
    table.write_text(crontab_block(settings_of(at_work.recorded, text), call, *machine_zone(), NOW_S))
    return f"crontab '{table}'"


def retraining(at_work: AtWork) -> str:
    """Shell lines that install a real project's line by the command, twice."""
    make_project(at_work.project, SETTINGS + EVERY_MINUTE)
    install = shlex.join(command_line("schedule", "install", "--crontab", "--project", str(at_work.project)))
    return f"""
printf '%s\\n' '{path_to_this_tree().strip()}' | crontab -
export PYTHONPATH={shlex.quote(environment()["PYTHONPATH"])}
{install}
test "$({install})" = "nothing to change"
unset PYTHONPATH
"""


def slots_of(project: Path) -> list[Slot]:
    """The slots of the only pipeline, newest first, as another process reads them."""
    if not (project / "mlruns" / "plaster.db").exists():
        return []
    journal = JournalFile(project / "mlruns")
    try:
        return SlotLedger(journal).newest("flowers")
    finally:
        journal.close()


def test_a_line_that_was_installed_retrains_under_crons_own_environment(crons: AtWork) -> None:
    project = crons.project
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


def test_cron_runs_our_line_with_nothing_but_its_own_environment(crons: AtWork) -> None:
    listening = os.open(crons.fifo, os.O_RDONLY | os.O_NONBLOCK)
    poll = select.poll()
    poll.register(listening, select.POLLHUP)
    assert poll.poll(150_000), "cron has run nothing for two minutes"
    os.close(listening)
    first, second = (crons.recorded / "mlruns/scheduler/logs/a_b_c.cron.log").read_text().splitlines()[:2]
    found = json.loads(first)
    assert found["argv"] == [
        "schedule",
        "once",
        "a b%c",
        "--trigger",
        "cron",
        "--project",
        str(crons.recorded),
        "--quiet",
    ]
    assert found["cwd"] == str(crons.recorded)
    assert not found["tty"]
    assert set(found["env"]) <= BARE
    assert found["env"]["PATH"] == "/usr/bin:/bin"
    assert second == "and an error"

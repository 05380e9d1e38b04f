"""cron itself runs the line that we write, in the little that it calls an environment."""

import json
import os
import select
import sys
from pathlib import Path

import pytest

from scheduler.install.call import Call
from scheduler.install.crontab import crontab_block
from scheduler.install.zones import machine_zone
from tests.scheduler.cron_daemon import cron_running
from tests.scheduler.install.samples import NIGHTLY, NOW_S, settings_of

BARE = {"HOME", "LOGNAME", "PATH", "SHELL", "PWD", "OLDPWD", "LANG", "LC_CTYPE"}
"""What cron, its shell and Python's own start put there."""
RECORD = """
import json, os, sys
print(json.dumps({"argv": sys.argv[1:], "cwd": os.getcwd(), "env": dict(os.environ), "tty": sys.stdin.isatty()}))
sys.stdout.flush()
print("and an error", file=sys.stderr, flush=True)
open(FIFO, "w").close()
"""


@pytest.mark.timeout(200)
def test_cron_runs_our_line_with_nothing_but_its_own_environment(tmp_path: Path) -> None:
    project, fifo = tmp_path / "it's 100% mine", tmp_path / "done"
    os.mkfifo(fifo)
    recorder = tmp_path / "recorder.py"
    recorder.write_text(RECORD.replace("FIFO", repr(str(fifo))))
    text = NIGHTLY.replace("0 2 * * *", "* * * * *").replace("churn", '"a b%c"')
    call = Call(project=str(project), program=(sys.executable, str(recorder)))
    (tmp_path / "tab").write_text(crontab_block(settings_of(project, text), call, *machine_zone(), NOW_S))
    listening = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    poll = select.poll()
    poll.register(listening, select.POLLHUP)
    with cron_running(tmp_path / "cron", f"crontab '{tmp_path}/tab'"):
        assert poll.poll(150_000), "cron has run nothing for two minutes"
    os.close(listening)
    first, second = (project / "mlruns/scheduler/logs/a_b_c.cron.log").read_text().splitlines()[:2]
    found = json.loads(first)
    assert found["argv"] == ["schedule", "once", "a b%c", "--trigger", "cron", "--project", str(project), "--quiet"]
    assert found["cwd"] == str(project)
    assert not found["tty"]
    assert set(found["env"]) <= BARE
    assert found["env"]["PATH"] == "/usr/bin:/bin"
    assert second == "and an error"

"""Debian's cron, really running, in namespaces of its own: what it runs is the test's crontab and nothing else."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.scheduler.install.samples import tool

ROOT = Path(__file__).parents[2]
_ENTER = ("--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
_SCRIPT = """set -e
mount --bind "$1/spool" /var/spool/cron/crontabs
mount --bind "$1/nothing" /etc/cron.d
mount --bind "$1/empty" /etc/crontab
mount -t tmpfs tmpfs /run
{first}
exec {cron} -f
"""


@contextmanager
def cron_running(folder: Path, first: str) -> Iterator[None]:
    """cron, after the shell lines `first` have been run where its crontab is; it and its jobs are gone after the block.

    Skips the test where there is no cron, or no right to namespaces.
    """
    cron, unshare = tool("cron"), tool("unshare")
    if os.getuid() != 0 or subprocess.run([unshare, *_ENTER, "true"], capture_output=True, check=False).returncode:
        pytest.skip("cron can be kept apart from this machine's own only by root, with namespaces")
    for name in ("spool", "nothing"):
        (folder / name).mkdir(parents=True)
    (folder / "empty").write_text("")
    script = _SCRIPT.format(first=first, cron=cron)
    with (folder / "cron.out").open("wb") as out:
        process = subprocess.Popen([unshare, *_ENTER, "sh", "-c", script, "sh", str(folder)], stdout=out, stderr=out)
    try:
        yield
        assert process.poll() is None, (folder / "cron.out").read_text()
    finally:
        process.send_signal(signal.SIGKILL)  # unshare waits for its child and takes no notice of SIGTERM
        process.wait()


def path_to_this_tree() -> str:
    """A line for the head of a crontab where another tree than the one under test is installed here; else empty."""
    probe = [sys.executable, "-P", "-c", "import plaster_ops; print(plaster_ops.__file__)"]
    done = subprocess.run(probe, capture_output=True, text=True, check=False, env={}, cwd="/")
    return "" if done.stdout.startswith(f"{ROOT}/") else f"PYTHONPATH={ROOT}\n"

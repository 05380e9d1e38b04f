"""Which process a row means, and on what kind of disk it lies."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from plaster_ops.tracking import liveness, mounts

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
filer:/home /home nfs4 rw 0 0
tmpfs /home/ann/fast tmpfs rw 0 0
//win/share /mnt/my\\040share cifs rw 0 0
short
"""


def test_this_process_lives_and_started_in_the_past() -> None:
    began_s = liveness.started_at_s(os.getpid())
    assert began_s is not None
    assert began_s <= time.time() + liveness.START_TOLERANCE_S
    assert liveness.is_alive(os.getpid(), began_s)
    assert liveness.is_alive(os.getpid(), None)
    assert not liveness.is_alive(os.getpid(), began_s - 60)


def test_the_start_agrees_with_psutil() -> None:
    psutil = pytest.importorskip("psutil")
    assert liveness.is_alive(os.getpid(), psutil.Process().create_time())


def test_a_process_that_ended_is_dead_even_before_it_is_reaped() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert liveness.started_at_s(child.pid) is None
    child.wait()
    assert not liveness.is_alive(child.pid, None)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/x", "ext4"),
        ("/home/ann/project", "nfs4"),
        ("/home/ann/fast/project", "tmpfs"),
        ("/homework", "ext4"),
        ("/mnt/my share/x", "cifs"),
    ],
)
def test_the_innermost_mount_decides(path: str, kind: str) -> None:
    assert mounts.file_system_of(Path(path), MOUNTS) == kind


def test_network_types_are_told_from_local_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "mounts"
    monkeypatch.setattr(mounts, "_MOUNTS", table)
    assert not mounts.is_network_path(tmp_path)
    table.write_text(f"x / ext4 rw 0 0\ny {tmp_path} fuse.sshfs rw 0 0\n")
    assert mounts.is_network_path(tmp_path)
    assert not mounts.is_network_path(Path("/srv"))

"""A measuring process on few CPUs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from plaster_ops.plaster.pinning import busy_ticks, least_busy


def stat(root: Path, busy: dict[int, int]) -> None:
    lines = ["cpu  1 1 1 1 1 1 1 1 0 0"] + [f"cpu{cpu} {ticks} 0 0 900 50 0 0 0 0 0" for cpu, ticks in busy.items()]
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/stat").write_text("\n".join([*lines, "intr 1 2 3", ""]))


def test_busy_ticks_leave_out_idling_and_waiting(tmp_path: Path) -> None:
    stat(tmp_path, {0: 7, 1: 12})
    assert busy_ticks(tmp_path) == {0: 7, 1: 12}
    assert busy_ticks(tmp_path / "nothing") == {}


@pytest.mark.parametrize(("count", "chosen"), [(1, [2]), (2, [0, 2]), (3, [0, 1, 2]), (5, [0, 1, 2])])
def test_the_cpus_that_did_least_just_now_are_taken(tmp_path: Path, count: int, chosen: list[int]) -> None:
    stat(tmp_path, {0: 100, 1: 500, 2: 900})

    def wait(seconds: float) -> None:
        assert 0 < seconds < 1
        stat(tmp_path, {0: 110, 1: 590, 2: 901})

    assert least_busy([0, 1, 2], count, root=tmp_path, wait=wait) == chosen


def test_of_equally_idle_cpus_the_highest_is_taken(tmp_path: Path) -> None:
    stat(tmp_path, {0: 1, 1: 1, 2: 1})
    assert least_busy([0, 1, 2], 1, root=tmp_path, wait=lambda _: None) == [2]
    assert least_busy([0, 1], 1, root=tmp_path / "nothing", wait=lambda _: None) == [1]


def test_a_process_is_held_to_the_cpus_that_it_got_and_so_are_its_threads() -> None:
    code = (
        "import os, threading; from plaster_ops.plaster.pinning import pinned\n"
        "before, seen = os.sched_getaffinity(0), []\n"
        "with pinned(1) as got:\n"
        "    thread = threading.Thread(target=lambda: seen.append(os.sched_getaffinity(0)))\n"
        "    thread.start(); thread.join()\n"
        "    assert len(got) == 1 and seen == [set(got)] == [os.sched_getaffinity(0)], (got, seen)\n"
        "assert os.sched_getaffinity(0) == before\n"
        "for wish in (got, [999]):\n"
        "    with pinned(1, wish) as again:\n"
        "        assert len(again) == 1 and (again == got or wish == [999]), (again, got)\n"
        "with pinned(None) as free: assert set(free) == before == os.sched_getaffinity(0)\n"
        "with pinned(999) as free: assert set(free) == before\n"
        "print('held')"
    )
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("held", "")

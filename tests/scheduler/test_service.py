"""The real service in a process of its own: slots in the ledger, signals, a second service, trouble with its files."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from apscheduler.schedulers.background import BackgroundScheduler

from plaster_ops.domain.slots import Slot, SlotState
from plaster_ops.errors import NotRecorded
from plaster_ops.settings import Settings
from plaster_ops.tracking.journal_file import JournalFile
from plaster_ops.tracking.slots import Overtaken, SlotLedger
from scheduler.plans import plans_of
from scheduler.service import opened_service
from tests.scheduler.conftest import MakeProject

SERVE = """
import sys
from pathlib import Path
from plaster_ops.settings import load_settings
from scheduler.service import opened_service
commands = {"quick": ["--version"], "long": ["schedule", "start", "--project", sys.argv[2]], "bad": ["no-such-command"]}
command = lambda slot: commands[slot.pipeline.split("_")[0]]
with opened_service(load_settings(Path(sys.argv[1])), command=command, say=lambda text: print(text, flush=True)) as one:
    one.run()
"""


@contextmanager
def service(settings: Settings, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """`quick` jobs end at once, `long` ones never, `bad` ones with 2."""
    other = tmp_path / "other"
    other.mkdir(exist_ok=True)
    (other / "plaster.toml").write_text('[scheduler]\nlisten = ""\n[pipelines.a]\nref = "a:b"\n', encoding="utf-8")
    command = [sys.executable, "-c", SERVE, str(settings.project), str(other)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def wait_for(found: Callable[[], bool], process: subprocess.Popen[str], limit_s: float = 30.0) -> None:
    until_s = time.monotonic() + limit_s
    while not found():
        if process.poll() is not None or time.monotonic() > until_s:
            process.kill()
            assert process.stdout is not None
            raise AssertionError(process.stdout.read())
        select.select([], [], [], 0.02)


def of(ledger: SlotLedger, name: str, *states: SlotState) -> list[Slot]:
    return [slot for slot in ledger.newest(name, 1000) if not states or slot.state in states]


def cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def heartbeat(settings: Settings) -> dict[str, float]:
    path = settings.memory / "scheduler" / "heartbeat.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def test_slots_run_one_that_fails_fails_alone_and_sigterm_ends_with_0(
    make_project: MakeProject, ledger: SlotLedger, tmp_path: Path
) -> None:
    settings = make_project("devices = 2", quick='cadence = { every = "1s" }', bad='cadence = { every = "1s" }')
    with service(settings, tmp_path) as process:
        wait_for(lambda: len(of(ledger, "quick", SlotState.RAN)) >= 2, process)
        wait_for(lambda: len(of(ledger, "bad", SlotState.FAILED)) >= 1, process)
        assert heartbeat(settings)["pid"] == process.pid
        process.terminate()
        assert process.wait(30) == 0
    assert heartbeat(settings) == {}
    for name in ("quick", "bad"):
        slots = of(ledger, name)
        planned = sorted(slot.planned_s for slot in slots)
        assert planned == [planned[0] + number for number in range(len(planned))]
        assert not of(ledger, name, SlotState.RUNNING)
    failed = of(ledger, "bad", SlotState.FAILED)[0]
    assert (failed.exit_code, failed.attempts) == (2, 1)


def test_a_second_service_is_refused_and_says_who_holds_it(make_project: MakeProject, tmp_path: Path) -> None:
    settings = make_project(quick="")
    with service(settings, tmp_path) as process:
        wait_for(lambda: bool(heartbeat(settings)), process)
        command = [sys.executable, "-m", "plaster_ops", "schedule", "start", "--project", str(settings.project)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 75
    assert f"process {process.pid} on {os.uname().nodename}" in done.stderr
    assert "next:" in done.stderr


def test_a_lock_that_a_dead_service_left_behind_is_none(make_project: MakeProject, tmp_path: Path) -> None:
    settings = make_project(quick="")
    lock = settings.memory / "locks" / "scheduler.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text('{"pid": 1, "host": "a-host-that-is-gone"}', encoding="utf-8")
    with service(settings, tmp_path) as process:
        wait_for(lambda: bool(heartbeat(settings)), process)


def test_kill_9_in_the_middle_leaves_no_process_and_the_same_slot_goes_on_once(
    make_project: MakeProject, ledger: SlotLedger, tmp_path: Path
) -> None:
    settings = make_project(long='cadence = { every = "2s" }')
    with service(settings, tmp_path) as process:
        wait_for(lambda: bool(of(ledger, "long", SlotState.RUNNING)), process)
        inner = tmp_path / "other" / "mlruns" / "scheduler" / "heartbeat.json"
        wait_for(inner.exists, process)
        (first,) = of(ledger, "long", SlotState.RUNNING)
        job = int(json.loads(inner.read_text(encoding="utf-8"))["pid"])
        process.kill()
        process.wait()
        until_s = time.monotonic() + 10.0
        while Path(f"/proc/{job}").exists():
            assert time.monotonic() < until_s
            select.select([], [], [], 0.02)
    with service(settings, tmp_path) as process:
        wait_for(lambda: any(slot.attempts == 2 for slot in of(ledger, "long")), process)
        (again,) = of(ledger, "long", SlotState.RUNNING)
    assert (again.name, again.attempts) == (first.name, 2)


def test_what_is_at_work_when_it_ends_is_stopped_after_the_grace_and_goes_on_later(
    make_project: MakeProject, ledger: SlotLedger, tmp_path: Path
) -> None:
    settings = make_project("grace_s = 0.2\nstop_s = 0.2", long='cadence = { every = "2s" }')
    with service(settings, tmp_path) as process:
        wait_for(lambda: bool(of(ledger, "long", SlotState.RUNNING)), process)
        process.terminate()
        assert process.wait(30) == 0
    (slot,) = [slot for slot in of(ledger, "long") if slot.state is SlotState.DUE]
    assert slot.attempts == 0
    assert "goes on at the next start" in slot.reason


def test_sighup_takes_new_settings_and_wrong_ones_change_nothing(
    make_project: MakeProject, ledger: SlotLedger, tmp_path: Path
) -> None:
    settings = make_project(quick='cadence = { every = "1s" }')
    with service(settings, tmp_path) as process:
        wait_for(lambda: bool(of(ledger, "quick", SlotState.RAN)), process)
        (settings.project / "plaster.toml").write_text("[nonsense", encoding="utf-8")
        process.send_signal(signal.SIGHUP)
        count = len(of(ledger, "quick"))
        wait_for(lambda: len(of(ledger, "quick")) > count + 1, process)
        make_project(quick='cadence = { every = "1s" }', quick_too='cadence = { every = "1s" }')
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: bool(of(ledger, "quick_too", SlotState.RAN)), process)
    planned = sorted(slot.planned_s for slot in of(ledger, "quick"))
    assert planned == [planned[0] + number for number in range(len(planned))]


def test_a_ledger_that_another_process_holds_is_waited_for_and_no_slot_is_lost(
    make_project: MakeProject, ledger: SlotLedger, tmp_path: Path
) -> None:
    settings = make_project(quick='cadence = { every = "1s" }')
    with service(settings, tmp_path) as process:
        wait_for(lambda: bool(of(ledger, "quick", SlotState.RAN)), process)
        with ledger.file.write():
            held_s = time.time()
            while time.time() < held_s + 7.0:  # longer than the service waits for one write
                assert process.poll() is None
                select.select([], [], [], 0.2)
        wait_for(lambda: any(slot.planned_s > held_s + 8.0 for slot in of(ledger, "quick", SlotState.RAN)), process)
    planned = sorted(slot.planned_s for slot in of(ledger, "quick"))
    assert planned == [planned[0] + number for number in range(len(planned))]


def test_a_full_disk_is_waited_out_and_no_slot_is_lost(make_project: MakeProject, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system of two megabytes can only be mounted by root")
    try:
        settings = make_project(quick='cadence = { every = "1s", retries = 9, backoff_s = 0.1 }')
        file = JournalFile(settings.memory)
        ledger = SlotLedger(file)
        with service(settings, tmp_path) as process:
            wait_for(lambda: bool(of(ledger, "quick", SlotState.RAN)), process)
            full = folder / "full"
            with suppress(OSError), full.open("wb") as out:
                out.write(bytes(4_000_000))
            full_s, busy_s = time.time(), cpu_s(process.pid)
            while time.time() < full_s + 3.0:
                assert process.poll() is None
                select.select([], [], [], 0.1)
            busy_s = cpu_s(process.pid) - busy_s
            full.unlink()
            wait_for(lambda: any(slot.planned_s > full_s + 4.0 for slot in of(ledger, "quick", SlotState.RAN)), process)
            planned = sorted(slot.planned_s for slot in of(ledger, "quick"))
            process.terminate()
            assert process.wait(30) == 0
        file.close()
        assert planned == [planned[0] + number for number in range(len(planned))]
        assert busy_s < 1.0  # it does not try without a pause
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_what_could_not_be_written_waits_for_the_beat(
    make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    with opened_service(make_project(quick='cadence = { every = "1s" }'), say=said.append) as one:
        one.planner.load(plans_of(one.settings), time.time() - 5.0)
        one.ticks = BackgroundScheduler()
        full = NotRecorded("the disk is full", "make room")
        for error in (full, Overtaken("another was first")):
            monkeypatch.setattr(one.planner, "tick", lambda _now_s, error=error: (_ for _ in ()).throw(error))
            one.handle("tick")
            one._wind_up()
            assert one.ticks.get_jobs() == []
        assert one.why_not_alive() == "other schedulers write this ledger: another was first"
        monkeypatch.undo()
        monkeypatch.setattr(one, "_spawn", lambda _slot, _number, device: os.close(device))
        one.handle("beat")
        one._wind_up()
        assert (one.why_not_alive(), len(one.ticks.get_jobs())) == (None, 1)
    assert said == ["the disk is full; tried again every 10 s"]

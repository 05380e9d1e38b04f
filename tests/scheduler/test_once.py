"""One visit to the schedule: what is due runs, what is not is said; other visits and the service are respected."""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from plaster_ops.domain.slots import Cause, Slot, SlotState
from plaster_ops.errors import Busy
from plaster_ops.flow.lock import take_device, take_lock
from plaster_ops.settings import Settings
from plaster_ops.tracking.slots import SlotLedger
from scheduler import once
from scheduler.once import visit
from scheduler.owner import keep_schedule
from tests.scheduler.conftest import MakeProject

EVERY = 'cadence = { every = "1s", retries = 1, backoff_s = 0.01 }'


def a_visit(settings: Settings, *command: str, now: bool = False) -> tuple[int, list[str]]:
    said: list[str] = []

    def run(_slot: Slot) -> Sequence[str]:
        return command or ("--version",)

    code = visit(
        settings, "a", trigger="cron", ask=(Cause.HAND, "asked for") if now else None, say=said.append, command=run
    )
    return code, said


def due(settings: Settings, ledger: SlotLedger, ago_s: float) -> None:
    """The pipeline has been on the schedule for so long, and nobody was there."""
    from scheduler.planner import Planner
    from scheduler.plans import plans_of

    planner = Planner(ledger=ledger, owner="before", is_alive=lambda _owner: False)
    planner.load(plans_of(settings), time.time() - ago_s)


@pytest.fixture(autouse=True)
def handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signals stay the test runner's."""
    monkeypatch.setattr("scheduler.keeper.Keeper.listen", lambda *_numbers: None)


def test_the_first_visit_runs_nothing_and_says_what_is_next(make_project: MakeProject, ledger: SlotLedger) -> None:
    code, said = a_visit(make_project(a='cadence = { every = "1d", start = 2100-01-01T00:00:00Z }'))
    assert code == 0
    assert said[0].startswith("a: nothing is due before ")
    assert ledger.newest() == []


def begun(ago_s: float, **more: float) -> str:
    """A cadence whose first slot was so long ago, and whose second is an hour later."""
    start = datetime.fromtimestamp(int(time.time() - ago_s), tz=UTC).isoformat()
    told = "".join(f", {name} = {value}" for name, value in more.items())
    return f'cadence = {{ every = "1h", start = {start}{told} }}'


def test_the_first_visit_is_for_the_slot_that_woke_it(make_project: MakeProject, ledger: SlotLedger) -> None:
    assert a_visit(make_project(a=begun(5.0)))[0] == 0
    (slot,) = ledger.newest()
    assert (slot.state, slot.was_missed) == (SlotState.RAN, False)


def test_the_first_visit_is_not_for_slots_of_long_ago(make_project: MakeProject, ledger: SlotLedger) -> None:
    assert a_visit(make_project(a=begun(600.0)))[0] == 0
    assert ledger.newest() == []


def test_a_cadence_that_changed_does_not_run_the_same_slot_twice(make_project: MakeProject, ledger: SlotLedger) -> None:
    cadence = begun(5.0)
    for text in (cadence, cadence.replace(" }", ", end = 2100-01-01T00:00:00Z }")):
        assert a_visit(make_project(a=text))[0] == 0
    assert len(ledger.newest()) == 1


def test_a_slot_that_jitter_makes_due_later_is_waited_for(make_project: MakeProject, ledger: SlotLedger) -> None:
    settings = make_project(a=begun(0.0, jitter_s=1.5))
    assert a_visit(settings)[0] == 0
    (slot,) = ledger.newest()
    assert slot.state is SlotState.RAN
    assert slot.started_s is not None
    assert slot.planned_s < slot.due_s <= slot.started_s


def test_what_came_due_since_the_last_visit_is_accounted_for_and_run(
    make_project: MakeProject, ledger: SlotLedger
) -> None:
    settings = make_project(a='cadence = { every = "3600s" }')
    due(settings, ledger, 3 * 3600.0)
    assert a_visit(settings)[0] == 0
    newest, *older = ledger.newest()
    assert (newest.state, newest.was_missed, newest.reason) == (SlotState.RAN, True, "")
    assert [slot.state for slot in older] == [SlotState.MISSED] * 2
    assert all("coalesced into the slot of" in slot.reason for slot in older)


def test_a_slot_that_fails_is_tried_again_and_its_exit_code_is_that_of_the_visit(
    make_project: MakeProject, ledger: SlotLedger
) -> None:
    settings = make_project(a='cadence = { every = "3600s", retries = 1, backoff_s = 0.01 }')
    due(settings, ledger, 3601.0)
    code, said = a_visit(settings, "retrain", "a", "--project", "/dev/null/none", "--json")
    (slot,) = ledger.newest()
    assert (code, slot.state, slot.attempts) == (2, SlotState.FAILED, 1)
    assert any("failed" in line for line in said)


def test_one_asked_for_runs_whether_one_is_due_or_not(make_project: MakeProject, ledger: SlotLedger) -> None:
    assert a_visit(make_project(a=""), now=True)[0] == 0
    (slot,) = ledger.newest()
    assert (slot.cause, slot.state) == (Cause.HAND, SlotState.RAN)


def test_a_second_visit_at_the_same_time_is_busy(make_project: MakeProject) -> None:
    settings = make_project(a=EVERY)
    lock = take_lock(settings.memory / "locks" / "once-a.lock")
    assert lock is not None
    with pytest.raises(Busy, match="another scheduler is at work on 'a'"):
        a_visit(settings)
    fcntl.flock(lock, fcntl.LOCK_UN)
    assert a_visit(settings)[0] == 0


def test_where_a_service_keeps_the_schedule_it_is_left_to_it_and_asked(
    make_project: MakeProject, ledger: SlotLedger
) -> None:
    settings = make_project(a=EVERY)
    due(settings, ledger, 5.0)
    assert take_lock(settings.memory / "locks" / "scheduler.lock") is not None
    code, said = a_visit(settings)
    assert (code, ledger.newest()) == (0, [])
    assert "left to the service" in said[0]
    a_visit(settings, now=True)
    (slot,) = ledger.newest()
    assert (slot.cause, slot.state) == (Cause.HAND, SlotState.DUE)
    assert "asked for already" in a_visit(settings, now=True)[1][0]


def test_two_that_look_at_once_whether_a_service_is_there_are_none(
    make_project: MakeProject, ledger: SlotLedger
) -> None:
    """As cron starts the visits of several pipelines in the same second."""
    settings = make_project(a="")
    lock = settings.memory / "locks" / "scheduler.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert a_visit(settings, now=True)[0] == 0
    assert ledger.newest()[0].state is SlotState.RAN


def test_a_service_that_starts_while_a_visit_looks_is_not_refused(
    make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    locks = make_project(a="").memory / "locks"
    locks.mkdir(parents=True)
    with (locks / "scheduler.lock").open("w") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        monkeypatch.setattr("scheduler.owner.time.sleep", lambda _s: fcntl.flock(looking, fcntl.LOCK_UN))
        handle = keep_schedule(locks)
        with pytest.raises(Busy, match="another scheduler keeps the schedule"):
            keep_schedule(locks)
        os.close(handle)


def test_it_waits_for_a_device_that_is_taken(
    make_project: MakeProject, ledger: SlotLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_project(a="")
    device = take_device(settings.memory / "locks", 1)
    assert device is not None
    looks = iter(range(3))

    def look(*arguments: object, **named: object) -> int | None:
        if next(looks, None) is None:
            fcntl.flock(device, fcntl.LOCK_UN)
        return take_device(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("scheduler.keeper.take_device", look)
    monkeypatch.setattr(once, "POLL_S", 0.01)
    assert a_visit(settings, now=True)[0] == 0
    assert ledger.newest()[0].state is SlotState.RAN


def test_the_command_knows_triggers_and_declared_pipelines(make_project: MakeProject) -> None:
    settings = make_project(a="")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "plaster_ops", "schedule", "once", *arguments, "--project"]
        return subprocess.run([*command, str(settings.project)], capture_output=True, text=True, check=False)

    assert (run("a").returncode, "nothing is due" in run("a").stderr) == (0, True)
    assert run("a", "--quiet").stderr == ""
    assert (run("b").returncode, run("a", "--trigger", "moon").returncode) == (2, 2)
    assert not (Path(settings.project) / "mlruns" / "mlflow.db").exists()

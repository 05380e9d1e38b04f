"""What is said of a pipeline, from a ledger, a heartbeat and settings that are told."""

import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from plaster_ops.domain.schedule import Cadence
from plaster_ops.domain.slots import Slot, SlotState
from plaster_ops.tracking.liveness import this_host
from plaster_ops.tracking.slots import Pause
from scheduler.clockwork import Clockwork, Plan
from scheduler.coming import coming
from scheduler.findings import Kind, service_finding
from scheduler.heartbeat import STALE_S, ServiceState, read_service
from scheduler.owner import this_owner
from scheduler.planner import cadence_text
from scheduler.snapshot import STRIP, collect
from scheduler.status import PipelineStatus, Snapshot
from tests.scheduler.filled import DAY_S, HOUR_S, NOW_S, TOML, Filled, beat, due, failed, filled, ran, running
from tests.tracking.samples import PID_OF_NOBODY


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Filled]:
    """A pipeline of each kind."""
    with filled(tmp_path) as project:
        yield project


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Filled]:
    """The same pipelines, kept up to now, without a slot."""
    with filled(tmp_path) as project:
        with project.ledger.file.write() as db:
            for table in ("slots", "pauses", "conditions"):
                db.execute(f"DELETE FROM {table}")
        speech = project.settings.pipelines["speech"].cadence.cadence()
        with project.ledger.write() as write:
            write.account("speech", cadence_text(speech), NOW_S)
        yield project


def look(project: Filled, now_s: float = NOW_S) -> Snapshot:
    return collect(project.ledger, project.journal, project.settings, now_s)


def of(project: Filled, name: str, now_s: float = NOW_S) -> PipelineStatus:
    return next(each for each in look(project, now_s).pipelines if each.name == name)


def kinds(project: Filled, name: str, now_s: float = NOW_S) -> list[Kind]:
    return [finding.kind for finding in of(project, name, now_s).findings]


def add(project: Filled, *slots: Slot) -> None:
    with project.ledger.write() as write:
        write.add(slots)


# ---- a pipeline of each kind ----------------------------------------------------------------------------------------
def test_each_pipeline_has_its_state_in_words(full: Filled) -> None:
    assert {each.name: each.words for each in look(full).pipelines} == {
        "churn": ("ok",),
        "fraud": ("running",),
        "ranking": ("failing", "retrying"),
        "prices": ("missed",),
        "stock": ("late", "waiting"),
        "search": ("paused",),
        "speech": ("unkept",),
        "vision": ("ok",),
    }


def test_the_whole_counts_devices_and_what_is_wrong(full: Filled) -> None:
    told = look(full)
    assert (told.project, told.devices, told.busy) == (full.settings.project.name, 2, 1)
    assert told.count("late") == 1
    assert [finding.pipeline for finding in told.findings] == ["ranking", "prices", "stock", "speech"]


def test_cadence_triggers_and_zone_are_words(full: Filled) -> None:
    churn, fraud, vision = of(full, "churn"), of(full, "fraud"), of(full, "vision")
    assert (churn.cadence, churn.zone) == ("at 02:00 every day (Europe/Paris)", "Europe/Paris")
    assert churn.triggers == "on new data (200 samples)"
    assert (fraud.cadence, vision.cadence, vision.next) == ("every 1 h", "by hand", None)


def test_the_next_slot_is_due_after_its_jitter(full: Filled) -> None:
    coming = of(full, "churn").next
    assert coming is not None
    assert coming.planned_s == NOW_S + 12 * HOUR_S + 1200.0
    assert 0.0 < coming.jitter_s <= 60.0


def test_a_slot_within_its_jitter_is_still_the_next_one(full: Filled) -> None:
    first = of(full, "churn").next
    assert first is not None
    between_s = (first.planned_s + first.due_s) / 2
    assert of(full, "churn", between_s).next == first
    after = of(full, "churn", first.due_s).next
    assert after is not None
    assert after.planned_s == first.planned_s + DAY_S


def test_last_running_waiting_and_strip_come_from_the_ledger(full: Filled) -> None:
    fraud, ranking = of(full, "fraud"), of(full, "ranking")
    assert fraud.running is not None
    assert fraud.last is not None
    assert (fraud.last.state, fraud.last.ended_s) == (SlotState.RAN, fraud.running.planned_s - HOUR_S + 1502.0)
    assert [slot.state for slot in ranking.waiting] == [SlotState.DUE]
    assert len(of(full, "churn").strip) == STRIP
    assert [slot.planned_s for slot in ranking.strip] == sorted(slot.planned_s for slot in ranking.strip)


def test_how_long_it_usually_takes_is_the_median_of_those_that_trained(bare: Filled) -> None:
    for place, took_s in enumerate((10.0, 500.0, 20.0)):
        add(bare, ran("fraud", NOW_S - place * HOUR_S, took_s=took_s))
    add(bare, ran("fraud", NOW_S - 5 * HOUR_S, took_s=1.0, verdict="skipped"), failed("fraud", NOW_S - 6 * HOUR_S))
    assert of(bare, "fraud").usual_s == 20.0


def test_of_what_runs_now_the_usual_length_is_looked_for_further_back(bare: Filled) -> None:
    add(bare, ran("fraud", NOW_S - 90 * HOUR_S, took_s=70.0))
    add(bare, *(ran("fraud", NOW_S - n * HOUR_S, took_s=1.0, verdict="skipped") for n in range(1, STRIP + 2)))
    assert of(bare, "fraud").usual_s is None
    add(bare, running("fraud", NOW_S, NOW_S))
    assert of(bare, "fraud").usual_s == 70.0


def test_newest_retrain_and_champion_come_from_the_journal(full: Filled) -> None:
    churn = of(full, "churn")
    assert churn.newest is not None
    assert (churn.newest.index, churn.newest.verdict, churn.newest.score) == (3, "promoted", 0.952)
    assert churn.champion is None
    first = full.journal.history("churn", 3)[0]
    assert full.journal.promote("churn", first.uid, expected=None, by="ann", reason="the first")
    champion = of(full, "churn").champion
    assert champion is not None
    assert champion.index == 1


def test_a_pause_says_by_whom_and_why_and_what_alerts_hold_is_told(full: Filled) -> None:
    pause = of(full, "search").pause
    assert pause == Pause(at_s=NOW_S - 4 * DAY_S, by="ann@ml1", reason="labels are mended")
    assert [(each.name, each.reason[:8]) for each in of(full, "churn").conditions] == [("drifting", "accuracy")]


def test_a_pipeline_that_left_the_settings_is_shown_until_its_slots_end(bare: Filled) -> None:
    add(bare, running("gone", NOW_S - 60.0, NOW_S - 60.0))
    gone = of(bare, "gone")
    assert (gone.is_declared, gone.cadence, gone.words) == (False, "not in the settings any more", ("running",))


# ---- late -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("waited_s", "is_late"), [(900.0, False), (901.0, True)])
def test_a_slot_that_waits_is_late_after_check_s(bare: Filled, waited_s: float, is_late: bool) -> None:
    add(bare, due("stock", NOW_S - waited_s))
    assert kinds(bare, "stock") == [Kind.LATE] * is_late


def test_a_slot_that_was_started_once_and_waits_to_be_tried_again_is_not_late(bare: Filled) -> None:
    add(bare, due("stock", NOW_S - DAY_S, attempts=1, reason="attempt 1 ended with 10; again in 60 s"))
    assert (kinds(bare, "stock"), of(bare, "stock").words) == ([], ("retrying",))


@pytest.mark.parametrize(("later_s", "is_late"), [(900.0, False), (901.0, True)])
def test_a_slot_that_nobody_took_up_is_late_after_check_s(bare: Filled, later_s: float, is_late: bool) -> None:
    at_s = NOW_S + 1200.0 + later_s
    beat(bare.settings, at_s - STALE_S - 1.0)
    (fraud,) = [of(bare, "fraud", at_s)]
    assert [finding.kind for finding in fraud.findings] == [Kind.LATE] * is_late
    assert all("2026-11-27 13:00 UTC was due 15 min ago" in finding.message for finding in fraud.findings)


def test_lateness_is_explained_by_what_stands_in_the_way(bare: Filled) -> None:
    add(bare, due("stock", NOW_S - HOUR_S))
    assert "the service has not taken it up" in of(bare, "stock").findings[0].message
    add(bare, running("fraud", NOW_S - 10.0, NOW_S), running("churn", NOW_S - 10.0, NOW_S))
    assert "all devices are busy" in of(bare, "stock").findings[0].message
    add(bare, running("stock", NOW_S - 7 * HOUR_S, NOW_S - 7 * HOUR_S))
    assert "its slot of 2026-11-27 05:40 UTC is still running" in of(bare, "stock").findings[0].message
    (bare.settings.memory / "scheduler" / "heartbeat.json").unlink()
    add(bare, due("prices", NOW_S - HOUR_S))
    finding = of(bare, "prices").findings[0]
    assert "no service is running" in finding.message
    assert "plaster-ops schedule start" in finding.next_step


def test_who_is_paused_is_not_called_late_failing_or_missed(full: Filled) -> None:
    for name in ("stock", "ranking", "prices", "speech"):
        with full.ledger.write() as write:
            write.pause(name, Pause(at_s=NOW_S, by="ann", reason=""))
        assert of(full, name).words[0] == "paused"
    assert look(full).findings == ()


def test_a_run_whose_scheduler_is_gone_is_late_until_a_service_is_there(bare: Filled) -> None:
    left = replace(running("stock", NOW_S - 60.0, NOW_S - 60.0), owner=f"{this_host()} {PID_OF_NOBODY} 1.00")
    add(bare, left)
    assert kinds(bare, "stock") == []
    (bare.settings.memory / "scheduler" / "heartbeat.json").unlink()
    (finding,) = of(bare, "stock").findings
    assert (finding.kind, "was cut off with its scheduler" in finding.message) == (Kind.LATE, True)
    with bare.ledger.write() as write:
        write.put(replace(left, owner=this_owner(os.getpid())))
    assert kinds(bare, "stock") == []


def test_two_slots_do_not_change_places_however_much_jitter_there_is() -> None:
    cadence = Cadence(every_s=60.0, jitter_s=3600.0)
    slots = list(islice(coming(cadence, "churn", NOW_S), 200))
    assert [slot.due_s for slot in slots] == sorted(slot.due_s for slot in slots)
    clockwork = Clockwork("churn", Plan(cadence=cadence), NOW_S - 7200.0)
    expected = [(planned_s, due_s) for planned_s, due_s in clockwork.take(NOW_S + 7200.0) if due_s > NOW_S]
    assert [(slot.planned_s, slot.due_s) for slot in slots][: len(expected)] == expected[:200]
    assert len(expected) > 100


# ---- failing and missed ---------------------------------------------------------------------------------------------
def test_a_run_that_failed_counts_until_one_runs_whatever_is_skipped_between(bare: Filled) -> None:
    add(bare, failed("stock", NOW_S - 3 * HOUR_S), failed("stock", NOW_S - 2 * HOUR_S))
    add(bare, due("stock", NOW_S - HOUR_S, state=SlotState.SKIPPED, reason="overlap", ended_s=NOW_S))
    (finding,) = of(bare, "stock").findings
    assert finding.kind is Kind.FAILING
    assert "failed with exit code 10, 2 in a row: the loss of epoch 3 is NaN" in finding.message
    add(bare, ran("stock", NOW_S))
    assert kinds(bare, "stock") == []


def test_a_failure_behind_a_strip_of_skips_is_not_forgotten(bare: Filled) -> None:
    add(bare, failed("stock", NOW_S - 100 * HOUR_S))
    skip = due("stock", NOW_S, state=SlotState.SKIPPED, reason="paused", ended_s=NOW_S)
    add(bare, *(replace(skip, planned_s=NOW_S - n * HOUR_S) for n in range(STRIP + 5)))
    assert kinds(bare, "stock") == [Kind.FAILING]


def test_wrong_settings_and_a_timeout_have_their_own_next_step(bare: Filled) -> None:
    add(bare, failed("stock", NOW_S, code=2, reason="unknown key"))
    assert "mend the settings" in of(bare, "stock").findings[0].next_step
    add(bare, replace(failed("fraud", NOW_S, code=124), state=SlotState.TIMED_OUT))
    (finding,) = of(bare, "fraud").findings
    assert (finding.kind, "timed out" in finding.message) == (Kind.FAILING, True)
    assert "timeout_s" in finding.next_step


def test_a_held_retrain_is_no_trouble_of_the_schedule(bare: Filled) -> None:
    add(bare, ran("stock", NOW_S - 60.0, verdict="held", code=3))
    assert of(bare, "stock").words == ("ok",)


# ---- kept by nobody -------------------------------------------------------------------------------------------------
def changed(project: Filled, at_s: float) -> None:
    assert project.settings.file is not None
    os.utime(project.settings.file, (at_s, at_s))


def test_a_cadence_that_no_scheduler_keeps_is_told_once_a_slot_of_it_was_due(full: Filled) -> None:
    midnight_s = NOW_S - 12 * HOUR_S - 2400.0
    changed(full, midnight_s)
    assert of(full, "speech").words == ("new",)
    changed(full, midnight_s - 1.0)
    assert of(full, "speech", midnight_s + 900.0).words == ("new",)
    (finding,) = of(full, "speech", midnight_s + 901.0).findings
    assert (finding.kind, finding.since_s) == (Kind.UNKEPT, midnight_s)
    (finding,) = of(full, "speech").findings
    assert "2026-11-27 00:00 UTC was due 12 h 40 min ago and no scheduler has ever kept it" in finding.message
    assert finding.next_step.endswith(f"kill -HUP {os.getpid()}")


def test_a_cadence_that_was_changed_since_is_told_as_such(full: Filled) -> None:
    with full.ledger.write() as write:
        write.account("speech", "another", NOW_S)
    assert "no scheduler has taken up its new cadence" in of(full, "speech").findings[0].message


# ---- the service ----------------------------------------------------------------------------------------------------
def test_the_service_is_believed_while_its_heartbeat_is_young_and_its_process_lives(full: Filled) -> None:
    assert read_service(full.settings, NOW_S + STALE_S).state is ServiceState.ALIVE
    stale = read_service(full.settings, NOW_S + STALE_S + 1.0)
    assert (stale.state, "not heard of for 1 min 1 s" in stale.reason) == (ServiceState.STALE, True)
    beat(full.settings, NOW_S, pid=PID_OF_NOBODY)
    assert read_service(full.settings, NOW_S).state is ServiceState.GONE
    beat(full.settings, NOW_S, pid=PID_OF_NOBODY, host="elsewhere", devices=["0", "1", "2"])
    told = read_service(full.settings, NOW_S)
    assert (told.state, told.devices) == (ServiceState.ALIVE, 3)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pid": 1}', '{"pid": "x", "host": "h", "at_s": NaN}', "\x00"])
def test_a_heartbeat_that_cannot_be_read_is_none(full: Filled, text: str) -> None:
    (full.settings.memory / "scheduler" / "heartbeat.json").write_text(text)
    told = read_service(full.settings, NOW_S)
    assert told.state is ServiceState.NONE
    finding = service_finding(told, NOW_S)
    assert finding is not None
    assert (finding.kind, finding.pipeline) == (Kind.SERVICE, None)


def test_without_a_service_the_settings_say_how_many_devices_there_are(tmp_path: Path) -> None:
    with filled(tmp_path, has_service=False) as project:
        assert "devices = 2" in TOML
        told = look(project)
        assert (told.service.state, told.devices) == (ServiceState.NONE, 2)

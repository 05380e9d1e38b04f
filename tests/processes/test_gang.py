"""Children are started, heard, and never left behind."""

import os
import select
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import plaster_ops
from plaster_ops.errors import ChildFailed, TimedOut, TrainingFailed
from plaster_ops.processes import member
from plaster_ops.processes.gang import Limits, run_gang, run_stage

ROOT = Path(plaster_ops.__file__).resolve().parent.parent
DOUBLES = {"PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}"}
PATIENT = Limits(timeout_s=60, idle_s=60, grace_s=1.0)

Stage = Callable[..., dict[str, Any]]


def _ignore(_event: Any) -> None:
    """Hears nothing."""


@pytest.fixture(autouse=True)
def _children_run_the_doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member, "ENTRY", "stage_doubles")


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    def start(name: str, limits: Limits = PATIENT, on_event: Any = _ignore, **spec: Any) -> dict[str, Any]:
        return run_stage(
            name, spec, folder=tmp_path / name, limits=limits, on_event=on_event, project=tmp_path, env=DOUBLES
        )

    return start


def is_gone(pid: int, within_s: float = 10.0) -> bool:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], within_s)[0])
    finally:
        os.close(fd)


def start_gang(tmp_path: Path, specs: list[dict[str, Any]], on_event: Any = _ignore) -> list[dict[str, Any]]:
    envs = [{**DOUBLES, "RANK": str(rank)} for rank in range(len(specs))]
    name = "echo" if all("n" in spec for spec in specs) else "gang"
    return run_gang(name, specs, folder=tmp_path, limits=PATIENT, on_event=on_event, project=tmp_path, envs=envs)


def test_a_stage_hands_back_its_result_and_its_events_and_keeps_its_chatter_in_the_log(
    stage: Stage, tmp_path: Path
) -> None:
    events: list[Any] = []
    result = stage("echo", on_event=events.append, n=3)
    assert result["spec"] == {"n": 3}
    assert result["leads"]
    assert (result["cwd"], result["project"]) == (str(tmp_path), str(tmp_path))
    assert [event["event"] for event in events] == ["started", "progress", "finished"]
    assert "said to standard output" in (tmp_path / "echo" / "log.txt").read_text()


def test_an_error_raised_on_purpose_comes_back_as_what_it_was(stage: Stage) -> None:
    with pytest.raises(TrainingFailed, match="nan at epoch 1") as caught:
        stage("fail", how="purpose")
    assert caught.value.next_step == "lower the learning rate"
    assert caught.value.exit_code == 10


def test_an_unexpected_exception_is_named_with_its_traceback(stage: Stage, tmp_path: Path) -> None:
    with pytest.raises(ChildFailed, match="KeyError: 'label'") as caught:
        stage("fail", how="bug")
    assert caught.value.kind == "exception"
    assert "Traceback" in caught.value.log_tail
    assert str(tmp_path / "fail" / "log.txt") in caught.value.next_step


def test_a_result_that_is_no_number_is_an_error(stage: Stage) -> None:
    with pytest.raises(ChildFailed, match="ValueError"):
        stage("fail", how="nan")


@pytest.mark.parametrize(
    ("spec", "words", "kind"),
    [
        ({"how": "exit", "code": 0}, "ended with code 0 but left no result", "exit"),
        ({"how": "exit", "code": 3}, "ended with code 3", "exit"),
        ({"how": "kill"}, "was killed by SIGKILL", "signal"),
    ],
)
def test_an_end_without_a_result_is_a_failure_however_it_came(
    stage: Stage, spec: dict[str, Any], words: str, kind: str
) -> None:
    with pytest.raises(ChildFailed, match=words) as caught:
        stage("fail", **spec)
    assert caught.value.kind == kind


def test_the_result_of_an_earlier_attempt_is_never_taken_for_this_one(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "fail").mkdir()
    (tmp_path / "fail" / "result.json").write_text('{"old": true}')
    with pytest.raises(ChildFailed, match="left no result"):
        stage("fail", how="exit", code=0)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(timeout_s=None, idle_s=0.5, grace_s=1.0), "watchdog heard nothing for 0.5 s"),
        (Limits(timeout_s=0.5, idle_s=None, grace_s=1.0), "not done after 0.5 s"),
    ],
)
def test_a_child_past_its_limit_is_stopped_with_what_it_started(stage: Stage, limits: Limits, words: str) -> None:
    events: list[Any] = []
    with pytest.raises(TimedOut, match=words):
        stage("wait", limits=limits, on_event=events.append)
    assert all(is_gone(pid) for pid in events[-1]["pids"])


def test_a_child_that_is_deaf_to_sigterm_is_killed_after_the_grace(stage: Stage) -> None:
    events: list[Any] = []
    with pytest.raises(TimedOut):
        stage("wait", limits=Limits(timeout_s=0.5, idle_s=None, grace_s=0.1), on_event=events.append, deaf=True)
    assert all(is_gone(pid) for pid in events[-1]["pids"])


def test_what_a_finished_child_leaves_running_is_killed(stage: Stage) -> None:
    events: list[Any] = []
    stage("wait", on_event=events.append, leave=True)
    (waiting,) = [event for event in events if event["event"] == "waiting"]
    assert all(is_gone(pid) for pid in waiting["pids"])


def test_an_error_in_the_event_sink_stops_the_child(stage: Stage) -> None:
    pids: list[int] = []

    def sink(event: dict[str, Any]) -> None:
        if event["event"] == "waiting":
            pids.extend(event["pids"])
            raise RuntimeError("the terminal is gone")

    with pytest.raises(RuntimeError, match="terminal"):
        stage("wait", on_event=sink)
    assert len(pids) == 2
    assert all(is_gone(pid) for pid in pids)


def test_deaths_are_noticed_where_the_kernel_has_no_pidfd(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member, "_open_pidfd", lambda _pid: None)
    with pytest.raises(ChildFailed, match="SIGKILL"):
        stage("fail", how="kill")


def test_a_relative_import_path_still_holds_in_the_childs_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", ".")
    assert str(Path.cwd()) in member._environment(tmp_path, {})["PYTHONPATH"].split(os.pathsep)


def test_ranks_hand_back_their_results_in_order_and_their_events_say_who(tmp_path: Path) -> None:
    events: list[Any] = []
    results = start_gang(tmp_path, [{"n": 0}, {"n": 1}], on_event=events.append)
    assert [(result["spec"], result["rank"]) for result in results] == [({"n": 0}, "0"), ({"n": 1}, "1")]
    assert {event["rank"] for event in events} == {0, 1}


def test_the_first_rank_to_die_ends_the_others_and_is_named(tmp_path: Path) -> None:
    events: list[Any] = []
    with pytest.raises(ChildFailed, match="rank 1 was killed by SIGKILL"):
        start_gang(tmp_path, [{"waits": True}, {"how": "kill"}], on_event=events.append)
    pids = [event["pid"] for event in events if event["event"] == "started"]
    assert all(is_gone(pid) for pid in pids)


def test_a_reason_given_on_purpose_wins_over_the_ranks_that_died_of_it(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match="the loss is nan"):
        start_gang(tmp_path, [{"rank": 0, "waits": True}, {"rank": 1}])

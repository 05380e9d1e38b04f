"""Nodes that know of each other by files, with a launcher of our own in place of torch."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from plaster_ops.errors import ChildFailed, ExitCode, NotRecorded, Postponed, TimedOut, TrainingFailed, UsageError
from plaster_ops.processes import handover
from plaster_ops.processes.gang import Limits
from plaster_ops.training.devices import Devices
from plaster_ops.training.launchers.seam import Attempt
from plaster_ops.training.messages import FitSpec
from plaster_ops.training.nodes import board as boards
from plaster_ops.training.nodes import follower, leader
from plaster_ops.training.nodes.board import Board, Pulse, Voice
from plaster_ops.training.nodes.follower import follow
from plaster_ops.training.nodes.leader import Place, lead
from tests.training.conftest import SpecMaker
from tests.training.conftest import make_spec as make_spec

Told = list[Any]


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "BEAT_S", 0.02)
    monkeypatch.setattr(boards, "LOST_S", 1.0)
    for room in (leader, follower):
        monkeypatch.setattr(room, "LOOK_S", 0.01)
        monkeypatch.setattr(room, "LOST_S", 1.0)
    monkeypatch.setattr(leader, "_LAST_WORDS_S", 0.1)
    monkeypatch.setattr(follower, "_ENDING_S", 0.1)


class Launcher:
    """Leaves results, or raises what it is given; `hangs` until it is asked to give up."""

    spans_nodes = True

    def __init__(self, error: Exception | None = None, *, hangs: bool = False) -> None:
        self.error, self.hangs, self.ran = error, hangs, threading.Event()
        self.attempts: list[Attempt] = []

    def run(self, attempt: Attempt) -> list[dict[str, Any]]:
        self.attempts.append(attempt)
        self.ran.set()
        if self.hangs:
            assert attempt.limits.give_up is not None
            while (reason := attempt.limits.give_up()) is None:
                time.sleep(0.01)
            raise ChildFailed("fit", reason, "", kind="exit")
        if self.error is not None:
            raise self.error
        for rank in attempt.ranks:
            (attempt.folder / f"rank{rank}").mkdir(parents=True)
            handover.write_json(attempt.folder / f"rank{rank}" / handover.RESULT, {"rank": rank})
        return [{"rank": rank} for rank in attempt.ranks]


def make_attempt(spec: FitSpec, folder: Path, tell: Any, timeout_s: float | None = 60.0) -> Attempt:
    return Attempt(
        spec=spec,
        devices=Devices(accelerator="cpu", count=2),
        folder=folder,
        limits=Limits(timeout_s=timeout_s, idle_s=None),
        on_event=tell,
    )


def leading(tmp_path: Path, node_timeout_s: float = 30.0, **changes: Any) -> Any:
    values: dict[str, Any] = {"project": tmp_path, "nodes": 2, "place": Place(address="127.0.0.1"), **changes}
    return lead(tmp_path / "board", node_timeout_s=node_timeout_s, **values)


def following(tmp_path: Path, launcher: Launcher, told: Told, node_timeout_s: float = 30.0, **changes: Any) -> int:
    values: dict[str, Any] = {"node": 1, "project": tmp_path, **changes}
    return follow(tmp_path / "board", launcher, node_timeout_s=node_timeout_s, tell=told.append, **values)


@pytest.fixture
def beside() -> Iterator[Callable[..., Any]]:
    with ThreadPoolExecutor(2) as pool:
        yield pool.submit


def test_both_nodes_run_what_node_0_announces_and_the_other_ends_with_it(
    tmp_path: Path, make_spec: SpecMaker, beside: Any
) -> None:
    first, second, told = Launcher(), Launcher(), []
    other = beside(following, tmp_path, second, told)
    with leading(tmp_path) as nodes:
        attempt = make_attempt(make_spec(devices=2, nodes=2), tmp_path / "attempt-1", told.append)
        assert nodes.run(first, attempt) == [{"rank": rank} for rank in range(4)]
    assert other.result(20) == 0
    (mine,), (theirs,) = first.attempts, second.attempts
    assert (list(mine.ranks), list(theirs.ranks), theirs.node) == ([0, 1], [2, 3], 1)
    assert (theirs.address, theirs.port, theirs.folder) == (mine.address, mine.port, mine.folder)
    assert theirs.spec == mine.spec
    assert mine.port > 0
    assert told[-1]["text"] == "node 1: the run of node 0 is over"


def test_a_node_that_does_not_come_fails_the_fit_with_10(tmp_path: Path, make_spec: SpecMaker) -> None:
    told: Told = []
    attempt = make_attempt(make_spec(devices=2, nodes=2), tmp_path / "a", told.append)
    with leading(tmp_path, 0.2) as nodes, pytest.raises(Postponed, match="node 1 did not come within") as caught:
        nodes.run(Launcher(), attempt)
    assert caught.value.exit_code == ExitCode.TRAINING_FAILED
    assert [event["text"] for event in told] == ["waiting for node 1"]


def test_the_limit_of_the_fit_counts_while_a_node_is_waited_for(tmp_path: Path, make_spec: SpecMaker) -> None:
    attempt = make_attempt(make_spec(devices=2, nodes=2), tmp_path / "a", lambda _event: None, timeout_s=0.1)
    with leading(tmp_path) as nodes, pytest.raises(TimedOut):
        nodes.run(Launcher(), attempt)


def test_a_node_that_falls_silent_ends_the_attempt_on_the_other(tmp_path: Path, make_spec: SpecMaker) -> None:
    hanging = Launcher(hangs=True)
    attempt = make_attempt(make_spec(devices=2, nodes=2), tmp_path / "a", lambda _event: None)
    voice = Voice(Board(tmp_path / "board"), 1, {"state": "waiting"})
    with voice:
        threading.Thread(target=lambda: (hanging.ran.wait(20), voice._over.set()), daemon=True).start()
        with leading(tmp_path) as nodes, pytest.raises(ChildFailed, match=r"node 1 \(.*\) was lost") as caught:
            nodes.run(hanging, attempt)
    assert caught.value.kind == "exit"


def test_a_rank_that_was_killed_on_the_other_node_is_what_the_attempt_failed_of(
    tmp_path: Path, make_spec: SpecMaker, beside: Any
) -> None:
    lost = ChildFailed("fit", "rank 0: RuntimeError: connection closed by peer", "", kind="exception")
    killed = ChildFailed("fit", "rank 2 was killed by SIGKILL", "", kind="signal")
    other = beside(following, tmp_path, Launcher(killed), [])
    with pytest.raises(ChildFailed, match="rank 2 was killed by SIGKILL") as caught, leading(tmp_path) as nodes:
        nodes.run(Launcher(lost), make_attempt(make_spec(devices=2, nodes=2), tmp_path / "a", lambda _event: None))
    assert caught.value.kind == "signal"
    assert other.result(20) == ExitCode.UNEXPECTED


def test_a_rank_that_spoke_first_wins_over_those_that_lost_it(
    tmp_path: Path, make_spec: SpecMaker, beside: Any
) -> None:
    folder = tmp_path / "a"
    for rank, text in ((3, "KeyError: 'label'"), (0, "RuntimeError: connection closed")):
        (folder / f"rank{rank}").mkdir(parents=True)
        handover.write_json(folder / f"rank{rank}" / handover.ERROR, {"type": "ChildFailed", "message": text})
        time.sleep(0.01)
    theirs = ChildFailed("fit", "rank 3: KeyError: 'label'", "", kind="exception")
    mine = ChildFailed("fit", "rank 0: RuntimeError: connection closed", "", kind="exception")
    other = beside(following, tmp_path, Launcher(theirs), [])
    with leading(tmp_path) as nodes, pytest.raises(ChildFailed, match="rank 3: KeyError: 'label'"):
        nodes.run(Launcher(mine), make_attempt(make_spec(devices=2, nodes=2), folder, lambda _event: None))
    other.result(20)


def test_without_a_node_0_a_follower_gives_up_with_10(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match=r"node 1: nothing heard of node 0 for 0\.2 s") as caught:
        following(tmp_path, Launcher(), [], 0.2)
    assert caught.value.exit_code == ExitCode.TRAINING_FAILED


def test_the_end_of_an_earlier_run_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    with leading(tmp_path, job="slurm 7"):
        pass
    with pytest.raises(TrainingFailed, match="nothing heard of node 0"):
        following(tmp_path, Launcher(), [], 0.2)
    assert following(tmp_path, Launcher(), [], 0.2, job="slurm 7") == 0


def test_a_follower_that_works_elsewhere_says_so_and_so_does_node_0(
    tmp_path: Path, make_spec: SpecMaker, beside: Any
) -> None:
    other = beside(following, tmp_path, Launcher(), [], project=tmp_path / "elsewhere")
    attempt = make_attempt(make_spec(devices=2, nodes=2), tmp_path / "a", lambda _event: None)
    with leading(tmp_path) as nodes, pytest.raises(ChildFailed, match="node 1"):
        nodes.run(Launcher(hangs=True), attempt)
    with pytest.raises(UsageError, match="node 0 works in"):
        other.result(20)


def test_what_was_written_before_the_first_look_proves_no_life(tmp_path: Path) -> None:
    board = Board(tmp_path)
    with Voice(board, 1, {"state": "waiting"}):
        pass
    pulse = Pulse(board, 1)
    assert pulse.look()["state"] == "waiting"
    assert not pulse.is_alive
    with Voice(board, 1, {"state": "waiting"}):
        assert pulse.look()["state"] == "waiting"
        assert pulse.is_alive


def test_a_board_that_cannot_be_written_is_told_with_12(tmp_path: Path) -> None:
    (tmp_path / "board").write_text("a file", encoding="utf-8")
    with pytest.raises(NotRecorded, match="cannot be written") as caught:
        following(tmp_path, Launcher(), [])
    assert caught.value.exit_code == ExitCode.NOT_RECORDED

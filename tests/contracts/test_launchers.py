"""What every launcher must do: the same weights, the same words, and no process left, however a fit ends."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import plaster_ops
from plaster_ops.errors import Interrupted, TimedOut, TrainingFailed
from plaster_ops.ports import EventSink
from plaster_ops.processes.gang import Limits
from plaster_ops.training.launch import fit
from plaster_ops.training.launchers.registry import BUILT_IN, find_launcher
from plaster_ops.training.messages import FitOutcome, FitResult
from plaster_ops.training.nodes.follower import follow
from plaster_ops.training.nodes.leader import Place, lead
from plaster_ops.training.resume import digest_of
from tests.training.conftest import SpecMaker
from tests.training.conftest import make_spec as make_spec

ROOT = Path(plaster_ops.__file__).resolve().parent.parent
PATIENT = Limits(timeout_s=240, idle_s=120, grace_s=1.0)
every = pytest.mark.parametrize("launcher", sorted(BUILT_IN))
_undisturbed: list[FitResult] = []

PARENT = """
import json, sys
from pathlib import Path
from plaster_ops.processes.gang import Limits
from plaster_ops.training.launch import fit
from plaster_ops.training.messages import FitSpec

folder, launcher = Path(sys.argv[1]), sys.argv[2]
spec = FitSpec.from_json(json.loads((folder / "spec.json").read_text()))
fit(spec, folder=folder / "fit", limits=Limits(timeout_s=240, idle_s=None), on_event=print, launcher=launcher)
"""


def undisturbed(folder: Path, make_spec: SpecMaker) -> FitResult:
    """Two ranks of a gang that nobody disturbed."""
    if not _undisturbed:
        spec = make_spec(reference="noisy:pl_noisy", devices=2, checkpoint_folder=str(folder / "undisturbed-points"))
        whole = fit(spec, folder=folder / "undisturbed", limits=PATIENT, on_event=lambda _e: None, launcher="local")
        result = whole.result
        assert whole.wall_s == pytest.approx(whole.launch_s + result.fit_s)
        assert (result.samples_seen, result.samples_learned, result.learned_reason) == (4 * 102, 4 * 101, "")
        assert all(0 < work < time for work, time in zip(result.rank_works_s, result.rank_times_s, strict=True))
        assert digest_of(Path(result.weights_file)) == result.weights_digest
        _undisturbed.append(result)
    return _undisturbed[0]


def places(result: FitResult) -> list[int]:
    """The steps after which the fit was validated."""
    return [point["step"] for point in result.curves if point["key"] == "val_loss"]


def is_gone(pid: int, within_s: float = 10.0) -> bool:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], within_s)[0])
    finally:
        os.close(fd)


def working_in(project: Path) -> list[int]:
    """Living processes whose working folder is the project: agents, ranks, and what they start."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            if link.readlink() == project:
                found.append(int(link.parent.name))
    return found


@pytest.fixture
def started() -> Iterator[list[int]]:
    """Numbers of processes that a test has seen; what still lives after it is killed."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def wait_for(files: list[Path]) -> None:
    until_s = time.monotonic() + 60
    while not all(file.exists() for file in files):
        assert time.monotonic() < until_s, f"{files} did not come"
        select.select([], [], [], 0.02)


@pytest.mark.parametrize(("launcher", "kills"), [("local", 1), ("torchrun", 0)])
def test_ranks_that_were_killed_and_then_stopped_end_in_the_undisturbed_weights(
    tmp_path: Path, make_spec: SpecMaker, launcher: str, kills: int
) -> None:
    """They are stopped while a step lasts that takes longer than ranks are given which lost a neighbour. Those of
    torchrun are killed below, on two nodes."""
    events: list[Any] = []

    def stop_in_the_last_epoch(event: Any) -> None:
        events.append(event)
        if event["event"] == "checkpoint" and (event["epoch"], event["batch"]) == (3, 3):
            raise Interrupted(15)

    def once_more(tell: EventSink) -> FitOutcome:
        limits = replace(PATIENT, grace_s=0.0, farewell_s=60.0)
        return fit(spec, folder=tmp_path / "fit", limits=limits, on_event=tell, launcher=launcher)

    spec = make_spec(reference="noisy:pl_killed" if kills else "noisy:pl_slow", devices=2, checkpoint_every_s=1e-9)
    with pytest.raises(Interrupted):
        once_more(stop_in_the_last_epoch)
    restarts = [(event["reason"], event["from_epoch"]) for event in events if event["event"] == "restart"]
    assert restarts == [("fit: rank 1 was killed by SIGKILL", 2)] * kills
    assert {event["rank"] for event in events if event["event"] == "progress"} == {0}
    kept = [(event["epoch"], event["batch"]) for event in events if event["event"] == "checkpoint"]
    assert (2, 4) in kept
    assert kept[-1] > (3, 3), "the ranks were given time for one more"
    events.clear()
    again = once_more(events.append)
    started = next(event for event in events if event["event"] == "attempt")
    assert (started["resumed_from_epoch"], started["resumed_from_batch"]) == kept[-1]
    assert {event["rank"] for event in events if event["event"] == "finished"} == {0, 1}
    assert (again.attempts, again.restarts, len(again.result.rank_times_s)) == (1, 0, 2)
    folders = sorted(path.name for path in (tmp_path / "fit").glob("attempt-*"))
    assert folders == [f"attempt-{number}" for number in range(1, kills + 3)]
    whole = undisturbed(tmp_path, make_spec)
    same = ("weights_digest", "steps", "epochs", "samples_seen", "samples_learned", "metrics", "world_size")
    assert [getattr(again.result, name) for name in same] == [getattr(whole, name) for name in same]
    assert [places(result) for result in (again.result, whole)] == [[7, 14, 21, 28]] * 2


@every
def test_a_bug_of_the_user_is_told_in_its_own_words_and_not_tried_again(
    tmp_path: Path, make_spec: SpecMaker, launcher: str
) -> None:
    events: list[Any] = []
    spec = make_spec(reference="tiny:pl_bug")
    with pytest.raises(TrainingFailed, match="rank 0: ZeroDivisionError: in the user's own step") as caught:
        fit(spec, folder=tmp_path / "fit", limits=PATIENT, on_event=events.append, launcher=launcher)
    log = tmp_path / "fit" / "attempt-1" / "rank0" / "log.txt"
    assert caught.value.next_step == f"read {log}"
    assert "ZeroDivisionError: in the user's own step" in log.read_text(encoding="utf-8")
    assert len([event for event in events if event["event"] == "attempt"]) == 1


@every
def test_a_fit_that_hangs_is_stopped_with_all_that_it_started(
    tmp_path: Path, make_spec: SpecMaker, launcher: str, started: list[int]
) -> None:
    """How far it came in that time is the machine's affair; what is asked is that nothing of it is left."""
    spec = make_spec(reference="hangs:pipeline", devices=2)
    limits = Limits(timeout_s=6, idle_s=None, grace_s=1.0)
    events: list[Any] = []
    with pytest.raises(TimedOut):
        fit(spec, folder=tmp_path / "fit", limits=limits, on_event=events.append, launcher=launcher)
    started += [event["pid"] for event in events if event["event"] == "started"]
    started += [int(pid) for up in Path(spec.project).glob("up-?") for pid in up.read_text(encoding="utf-8").split()]
    assert all(is_gone(pid, within_s=0) for pid in started)
    assert working_in(Path(spec.project)) == []


@every
def test_an_interrupted_fit_leaves_nothing(
    tmp_path: Path, make_spec: SpecMaker, launcher: str, started: list[int]
) -> None:
    def stop_once_both_are_there(event: Any) -> None:
        if event["event"] == "started":
            started.append(event["pid"])
        if len(started) == 2:
            raise Interrupted(15)

    spec = make_spec(reference="hangs:pipeline", devices=2)
    with pytest.raises(Interrupted):
        fit(spec, folder=tmp_path / "fit", limits=PATIENT, on_event=stop_once_both_are_there, launcher=launcher)
    assert all(is_gone(pid, within_s=0) for pid in started)


@every
def test_killing_the_parent_hard_leaves_nothing(
    tmp_path: Path, make_spec: SpecMaker, launcher: str, started: list[int]
) -> None:
    import json

    spec = make_spec(reference="hangs:pipeline", devices=2)
    (tmp_path / "spec.json").write_text(json.dumps(spec.to_json()), encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PARENT, str(tmp_path), launcher]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=env) as parent:
        ups = [Path(spec.project) / f"up-{rank}" for rank in (0, 1)]
        wait_for(ups)
        for up in ups:
            started += map(int, up.read_text(encoding="utf-8").split())
        parent.kill()
        parent.wait()
        assert all(is_gone(pid, within_s=2.0) for pid in started)


def test_two_nodes_that_lose_a_rank_end_with_the_weights_of_the_gang(tmp_path: Path, make_spec: SpecMaker) -> None:
    """Both on this machine, each with an agent of its own; the rank that is killed is the other node's."""
    spec = make_spec(reference="noisy:pl_killed", nodes=2)
    board, project = tmp_path / "board", Path(spec.project)
    notes: list[Any] = []
    place = Place(address="127.0.0.1")
    with ThreadPoolExecutor(1) as beside:
        launcher = find_launcher("torchrun", 2)
        other = beside.submit(follow, board, launcher, node=1, project=project, node_timeout_s=120, tell=notes.append)
        with lead(board, project=project, nodes=2, place=place, node_timeout_s=120) as nodes:
            outcome = fit(spec, folder=tmp_path / "fit", limits=PATIENT, on_event=notes.append, nodes=nodes)
        assert other.result(60) == 0
    assert (outcome.restarts, outcome.result.resumed_from_epoch, outcome.result.world_size) == (1, 2, 2)
    (restart,) = [event for event in notes if event["event"] == "restart"]
    assert restart["reason"] == "fit: rank 1 was killed by SIGKILL"
    assert outcome.result.weights_digest == undisturbed(tmp_path, make_spec).weights_digest
    assert working_in(project) == []

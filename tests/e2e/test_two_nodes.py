"""The command on two nodes, which are two starts of it on this machine, with everything of one of them killed."""

import json
import signal
import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import command_line, environment, make_project, run_command
from tests.e2e.test_interruptions import SLOW, gone_within, has_checkpoint, running, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

SETTINGS = """
[pipelines.flowers]
ref = "user_module:pipeline"
train = { max_epochs = 3, seed = 1, nodes = 2, rendezvous = "127.0.0.1", node_timeout_s = %d }
engine = { backends = ["eager"], precisions = ["fp32"] }
"""


def kill_tree(process: subprocess.Popen[str]) -> None:
    top = psutil.Process(process.pid)
    for each in [top, *top.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            each.send_signal(signal.SIGKILL)
    process.wait()


def test_a_node_that_is_killed_and_stays_away_fails_the_run_with_10_which_goes_on_once_it_is_back(
    tmp_path: Path,
) -> None:
    project = make_project(tmp_path / "p", SETTINGS % 12)
    with ExitStack() as both:
        other = both.enter_context(running(project, "retrain", "--node-rank", "1", env=SLOW))
        first = both.enter_context(running(project, "retrain", "--no-measure", "--json", env=SLOW))
        wait_until(lambda: has_checkpoint(project))
        kill_tree(other)
        out, err = first.communicate(timeout=280)
        assert first.returncode == 10, err
        assert "was lost" in err
        assert json.loads(out)["reasons"] == ["node 1 did not come within 12 s"]
        assert "--node-rank 1" in err or "its own --node-rank" in err
        assert "--resume" in err
        gone_within(project, 5.0)
    with ExitStack() as both:
        other = both.enter_context(running(project, "retrain", "--node-rank", "1"))
        again = run_command(project, "retrain", "--no-measure", "--json")
        assert again.code == 0, again.err
        assert other.wait(60) == 0
        assert other.communicate()[0] == ""
        assert "was cut off: continuing it" in again.err
    assert (again.payload["verdict"], again.payload["run"]["index"]) == ("baseline", 1)
    gone_within(project, 5.0)


def test_a_follower_without_a_node_0_ends_with_10_and_writes_no_journal(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", SETTINGS % 1, store=False)
    ended = run_command(project, "retrain", "--node-rank", "1")
    assert ended.code == 10
    assert "nothing heard of node 0" in ended.err
    assert sorted(path.name for path in (project / "mlruns").iterdir()) == ["nodes"]


def test_a_second_task_of_a_node_does_nothing_and_a_shell_of_slurm_is_no_second_node(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p")
    step = {
        "SLURM_JOB_ID": "7",
        "SLURM_STEP_ID": "0",
        "SLURM_NODEID": "0",
        "SLURM_LOCALID": "1",
        "SLURM_STEP_NUM_NODES": "1",
    }
    ended = run_command(project, "retrain", env=step)
    assert (ended.code, ended.out) == (0, "")
    assert "Slurm: node 0 of 1, task 1: task 0 does the work" in ended.err
    shell = step | {"SLURM_JOB_NAME": "bash", "SLURM_NODEID": "1", "SLURM_NNODES": "2"}
    plan = subprocess.run(
        command_line("retrain", "--dry-run"),
        cwd=project,
        env=environment() | shell,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "ranks      auto x 1 node, launcher local" in plan.stdout

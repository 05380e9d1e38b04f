"""What the environment of an outer launcher says, and when it says nothing."""

import pytest

from plaster_ops.errors import UsageError
from plaster_ops.training.outer import Outer, first_host, outer_launcher

SLURM = {
    "SLURM_JOB_ID": "42",
    "SLURM_JOB_NAME": "retrain",
    "SLURM_STEP_ID": "0",
    "SLURM_NODEID": "1",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_LOCALID": "0",
    "SLURM_STEP_NODELIST": "gpu[003-005,9],login1",
    "SLURM_JOB_NODELIST": "elsewhere",
}
TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "abc",
    "TORCHELASTIC_RESTART_COUNT": "1",
    "GROUP_RANK": "1",
    "GROUP_WORLD_SIZE": "2",
    "LOCAL_RANK": "0",
    "RANK": "1",
    "WORLD_SIZE": "2",
    "MASTER_ADDR": "n0",
    "MASTER_PORT": "29500",
}
PET = {"PET_NNODES": "2", "PET_NODE_RANK": "1", "PET_MASTER_ADDR": "job-0.job", "PET_MASTER_PORT": "29500"}
HAND = {"NNODES": "3", "NODE_RANK": "2", "MASTER_ADDR": "n0", "MASTER_PORT": "29400"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (
            SLURM,
            Outer(name="Slurm", node=1, nodes=2, task=0, address="gpu003", port=0, job="slurm 42.0 0"),
        ),
        (
            SLURM | {"MASTER_ADDR": "ib0", "MASTER_PORT": "7000", "SLURM_LOCALID": "1", "SLURM_RESTART_COUNT": "2"},
            Outer(name="Slurm", node=1, nodes=2, task=1, address="ib0", port=7000, job="slurm 42.0 2"),
        ),
        (
            TORCHRUN,
            Outer(name="torchrun", node=1, nodes=2, task=0, address="n0", port=0, job="torchrun abc 1"),
        ),
        (PET, Outer(name="Kubeflow (PET_*)", node=1, nodes=2, address="job-0.job", port=29500)),
        (
            {"PET_NNODES": "2", "PET_NODE_RANK": "0", "PET_RDZV_ID": "j", "MASTER_ADDR": "m", "MASTER_PORT": "1"},
            Outer(name="Kubeflow (PET_*)", node=0, nodes=2, address="m", port=1, job="pet j"),
        ),
        (HAND, Outer(name="NODE_RANK and NNODES", node=2, nodes=3, address="n0", port=29400)),
        (
            {"JOB_COMPLETION_INDEX": "1", "MASTER_ADDR": "job-0", "MASTER_PORT": "29400"},
            Outer(name="Kubernetes (JOB_COMPLETION_INDEX)", node=1, nodes=None, address="job-0", port=29400),
        ),
    ],
)
def test_who_is_which_node_is_taken_from_the_environment(environment: dict[str, str], expected: Outer) -> None:
    assert outer_launcher(environment) == expected


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"MASTER_ADDR": "n0", "MASTER_PORT": "29500"},
        {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"},
        {"SLURM_JOB_ID": "42", "SLURM_NNODES": "2", "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_NTASKS": "2"},
        SLURM | {"SLURM_JOB_NAME": "bash"},
        SLURM | {"SLURM_JOB_NAME": "interactive"},
        SLURM | {"SLURM_STEP_ID": "4294967290"},
        SLURM | {"SLURM_STEP_ID": "4294967291"},
        {"NNODES": "", "NODE_RANK": ""},
    ],
    ids=["nothing", "a meeting place", "ranks", "salloc", "a shell", "an interactive step", "that", "batch", "empty"],
)
def test_what_is_left_over_in_a_shell_changes_nothing(environment: dict[str, str]) -> None:
    assert outer_launcher(environment) is None


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({key: value for key, value in SLURM.items() if key != "SLURM_STEP_NUM_NODES"}, "lacks SLURM_STEP_NUM_NODES"),
        ({key: value for key, value in TORCHRUN.items() if key != "GROUP_WORLD_SIZE"}, "lacks GROUP_WORLD_SIZE"),
        ({"PET_NNODES": "2"}, "lacks PET_NODE_RANK"),
        (PET | {"PET_NNODES": "1:4"}, "PET_NNODES = '1:4' .* is no whole number"),
        ({"NODE_RANK": "1"}, "lacks NNODES"),
        ({"NNODES": "2", "NODE_RANK": "1", "MASTER_PORT": "1"}, "sets MASTER_PORT and no MASTER_ADDR"),
        (HAND | {"MASTER_PORT": "http"}, "MASTER_PORT = 'http'"),
    ],
)
def test_half_of_it_is_an_error_that_names_the_other_half(environment: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        outer_launcher(environment)


@pytest.mark.parametrize(
    ("nodelist", "first"),
    [
        ("n1", "n1"),
        ("n1,n2", "n1"),
        ("n[1-2]", "n1"),
        ("gpu[003-005,9],login1", "gpu003"),
        ("r[1-2]n[07,09]", "r1n07"),
        ("n[3,5-9]-ib", "n3-ib"),
        ("login,gpu[1-2]", "login"),
    ],
)
def test_the_first_name_of_a_compressed_list(nodelist: str, first: str) -> None:
    assert first_host(nodelist) == first

"""Command line, settings and environment agree on who is which node, in that order."""

from typing import Any

import pytest

from plaster_ops.errors import UsageError
from plaster_ops.training.nodes.leader import Place
from plaster_ops.training.nodes.part import Asked, Part, find_part, parse_place
from tests.training.test_outer import HAND, SLURM


def part(environment: dict[str, str] | None = None, *, nodes: Any = None, **asked: Any) -> Part:
    """`nodes` as on the command line."""
    return find_part(Asked(nodes=nodes, **asked), nodes="auto", rendezvous=None, environment=environment or {})


def test_without_a_word_this_machine_is_alone() -> None:
    assert part() == Part(node=0, nodes=1, place=None, job="", idle=False, told="")


def test_the_environment_is_followed_and_told() -> None:
    found = part(SLURM)
    assert (found.node, found.nodes, found.place) == (1, 2, Place(address="gpu003"))
    assert (found.job, found.idle, found.told) == ("slurm 42.0 0", False, "Slurm: node 1 of 2")


def test_only_the_first_task_of_a_node_acts() -> None:
    found = part(SLURM | {"SLURM_LOCALID": "1"})
    assert found.idle
    assert found.told == "Slurm: node 1 of 2, task 1: task 0 does the work"
    one_node = SLURM | {"SLURM_NODEID": "0", "SLURM_STEP_NUM_NODES": "1"}
    assert part(one_node | {"SLURM_LOCALID": "1"}).idle
    assert part(one_node) == Part(job="slurm 42.0 0")


def test_explicit_options_win_over_the_environment() -> None:
    found = part(HAND, nodes=2, node_rank=0, rendezvous="other:1")
    assert (found.node, found.nodes, found.place) == (0, 2, Place(address="other", port=1))
    assert part(HAND, nodes=1).nodes == 1


def test_a_half_set_environment_does_not_matter_where_all_is_said() -> None:
    assert part({"NODE_RANK": "1"}, nodes=2, node_rank=1).node == 1
    with pytest.raises(UsageError, match="lacks NNODES"):
        part({"NODE_RANK": "1"})


def test_the_settings_count_the_nodes_of_an_indexed_job() -> None:
    index = {"JOB_COMPLETION_INDEX": "1", "MASTER_ADDR": "job-0"}
    counted = find_part(Asked(), nodes=2, rendezvous=None, environment=index)
    assert (counted.node, counted.nodes, counted.place) == (1, 2, Place(address="job-0"))
    assert part(index) == Part()
    assert part(index, nodes=1) == Part()


def test_a_node_past_the_last_is_refused() -> None:
    with pytest.raises(UsageError, match=r"this is node 2, counted from 0, and train\.nodes = 2"):
        part(nodes=2, node_rank=2)
    with pytest.raises(UsageError, match=r"this is node 1, counted from 0, and train\.nodes = 1"):
        find_part(Asked(), nodes=1, rendezvous=None, environment=SLURM)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("node0", Place(address="node0")),
        ("node0:29400", Place(address="node0", port=29400)),
        ("[fe80::1]:7", Place(address="fe80::1", port=7)),
        ("[::1]", Place(address="::1")),
        ("fe80::1", Place(address="fe80::1")),
    ],
)
def test_a_meeting_place_is_a_host_and_perhaps_a_port(text: str, place: Place) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize("text", ["", ":29400", "node0:http", "node0:99999"])
def test_what_is_no_meeting_place_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no HOST:PORT"):
        parse_place(text)

"""A parent that is asked to stop lets its children put their things in order, for so long and no longer."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

import plaster_ops
from plaster_ops.errors import Interrupted
from plaster_ops.processes import member
from plaster_ops.processes.gang import Limits, run_gang
from tests.processes.test_gang import is_gone

ROOT = Path(plaster_ops.__file__).resolve().parent.parent
DOUBLES = {"PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}"}


@pytest.fixture(autouse=True)
def _children_run_the_doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member, "ENTRY", "stage_doubles")


def interrupt(tmp_path: Path, farewell_s: float, *specs: dict[str, Any]) -> tuple[list[str], float]:
    """A gang that is interrupted once all its ranks wait: what was heard after that, and the seconds it took."""
    pids: list[int] = []
    heard: list[str] = []
    began_s = [0.0]

    def on_event(event: Any) -> None:
        pids.extend(event.get("pids", ()))
        if began_s[0]:
            heard.append(event["event"])
        elif len(pids) == 2 * len(specs):
            began_s[0] = time.monotonic()
            raise Interrupted(15)

    limits = Limits(timeout_s=60, idle_s=60, grace_s=0.0, farewell_s=farewell_s)
    envs = [DOUBLES] * len(specs)
    with pytest.raises(Interrupted):
        run_gang("tidy", specs, folder=tmp_path, limits=limits, on_event=on_event, project=tmp_path, envs=envs)
    took_s = time.monotonic() - began_s[0]
    assert all(is_gone(pid) for pid in pids)
    return heard, took_s


def tidied(tmp_path: Path, rank: int) -> str:
    path = tmp_path / f"rank{rank}" / "tidied"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def test_every_child_ends_in_order_with_its_helpers_and_is_heard_meanwhile(tmp_path: Path) -> None:
    careful = {"careful": True, "seconds": 0.2}
    heard, took_s = interrupt(tmp_path, 30.0, careful, careful)
    assert [tidied(tmp_path, rank) for rank in (0, 1)] == ["with its helper"] * 2
    assert heard.count("tidied") >= 1
    assert took_s < 10


def test_past_the_farewell_they_are_killed(tmp_path: Path) -> None:
    _, took_s = interrupt(tmp_path, 0.3, {"careful": True, "seconds": 60})
    assert tidied(tmp_path, 0) == ""
    assert took_s < 10


def test_a_rank_that_had_nothing_to_put_in_order_is_not_waited_for(tmp_path: Path) -> None:
    """The other one waits for it in vain, as ranks of a gang do."""
    _, took_s = interrupt(tmp_path, 60.0, {"careful": False, "seconds": 0}, {"careful": True, "seconds": 60})
    assert tidied(tmp_path, 1) == ""
    assert took_s < 20


def test_without_a_farewell_all_are_ended_at_once(tmp_path: Path) -> None:
    _, took_s = interrupt(tmp_path, 0.0, {"careful": True, "seconds": 60})
    assert tidied(tmp_path, 0) == ""
    assert took_s < 10

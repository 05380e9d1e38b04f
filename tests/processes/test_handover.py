"""Files that are whole or not there, and errors that survive the way through one."""

from pathlib import Path

import pytest

from plaster_ops.errors import ArtifactTampered, ChildFailed, DataError, PlasterError
from plaster_ops.processes import handover
from plaster_ops.processes.events import EventLines


@pytest.mark.parametrize("error", [DataError("golden set has 0 rows", "add rows"), ArtifactTampered("bin differs")])
def test_an_error_of_ours_survives_the_file(tmp_path: Path, error: PlasterError) -> None:
    handover.write_json(tmp_path / handover.ERROR, handover.describe_error(error))
    described = handover.read_json(tmp_path / handover.ERROR)
    assert described is not None
    rebuilt = handover.rebuild_error(described, stage="prepare", log_tail="")
    assert type(rebuilt) is type(error)
    assert (rebuilt.message, rebuilt.next_step, rebuilt.exit_code) == (error.message, error.next_step, error.exit_code)


def test_an_error_of_an_unknown_name_is_a_failed_child() -> None:
    rebuilt = handover.rebuild_error({"type": "Path", "message": "odd", "exit_code": 11}, stage="build", log_tail="x")
    assert isinstance(rebuilt, ChildFailed)
    assert (rebuilt.message, rebuilt.exit_code, rebuilt.log_tail) == ("build: odd", 11, "x")


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_a_file_that_is_no_object_is_no_answer(tmp_path: Path, text: str) -> None:
    (tmp_path / "result.json").write_text(text)
    assert handover.read_json(tmp_path / "result.json") is None


def test_a_value_that_json_lacks_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        handover.write_json(tmp_path / "result.json", {"x": float("inf")})
    assert list(tmp_path.iterdir()) == []


def test_the_tail_of_a_long_log_is_its_last_lines(tmp_path: Path) -> None:
    (tmp_path / handover.LOG).write_text("\n".join(f"line {n}" for n in range(5000)))
    assert handover.log_tail(tmp_path, lines=2) == "line 4998\nline 4999"


def test_events_come_whole_however_the_bytes_come() -> None:
    lines = EventLines()
    assert lines.feed(b'{"event": "a"}\n{"ev') == [{"event": "a"}]
    assert lines.feed(b'ent": "b"}\nnoise\n3\n') == [{"event": "b"}]

"""Host to host on a GPU, against a double of torch.cuda whose stream works on a clock of its own."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

from plaster_ops.engines.device import DeviceRun, SplitsCalls, copied, host_to_host, moved_copy
from tests.engines.conftest import export_model


@dataclass
class FalseCuda:
    """Streams and events that see only `now_ms`, which work on the stream moves."""

    now_ms: float = 0.0
    said: list[str] = field(default_factory=list)

    def Stream(self, device: str) -> "FalseStream":  # noqa: N802
        return FalseStream(self, device)

    def Event(self, *, enable_timing: bool) -> "FalseEvent":  # noqa: N802
        assert enable_timing
        return FalseEvent(self)

    @contextmanager
    def stream(self, _stream: "FalseStream") -> Iterator[None]:
        self.said.append("enter")
        yield
        self.said.append("leave")


@dataclass
class FalseStream:
    cuda: FalseCuda
    device: str

    def synchronize(self) -> None:
        self.cuda.said.append("synchronize")


@dataclass
class FalseEvent:
    cuda: FalseCuda
    at_ms: float = -1.0

    def record(self, _stream: FalseStream) -> None:
        self.at_ms = self.cuda.now_ms

    def elapsed_time(self, other: "FalseEvent") -> float:
        assert self.cuda.said[-1] == "synchronize", "read before the work was done"
        return other.at_ms - self.at_ms


@dataclass
class FalseTensor:
    cuda: FalseCuda
    copy_ms: float

    def to(self, _device: str, *, non_blocking: bool) -> "FalseTensor":
        assert non_blocking
        self.cuda.now_ms += self.copy_ms
        return self


class FalseEngine(SplitsCalls):
    """Copies 1 ms in and 0.5 ms out a tensor, computes 3 ms, then 4, then 5."""

    def __init__(self) -> None:
        self.cuda = FalseCuda()
        self.calls = 0
        self._run: Any = DeviceRun(self.compute, "cuda:0", self.cuda)

    def compute(self, given: Sequence[Any]) -> Sequence[Any]:
        self.cuda.now_ms += 3.0 + self.calls
        self.calls += 1
        return [FalseTensor(self.cuda, 0.5) for _ in given]

    def run(self, *inputs: Any) -> tuple[Any, ...]:
        return tuple(self._run(inputs))


def test_a_call_is_split_by_events_that_are_read_after_the_last_query() -> None:
    engine = FalseEngine()
    parts = engine.time_parts([(FalseTensor(engine.cuda, 1.0), FalseTensor(engine.cuda, 1.0))] * 3)
    assert parts is not None
    assert (parts["h2d"], parts["compute"], parts["d2h"]) == ([2.0] * 3, [3.0, 4.0, 5.0], [1.0] * 3)
    assert len(parts["enqueue"]) == 3
    assert all(0.0 < taken < 1000.0 for taken in parts["enqueue"])


def test_an_ordinary_call_leaves_no_events_and_waits_for_its_answers() -> None:
    engine = FalseEngine()
    engine.time_parts([(FalseTensor(engine.cuda, 1.0),)])
    engine.cuda.said.clear()
    assert len(engine.run(FalseTensor(engine.cuda, 1.0))) == 1
    assert engine.cuda.said == ["enter", "leave", "synchronize"]
    assert engine._run.marks is None


def test_a_query_that_fails_turns_the_marks_off_again() -> None:
    engine = FalseEngine()
    with pytest.raises(AttributeError):
        engine.time_parts([("no tensor",)])
    assert engine._run.marks is None


def test_on_the_cpu_there_is_nothing_to_split(tmp_path: Path) -> None:
    def run(given: Sequence[Any]) -> Sequence[Any]:
        return given

    assert host_to_host(run, "cpu") is run
    exported = export_model("mlp")
    _, engine = exported.build(tmp_path, "eager")
    assert isinstance(engine, SplitsCalls)
    assert engine.time_parts([(exported.inputs(1),)]) is None


# ---- programs on another device ------------------------------------------------------------------------------------
def sequential(named: bool = True) -> ExportedProgram:
    """`nn.Sequential` calls its input `input`, which is a builtin."""
    program = torch.export.export(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), (torch.rand(2, 4),))
    if not named:
        program.example_inputs = None
    return program


@pytest.mark.parametrize("named", [True, False])
def test_everything_of_a_program_moves_and_its_inputs_keep_their_names(named: bool) -> None:
    program = sequential(named)
    moved = moved_copy(program, "meta")
    (example,) = moved.example_inputs[0]
    assert (example.device.type, tuple(example.shape)) == ("meta", (2, 4))
    assert {tensor.device.type for tensor in moved.state_dict.values()} == {"meta"}
    assert [spec.arg.name for spec in moved.graph_signature.input_specs][-1] == "input"
    assert {tensor.device.type for tensor in program.state_dict.values()} == {"cpu"}


def test_a_copy_shares_nothing_and_answers_the_same() -> None:
    program = sequential()
    again = copied(program)
    given = torch.rand(2, 4)
    assert torch.equal(again.module()(given), program.module()(given))
    for tensor in again.state_dict.values():
        tensor.detach().zero_()
    assert all(tensor.abs().sum() > 0 for tensor in program.state_dict.values())

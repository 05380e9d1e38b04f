"""Engines on a GPU behind the host-to-host contract: inputs copied in, outputs copied back, nothing left in flight."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

Run = Callable[[Sequence[Any]], Sequence[Any]]


def moved_to(program: Any, device: str) -> Any:
    """A copy of the exported program on that device, its example inputs too; itself on the CPU.

    fp32 is fp32 there: convolutions and products in TF32 are turned off for this process.
    """
    if not device.startswith("cuda"):
        return program
    import torch

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    return moved_copy(program, device)


def moved_copy(program: Any, device: str) -> Any:
    """Weights, constants and example inputs on that device, whatever it is. torch 2.11 leaves the inputs where they
    were, and its compiler then refuses them."""
    import torch
    from torch.export.passes import move_to_device_pass
    from torch.utils import _pytree as pytree

    from plaster_ops.engines.facts import traced_inputs
    from plaster_ops.engines.quiet import foreign_warnings_ignored

    with foreign_warnings_ignored():
        moved = move_to_device_pass(copied(program), device)
    example = moved.example_inputs
    if example is None:
        example = pytree.tree_unflatten(list(traced_inputs(moved)), moved.call_spec.in_spec)
    moved.example_inputs = pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.to(device), example)
    return moved


def copied(program: Any) -> Any:
    """The program again, sharing nothing. `copy.deepcopy` renames inputs that are called like a builtin, as `input` is
    in every `nn.Sequential`, and leaves a program that torch no longer accepts."""
    import torch

    from plaster_ops.engines.quiet import foreign_warnings_ignored

    file = io.BytesIO()
    with foreign_warnings_ignored():
        torch.export.save(program, file)
        file.seek(0)
        return torch.export.load(file)


def host_to_host(run: Run, device: str) -> Run:
    """`run` with inputs from and outputs in host memory; itself on the CPU.

    Copies and kernels go to a stream of their own, and the call returns when all of it is done.
    """
    if not device.startswith("cuda"):
        return run
    import torch

    return DeviceRun(run, device, torch.cuda)


class DeviceRun:
    """One engine's calls on a GPU. While `marks` is a list, each call also leaves its CUDA events there."""

    def __init__(self, run: Run, device: str, cuda: Any) -> None:
        self._run, self._device, self._cuda = run, device, cuda
        self._stream: Any = cuda.Stream(device)
        self.marks: list[tuple[Sequence[Any], int]] | None = None

    def __call__(self, inputs: Sequence[Any]) -> Sequence[Any]:
        """Host tensors to host tensors; nothing is in flight afterwards."""
        if self.marks is not None:
            return self._marked(inputs, self.marks)
        with self._cuda.stream(self._stream):
            given = [tensor.to(self._device, non_blocking=True) for tensor in inputs]
            answers = [tensor.to("cpu", non_blocking=True) for tensor in self._run(given)]
        self._stream.synchronize()
        return answers

    def _marked(self, inputs: Sequence[Any], marks: list[tuple[Sequence[Any], int]]) -> Sequence[Any]:
        events = [self._cuda.Event(enable_timing=True) for _ in range(4)]
        begin_ns = time.perf_counter_ns()
        with self._cuda.stream(self._stream):
            events[0].record(self._stream)
            given = [tensor.to(self._device, non_blocking=True) for tensor in inputs]
            events[1].record(self._stream)
            answers = self._run(given)
            events[2].record(self._stream)
            answers = [tensor.to("cpu", non_blocking=True) for tensor in answers]
            events[3].record(self._stream)
        enqueued_ns = time.perf_counter_ns() - begin_ns
        self._stream.synchronize()
        marks.append((events, enqueued_ns))
        return answers


class SplitsCalls:
    """What an engine that may run on a GPU inherits: `time_parts` tells where the time of its calls goes."""

    _run: Any

    if TYPE_CHECKING:

        def run(self, *inputs: Any) -> tuple[Any, ...]:
            """The engine's own."""

    def time_parts(self, queries: Sequence[tuple[Any, ...]]) -> dict[str, list[float]] | None:
        """Runs the queries one by one; per query, in ms: `h2d`, `compute`, `d2h` by CUDA events, `enqueue` by the host.

        Events are read after the last query. `enqueue` is from the first event to the return of the last asynchronous
        call. None on the CPU, where there are no copies.
        """
        if not isinstance(self._run, DeviceRun):
            return None
        marks: list[tuple[Sequence[Any], int]] = []
        self._run.marks = marks
        try:
            for query in queries:
                self.run(*query)
        finally:
            self._run.marks = None
        parts: dict[str, list[float]] = {"h2d": [], "compute": [], "d2h": [], "enqueue": []}
        for events, enqueued_ns in marks:
            for name, (begin, end) in zip(parts, pairwise(events), strict=False):
                parts[name].append(float(begin.elapsed_time(end)))
            parts["enqueue"].append(enqueued_ns * 1e-6)
        return parts

"""Engines on a GPU behind the host-to-host contract: inputs copied in, outputs copied back, nothing left in flight.

Written and never run: no GPU was at hand (docs/benchmarks.md).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

Run = Callable[[Sequence[Any]], Sequence[Any]]


def moved_to(program: Any, device: str) -> Any:
    """A copy of the exported program on that device; itself on the CPU.

    fp32 is fp32 there: convolutions and products in TF32 are turned off for this process.
    """
    if not device.startswith("cuda"):
        return program
    import torch
    from torch.export.passes import move_to_device_pass

    from plaster_ops.engines.quiet import foreign_warnings_ignored

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    with foreign_warnings_ignored():
        return move_to_device_pass(copy.deepcopy(program), device)


def host_to_host(run: Run, device: str) -> Run:
    """`run` with inputs from and outputs in host memory; itself on the CPU.

    Copies and kernels go to a stream of their own, and the call returns when all of it is done.
    """
    if not device.startswith("cuda"):
        return run
    import torch

    stream = torch.cuda.Stream(device)

    def copied(inputs: Sequence[Any]) -> Sequence[Any]:
        with torch.cuda.stream(stream):
            given = [tensor.to(device, non_blocking=True) for tensor in inputs]
            answers = [tensor.to("cpu", non_blocking=True) for tensor in run(given)]
        stream.synchronize()
        return answers

    return copied

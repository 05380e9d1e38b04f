"""What the parts of `benchmarks/gpu_check.py` share."""

import statistics
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DEVICE = "cuda:0"
BATCHES = (1, 32, 64)


class NotRun(Exception):
    """This part cannot run here; the message says why."""


def need_cuda() -> Any:
    """torch, where it sees a GPU."""
    import torch

    if not torch.cuda.is_available():
        raise NotRun(f"torch {torch.__version__} sees no GPU")
    return torch


def model_and_inputs() -> tuple[Any, Any]:
    """A small convolutional network, and a function that gives n of its inputs."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    body = [nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()]
    model = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)).eval()
    return model, lambda rows: torch.rand(rows, 3, 64, 64)


def median_us(engine: Any, value: Any) -> float:
    """Median of 200 host-to-host calls."""
    taken = []
    for _ in range(220):
        began_s = time.perf_counter()
        engine.run(value)
        taken.append(time.perf_counter() - began_s)
    return statistics.median(taken[20:]) * 1e6

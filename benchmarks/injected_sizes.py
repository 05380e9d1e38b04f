"""How large an injected cause must be: the digits network of `injected_history.py` tried outside plaster-ops.

`python -m benchmarks.injected_sizes` in the trial's project prints JSON: the frozen set's score after so many epochs,
mean of three seeds; milliseconds of one multiplication more in a forward; microseconds a sample takes at each batch.
"""

import json
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

EPOCHS = range(1, 8)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
SEEDS, LAPS = 3, 2000


def scores(trial: Any) -> dict[int, float]:
    """Epochs to the mean score on the frozen set."""
    images, labels = trial.rows[:800]
    found: dict[int, list[float]] = {}
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        net = trial.model()
        optimizer = net.configure_optimizers()
        for epoch in EPOCHS:
            for rows in torch.randperm(len(labels)).split(32):
                optimizer.zero_grad()
                net.training_step((images[rows], labels[rows]), 0).backward()
                optimizer.step()
            with torch.inference_mode():
                right = net(trial.frozen.tensors[0]).argmax(1) == trial.frozen.tensors[1]
            found.setdefault(epoch, []).append(float(right.float().mean()))
    return {epoch: sum(each) / SEEDS for epoch, each in found.items()}


def one_round_ms() -> float:
    """One multiplication of one number."""
    one = torch.ones(1)
    with torch.inference_mode():
        began_s = perf_counter()
        for _ in range(10 * LAPS):
            one = one * 1.0
    return (perf_counter() - began_s) / (10 * LAPS) * 1000.0


def per_sample_us(trial: Any) -> dict[int, float]:
    """Batch to the time of one of its samples, one thread, best of five."""
    net, found = trial.model().eval(), {}
    with torch.inference_mode():
        for batch in BATCHES:
            images, times = trial.sample_batch(batch), []
            for _ in range(5):
                began_s = perf_counter()
                for _ in range(LAPS // 10):
                    net(images)
                times.append((perf_counter() - began_s) / (LAPS // 10) / batch * 1e6)
            found[batch] = min(times)
    return found


def main() -> None:
    sys.path.insert(0, str(Path.cwd()))
    import handwriting

    torch.set_num_threads(1)
    trial = handwriting.Digits()
    sizes = {"scores": scores(trial), "round_ms": one_round_ms(), "sample_us": per_sample_us(trial)}
    print(json.dumps(sizes))


if __name__ == "__main__":
    main()

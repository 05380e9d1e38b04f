"""How often to retrain, tried: one stream at hourly, daily, weekly and monthly cadence, warm beside scratch.

`python benchmarks/cadence.py electricity.csv.gz [--first 330] [--days 60] [--picture docs/images/cadence.png]` replays
the stream to `pipelines/electricity.py`'s model through the code that a rank runs (`training.worker.run_fit`), without
starting a process a fit: at each retrain all rows up to now have their labels, the model then forecasts every half-hour
until the next one. Warm: two epochs over the new rows and twenty times as many of the last 90 days; scratch: twenty
epochs over the last 90 days. Scratch by the hour is not tried: 1,440 fits. Prints Markdown: score over all half-hours,
seconds of training, how old the newest row behind a forecast was.

`python benchmarks/cadence.py --coverage` simulates pasts with noisy models and days, and counts how often the interval
of `domain.cadence` misses the true loss.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.stream_days import read_stream
from plaster_ops.domain.cadence import Slot, answer
from plaster_ops.domain.window import Window
from plaster_ops.training.messages import FitSpec

ROWS_A_DAY = 48
LOOKBACK = 90 * ROWS_A_DAY
REPLAY = 20
CADENCES = {"hourly": 2, "daily": ROWS_A_DAY, "weekly": 7 * ROWS_A_DAY, "monthly": 30 * ROWS_A_DAY}


@dataclass
class Tried:
    """One cadence and start: whether each forecast was right, seconds of its fits, ages in half-hours."""

    name: str
    start: str
    right: list[bool] = field(default_factory=list)
    fit_s: list[float] = field(default_factory=list)
    age_rows: list[int] = field(default_factory=list)


def make_pipeline(rows: TensorDataset) -> Any:
    """The electricity pipeline over rows in memory; positions are row counts."""
    import pytorch_lightning as pl

    from pipelines.electricity import Electricity

    class Data(pl.LightningDataModule):
        def __init__(self, window: Window) -> None:
            super().__init__()
            cut, learned = int(window.cut or 0), int(window.learned or 0)
            old = np.arange(max(0, cut - LOOKBACK), cut if window.learned is None else learned)
            if window.replay_ratio is not None:
                wanted = min(len(old), round(window.replay_ratio * (cut - learned)))
                old = np.random.default_rng(cut).choice(old, wanted, replace=False)
            new = np.arange(learned, cut) if window.learned is not None else np.arange(0)
            self.rows = TensorDataset(*rows[torch.from_numpy(np.concatenate([old, new]))])

        def train_dataloader(self) -> Any:
            return DataLoader(self.rows, batch_size=64, shuffle=True)

    class Stream(Electricity):
        def __init__(self) -> None:
            pass

        def data(self, window: Window) -> Any:
            return Data(window)

    return Stream()


def fit(pipeline: Any, folder: Path, now: int, before: int | None, weights: str | None) -> tuple[str, float]:
    """One fit up to row `now`; the weights file and seconds of training."""
    from plaster_ops.training.worker import run_fit

    warm = weights is not None
    window = Window(learned=before, seen=before, cut=now, end=now, replay_ratio=float(REPLAY) if warm else None)
    place = folder / f"{now}"
    place.mkdir(parents=True)
    spec = FitSpec(
        reference="",
        project=str(folder),
        window=window.to_json(),
        max_epochs=2 if warm else 20,
        checkpoint_folder=str(place / "checkpoints"),
        start="warm" if warm else "scratch",
        warm_weights=weights,
        devices=1,
        accelerator="cpu",
        threads=1,
        seed=now,
    )
    result = run_fit(pipeline, spec, folder=place, emit=lambda _event: None)
    return str(result["weights_file"]), float(result["fit_s"])


def replay(rows: TensorDataset, tried: Tried, first: int, days: int, folder: Path) -> None:
    """Retrains at the cadence from row `first` on, and forecasts every half-hour in between."""
    from plaster_ops.training.weights import load_weights

    pipeline, every = make_pipeline(rows), CADENCES[tried.name]
    weights: str | None = None
    last = first + days * ROWS_A_DAY
    for now in range(first, last, every):
        warm = tried.start == "warm" and weights is not None
        weights, seconds = fit(pipeline, folder, now, now - every if warm else None, weights if warm else None)
        tried.fit_s.append(seconds)
        model = pipeline.model()
        load_weights(model, Path(weights))
        inputs, targets = rows[now : min(now + every, last)]
        with torch.inference_mode():
            tried.right += (model.eval()(inputs).argmax(1) == targets).tolist()
        tried.age_rows += list(range(len(targets)))


def show(all_tried: Sequence[Tried]) -> None:
    """The table; warm and scratch of a cadence meet the same half-hours."""
    print("| cadence | start | fits | training s | score | against scratch | data is older in 5 % |")
    print("|-|-|-|-|-|-|-|")
    for tried in all_tried:
        rival = next((each for each in all_tried if each.name == tried.name and each.start == "scratch"), None)
        score = statistics.fmean(tried.right)
        beside = "not tried" if rival is None else f"{score - statistics.fmean(rival.right):+.4f}"
        p95_h = sorted(tried.age_rows)[int(0.95 * (len(tried.age_rows) - 1))] / 2
        print(
            f"| {tried.name} | {tried.start} | {len(tried.fit_s)} | {sum(tried.fit_s):.1f} |"
            f" {score:.4f} | {'' if rival is tried else beside} | {p95_h:g} h |"
        )


def draw(all_tried: Sequence[Tried], file: Path) -> None:
    """Score over time, seven days together, and score against seconds of training."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (over_time, against) = plt.subplots(1, 2, figsize=(11, 4), width_ratios=[3, 2], constrained_layout=True)
    colours = dict(zip(CADENCES, plt.cm.viridis(np.linspace(0.0, 0.85, len(CADENCES))), strict=True))
    for tried in all_tried:
        week = pd.Series(tried.right, dtype=float).rolling(7 * ROWS_A_DAY).mean()
        style = "-" if tried.start == "warm" else "--"
        label = f"{tried.name}, {tried.start}"
        over_time.plot(np.arange(len(week)) / ROWS_A_DAY, week, style, color=colours[tried.name], label=label)
        marker = "o" if tried.start == "warm" else "s"
        against.plot(sum(tried.fit_s), statistics.fmean(tried.right), marker, color=colours[tried.name])
        against.annotate(f" {label}", (sum(tried.fit_s), statistics.fmean(tried.right)), fontsize=8)
    over_time.set(xlabel="days", ylabel="right forecasts, last 7 days")
    over_time.legend(fontsize=8)
    against.set(xscale="log", xlabel="seconds of training in all", ylabel="right forecasts")
    against.margins(x=0.35)
    for axes in (over_time, against):
        axes.grid(alpha=0.3)
    figure.savefig(file, dpi=110)


def coverage(trials: int) -> None:
    """How often the 95 % interval misses a true loss of zero, in two kinds of past."""
    print("models that differ by 0.01, days by 0.03\n")
    simulate(trials, unlike_models)
    print("\nlosses that are 0.7 from one slot to the next\n")
    simulate(trials, slow_ageing)


def unlike_models(draw: random.Random, slots: int) -> list[Slot]:
    """A past in which no model ages."""
    models = [draw.gauss(0, 0.01) for _ in range(slots + 90)]
    return [
        Slot(index=j, by_age=tuple(models[j + 90 - age] + draw.gauss(0, 0.03) for age in range(1, 31)))
        for j in range(slots)
    ]


def slow_ageing(draw: random.Random, slots: int) -> list[Slot]:
    """A past in which older models are worse for a while, then better for a while."""
    slow = [0.0]
    for _ in range(slots + 20):
        slow.append(0.7 * slow[-1] + draw.gauss(0, 0.01))
    return [
        Slot(index=j, by_age=(0.9, *(0.9 - slow[j + 20] + draw.gauss(0, 0.002) for _ in range(29))))
        for j in range(slots)
    ]


def simulate(trials: int, past: Callable[[random.Random, int], list[Slot]]) -> None:
    """Misses, by slots and cadence."""
    print("| slots | " + " | ".join(f"every {every}" for every in (2, 3, 5, 7, 10, 14)) + " |\n|-|-|-|-|-|-|-|")
    for slots in (30, 45, 60, 120):
        missed: dict[int, int] = {}
        for seed in range(trials):
            for row in answer(past(random.Random(seed), slots), margin=0.0).rows:
                missed[row.every] = missed.get(row.every, 0) + (not row.loss_ci95[0] <= 0 <= row.loss_ci95[1])
        shown = [f"{missed[every] / trials:.3f}" if every in missed else "" for every in (2, 3, 5, 7, 10, 14)]
        print(f"| {slots} | {' | '.join(shown)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stream", type=Path, nargs="?")
    parser.add_argument("--first", type=int, default=330)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--coverage", type=int, nargs="?", const=500, help="trials of the simulation")
    asked = parser.parse_args()
    if asked.coverage:
        coverage(asked.coverage)
    if asked.stream is None:
        return
    from pipelines.electricity import tensors_of

    rows = tensors_of(pa.Table.from_pandas(read_stream(asked.stream)))
    torch.set_num_threads(1)
    all_tried = [Tried(name, "warm") for name in CADENCES]
    all_tried += [Tried(name, "scratch") for name in CADENCES if name != "hourly"]
    for tried in all_tried:
        began_s = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            replay(rows, tried, asked.first * ROWS_A_DAY, asked.days, Path(folder))
        print(tried.name, tried.start, round(time.monotonic() - began_s, 1), file=sys.stderr, flush=True)
    show(all_tried)
    if asked.picture:
        draw(all_tried, asked.picture)


if __name__ == "__main__":
    main()

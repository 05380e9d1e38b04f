"""How often clean features are called drifted, and how often shifted ones are found, by the code that a retrain runs.

python -m benchmarks.input_drift [--repeats 100] [--electricity FILE.csv.gz]

Simulated: an earlier set of 5,000 rows and a new one of 200, 1,000 or 5,000, 20 features of which 4 shift by 0, 0.1,
0.25 or 0.5 standard deviations in the new one: ten normal ones, five lognormal, three of whole numbers of eight kinds,
one Poisson, one that is zero in half the rows. The earlier set goes through tensors, sketch and JSON as between two
retrains; the columns "rows" hold the same sets against each other with all rows at hand. Electricity: each month of the
real stream against the one before.
"""

import argparse
import csv
import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from plaster_ops.data.drift import compare, compare_rows
from plaster_ops.data.features import FeatureRows
from plaster_ops.data.sketch import SetSketch, sketch_of

THEN, FEATURES, SHIFTED = 5000, 20, 4
SIZES, SHIFTS = (200, 1000, 5000), (0.0, 0.1, 0.25, 0.5)
MONTH = 48 * 30


def drawn(draw: np.random.Generator, rows: int, shift: float) -> FeatureRows:
    """One set as a batch of tensors; features 0 (normal), 10 (lognormal), 15 (kinds) and 18 (Poisson) shift."""
    normal = draw.normal(size=(rows, 10))
    normal[:, 0] += shift
    lognormal = draw.normal(size=(rows, 5))
    lognormal[:, 0] += shift
    kinds = draw.integers(0, 8, size=(rows, 3))
    kinds[:, 0] = np.clip(np.round(draw.normal(3.5 + shift, 1.0, size=rows)), 0, 7)
    counts = draw.poisson(100 + 10 * shift, size=(rows, 1))
    gaps = np.where(draw.random((rows, 1)) < 0.5, 0.0, draw.normal(size=(rows, 1)))
    found = FeatureRows()
    found.add(
        {
            "floats": torch.tensor(np.hstack([normal, np.exp(lognormal), gaps]), dtype=torch.float32),
            "whole": torch.tensor(np.hstack([kinds, counts])),
        }
    )
    return found


MOVED = ("floats[0]", "floats[10]", "whole[0]", "whole[3]")


def kept(rows: FeatureRows) -> SetSketch:
    """The sketch, written and read."""
    plain = SetSketch(
        samples=rows.samples,
        features={name: sketch_of(values) for name, values in rows.features().items()},
        labels={},
        types=rows.types(),
    )
    again = SetSketch.from_json(json.loads(json.dumps(plain.to_json())))
    assert again is not None
    return again


def flagged(told: dict[str, Any]) -> list[str]:
    return [each["feature"] for each in told["worst"] if each["drifted"]]


def simulate(repeats: int, seed: int) -> None:
    print(
        "n_new | shift sd | clean flagged, sketch | shifted found, sketch | clean flagged, rows | shifted found, rows"
    )
    import plaster_ops.data.drift as drift

    drift._NAMED = FEATURES  # every feature is told, not the worst three
    for size in SIZES:
        for shift in SHIFTS:
            draw = np.random.default_rng([seed, size, int(100 * shift)])
            counts = np.zeros(4)
            for _ in range(repeats):
                then, now = drawn(draw, THEN, 0.0), drawn(draw, size, shift)
                ways: tuple[Callable[[], dict[str, Any]], ...] = (
                    lambda then=then, now=now: compare(kept(then), kept(now), now.features()),
                    lambda then=then, now=now: compare_rows(then.features(), now.features(), (THEN, now.samples)),
                )
                for way, ask in enumerate(ways):
                    found = flagged(ask())
                    hits = sum(name in MOVED for name in found)
                    counts[2 * way : 2 * way + 2] += (len(found) - hits, hits)
            clean = repeats * (FEATURES - SHIFTED)
            shares = counts / [clean, repeats * SHIFTED, clean, repeats * SHIFTED]
            if shift == 0:
                both = [(counts[i] + counts[i + 1]) / (repeats * FEATURES) for i in (0, 2)]
                print(f"{size} | 0 | {both[0]:.4f} | - | {both[1]:.4f} | -")
            else:
                print(f"{size} | {shift:g} | " + " | ".join(f"{share:.4f}" for share in shares))


def electricity(file: Path) -> None:
    """Months of 30 days one after the other, as the last retrain and this one."""
    with gzip.open(file, "rt") as text:
        rows = list(csv.DictReader(text))
    names = [name for name in rows[0] if name not in ("class", "period")]
    values = torch.tensor([[float(row[name]) for name in names] for row in rows])
    before: SetSketch | None = None
    print("\nmonth | drifted of 5 | worst")
    for month in range(len(values) // MONTH):
        now = FeatureRows()
        now.add({name: values[month * MONTH : (month + 1) * MONTH, k] for k, name in enumerate(names)})
        sketch = kept(now)
        if before is not None:
            told = compare(before, sketch, now.features())
            worst = ", ".join(f"{each['feature']} {each['distance']:.2f}" for each in told["worst"][:3])
            print(f"{month} | {told['drifted']} | {worst}")
        before = sketch


def cost(rows: int, width: int) -> None:
    draw = np.random.default_rng(1)
    batch = torch.tensor(draw.normal(size=(rows, width)), dtype=torch.float32)
    began = time.process_time()
    now = FeatureRows()
    for start in range(0, rows, 256):
        now.add({"in0": batch[start : start + 256]})
    sketch = kept(now)
    told = compare(sketch, sketch, now.features())
    took_s = time.process_time() - began
    size = len(json.dumps(sketch.to_json()))
    print(f"{rows} rows x {width} features: {took_s:.2f} s of CPU, {size / 1024:.0f} KiB kept, {told['tested']} tested")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--seed", type=int, default=20261128)
    parser.add_argument("--electricity", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    simulate(asked.repeats, asked.seed)
    print()
    for rows, width in ((221, 4), (1440, 5), (100_000, 5), (100_000, 256)):
        cost(rows, width)
    if asked.electricity:
        electricity(asked.electricity)


if __name__ == "__main__":
    main()

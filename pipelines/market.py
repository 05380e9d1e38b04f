"""Made-up days of an electricity market, a CSV file a day, for who has no real ones: see `pipelines.electricity`.

`python -m pipelines.market` lets 90 days land at first and then 7 at a time. On day 120 a second market joins.
"""

import argparse
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from pipelines.electricity import COLUMNS, FOLDER

_HALF_HOURS = 48
_FIRST_DAY = datetime(2020, 1, 1, tzinfo=UTC)
_JOINED_ON = 120  # the day from which a second market sets the price, too


def market(day: int) -> pd.DataFrame:
    """The 48 made-up rows of a day, the same each time."""
    half_hours = np.arange(2 * _HALF_HOURS)  # of the day before, too: the class looks back 24 hours
    days = day - 1 + half_hours // _HALF_HOURS
    draws = np.stack([np.random.default_rng(each + 1000).normal(size=(3, _HALF_HOURS)) for each in (day - 1, day)])
    noise = draws.transpose(1, 0, 2).reshape(3, -1)
    wave = np.cos(2 * math.pi * (half_hours / _HALF_HOURS - 0.1))
    demand = 0.5 - 0.2 * wave - 0.1 * (days % 7 > 4) + 0.04 * noise[0]
    theirs = np.where(days < _JOINED_ON, 0.4, 0.5 + 0.2 * np.roll(wave, 9) + 0.05 * noise[1])
    price = np.where(days < _JOINED_ON, demand, 0.3 * demand + 0.7 * theirs) ** 2 + 0.02 * noise[2]
    frame = pd.DataFrame(dict(zip(COLUMNS, (price, demand, theirs**2, theirs, theirs - demand), strict=True)))
    frame.insert(0, "time", [_FIRST_DAY + timedelta(days=day - 1, minutes=30 * int(row)) for row in half_hours])
    return frame.assign(**{"class": (price > frame["nswprice"].rolling(_HALF_HOURS).mean()).astype(int)})[_HALF_HOURS:]


def land(days: int) -> int:
    """Writes the next `days` days into the folder; returns how many are there then."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    there = len(list(FOLDER.glob("*.csv")))
    for day in range(there, there + days):
        file = FOLDER / f"{_FIRST_DAY + timedelta(days=day):%Y-%m-%d}.csv"
        draft = file.with_suffix(".part")
        market(day).to_csv(draft, index=False)
        draft.replace(file)
    return there + days


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, help="how many days arrive; 90 at first, then 7")
    asked = parser.parse_args().days or (7 if any(FOLDER.glob("*.csv")) else 90)
    print(f"{asked} days arrived, {land(asked)} in all")

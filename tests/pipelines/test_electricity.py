"""The reference pipeline of files that land: days of a market, the newest held out, a rule that changes on day 120."""

import importlib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from plaster_ops.data.batches import labelled_batches, rolling_loader
from plaster_ops.data.windows import open_window
from plaster_ops.domain.window import Window
from plaster_ops.ports import Pipeline


@pytest.fixture
def market(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The maker of days, landing them in this test's project."""
    monkeypatch.setenv("PLASTER_PROJECT", str(tmp_path))
    monkeypatch.setenv("ELECTRICITY_DATA", str(tmp_path / "arriving"))
    importlib.reload(importlib.import_module("pipelines.electricity"))
    return importlib.reload(importlib.import_module("pipelines.market"))


@pytest.fixture
def electricity(market: Any) -> Any:
    from dataclasses import replace

    from pipelines.electricity import Electricity

    market.land(30)
    made = Electricity()
    made.source = replace(made.source, settle_s=0.0)
    return made


def test_it_is_a_pipeline_whose_newest_day_is_held_out(electricity: Any) -> None:
    assert isinstance(electricity, Pipeline)
    window = open_window(electricity.source, seen=None, learned=None, needed=1).window
    data = electricity.data(window)
    data.setup("fit")
    assert (len(data.fit_rows), len(data.held_out)) == (29 * 48, 48)
    batches = list(labelled_batches(rolling_loader(data), electricity.sample_batch(2), electricity))
    assert sum(len(targets) for _, targets in batches) == 48
    assert batches[0][0].shape[1:] == electricity.sample_batch(3).shape[1:] == (14,)
    assert electricity.model()(batches[0][0]).shape == (48, 2)


def test_the_next_day_is_new_and_a_replay_draws_from_the_old_ones(electricity: Any, market: Any) -> None:
    first = open_window(electricity.source, seen=None, learned=None, needed=1).window
    market.land(1)
    arrival = open_window(electricity.source, seen=first.end, learned=first.cut, needed=1)
    assert arrival.fresh_samples == 48
    asked = Window(learned=first.cut, seen=first.end, cut=arrival.window.cut, end=arrival.window.end, replay_ratio=2.0)
    trained, old = electricity.source.train_rows(asked), electricity.source.train_rows(first)
    times = set(trained["time"].to_pylist())
    assert len(trained) == len(times) == 48 * 3
    assert len(times - set(old["time"].to_pylist())) == 48
    assert times.isdisjoint(electricity.source.held_out_rows(arrival.window)["time"].to_pylist())


def test_days_are_the_same_each_time_and_both_classes_are_there(market: Any) -> None:
    day = market.market(7)
    assert day.equals(market.market(7))
    assert (len(day), set(day["class"])) == (48, {0, 1})
    assert market.land(2) == 2
    assert market.land(3) == 5


def test_the_second_market_changes_what_the_price_follows(market: Any) -> None:
    def follows(days: range, column: str) -> float:
        rows = pd.concat([market.market(day) for day in days])
        return float(rows["nswprice"].corr(rows[column]))

    assert follows(range(60, 80), "nswdemand") > 0.9
    assert follows(range(130, 150), "nswdemand") < 0.5

"""A retrain works on what no champion has learned, and is skipped where nothing new arrived."""

import pytest

from plaster_ops.data.windows import open_window
from plaster_ops.domain.window import Window
from tests.data.doubles import CountedSource


def test_the_first_retrain_takes_everything_but_the_newest() -> None:
    found = open_window(CountedSource(10), seen=None, learned=None, needed=100)
    assert found.window == Window(learned=None, seen=None, cut=8, end=10)
    assert (found.new_samples, found.fresh_samples, found.skip) == (10, 10, "")
    assert found.arrived_at == 1_795_000_000.0


def test_a_held_run_loses_no_data() -> None:
    """seen 10 by a held run, learned 6 by the champion: the next window begins at 6, its trigger counts from 10."""
    found = open_window(CountedSource(14), seen=10, learned=6, needed=4)
    assert found.window == Window(learned=6, seen=10, cut=12, end=14)
    assert (found.new_samples, found.fresh_samples, found.skip) == (8, 4, "")


def test_nothing_new_is_a_skip_with_its_watermark() -> None:
    assert open_window(CountedSource(10), seen=10, learned=6, needed=1).skip == "nothing new arrived since 10"


@pytest.mark.parametrize(("needed", "skips"), [(3, True), (2, False)])
def test_too_little_new_is_a_skip(needed: int, skips: bool) -> None:
    found = open_window(CountedSource(12), seen=10, learned=6, needed=needed)
    assert bool(found.skip) is skips
    if skips:
        assert found.skip == "2 new samples since 10, fewer than min_new_samples = 3"


@pytest.mark.parametrize("arrived", [None, 0])
def test_a_source_into_which_nothing_came_yet_is_a_skip(arrived: int | None) -> None:
    assert open_window(CountedSource(arrived), seen=None, learned=None, needed=1).skip == "no data has arrived yet"


def test_a_pipeline_without_a_source_is_always_due() -> None:
    found = open_window(None, seen=10, learned=6, needed=1)
    assert found.skip == ""
    assert found.window == Window(learned=None, seen=None, cut=None, end=None)
    assert found.new_samples is None

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


def test_a_skip_names_the_files_that_did_not_count() -> None:
    class Told(CountedSource):
        def report(self, window: Window) -> dict[str, object]:
            assert window.end == 10
            aside = [{"state": "quarantined", "file": f"{n}.csv"} for n in range(6)]
            return {
                "files": {"quarantined": 7, "waiting": 1},
                "set_aside": [*aside, {"state": "waiting", "file": "late.csv"}],
            }

    found = open_window(Told(10), seen=10, learned=6, needed=1)
    assert found.skip == (
        "nothing new arrived since 10; files not taken: "
        "7 quarantined (0.csv, 1.csv, 2.csv, 3.csv, 4.csv and 2 more), 1 waiting (late.csv)"
    )
    assert found.report is not None


def test_the_window_carries_the_look_back() -> None:
    assert open_window(CountedSource(10), seen=None, learned=None, needed=1, lookback="9d").window.lookback == "9d"

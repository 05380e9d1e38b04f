"""A recorded set arrives again, piece by piece, and remembers how far it came."""

from pathlib import Path

import pytest

from plaster_ops.data.replay import ReplaySource
from plaster_ops.errors import DataError
from plaster_ops.ports import Source
from tests.conftest import SteppedClock


def source(folder: Path, **changed: object) -> ReplaySource:
    given: dict[str, object] = {"name": "set", "pieces": [10, 20, 35], "holdout": 4, "project": folder}
    return ReplaySource(**{**given, **changed})  # type: ignore[arg-type]


def test_it_is_a_source(tmp_path: Path) -> None:
    typed: Source = source(tmp_path)
    assert typed.newest() == 10


def test_looking_does_not_let_anything_arrive(tmp_path: Path) -> None:
    there = source(tmp_path, initial=2)
    assert [there.newest() for _ in range(3)] == [20] * 3
    assert there.arrived_at(20) is None
    assert list(tmp_path.iterdir()) == []


def test_a_piece_that_arrived_is_there_for_the_next_process(tmp_path: Path) -> None:
    assert source(tmp_path).advance() == (10, 20)
    again = source(tmp_path)
    assert again.newest() == 20
    at = again.arrived_at(20)
    assert at is not None
    assert at > 1_700_000_000
    assert again.arrived_at(10) is None


def test_several_pieces_arrive_at_once_and_the_set_ends(tmp_path: Path) -> None:
    there = source(tmp_path)
    assert there.advance(5) == (10, 35)
    assert there.advance() == (35, 35)


def test_the_newest_rows_are_held_out_but_learned_ones_are_not_unlearned(tmp_path: Path) -> None:
    there = source(tmp_path)
    assert there.cut(None, 20) == 16
    assert there.cut(18, 20) == 18
    assert there.cut(None, None) == 0
    assert there.count(10, 20) == 10
    assert there.count(20, 10) == 0
    assert there.count(None, None) == 0


def test_the_project_is_found_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLASTER_PROJECT", str(tmp_path))
    source(tmp_path, project=None).advance()
    assert source(tmp_path).newest() == 20


@pytest.mark.parametrize(
    "changed", [{"pieces": []}, {"pieces": [5, 5]}, {"pieces": [5, 4]}, {"initial": 0}, {"initial": 4}]
)
def test_what_is_no_order_of_arrival_is_refused(tmp_path: Path, changed: dict[str, object]) -> None:
    with pytest.raises(DataError, match="no order of arrival"):
        source(tmp_path, **changed)


@pytest.mark.parametrize("text", ["", "[]", '{"arrived": 5}', '{"arrived": "many", "at": 1}'])
def test_a_spoilt_state_file_is_named_with_the_way_out(tmp_path: Path, text: str) -> None:
    file = tmp_path / "mlruns" / "replay" / "set.json"
    file.parent.mkdir(parents=True)
    file.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        source(tmp_path).newest()
    assert str(file) in caught.value.message
    assert "remove it" in caught.value.next_step


def test_rows_are_dated_by_their_arrival_but_for_those_of_the_beginning(tmp_path: Path) -> None:
    there = source(tmp_path)
    assert there.times(None, 35) == []
    there.advance()
    there.advance()
    (first, ten), (second, fifteen) = there.times(None, 35)
    assert (ten, fifteen) == (10, 15)
    assert first <= second == there.arrived_at(35)
    assert there.times(10, 35) == [(first, 10), (second, 15)]
    assert there.times(15, 30) == [(first, 5), (second, 10)]
    assert there.times(None, 10) == there.times(35, 35) == []


def test_a_state_that_kept_no_arrivals_begins_to_keep_them(tmp_path: Path) -> None:
    file = tmp_path / "mlruns" / "replay" / "set.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"arrived": 20, "at": 5.0}')
    there = source(tmp_path)
    assert there.times(None, 20) == []
    there.advance()
    assert [count for _, count in there.times(None, 35)] == [15]


def ticking(folder: Path, clock: SteppedClock, **changed: object) -> ReplaySource:
    return source(folder, pieces=[10, 20, 35, 50], every_s=3600.0, now=clock.now_utc, **changed)


def test_by_the_clock_a_piece_arrives_each_period_since_somebody_first_looked(
    tmp_path: Path, clock: SteppedClock
) -> None:
    began = clock.epoch
    assert ticking(tmp_path, clock).newest() == 10
    assert ticking(tmp_path, clock).arrived_at(10) is None
    clock.step(3599)
    assert ticking(tmp_path, clock).newest() == 10
    clock.step(3601)
    there = ticking(tmp_path, clock)
    assert there.newest() == 35
    assert there.arrived_at(35) == began + 7200
    assert there.times(None, 35) == [(began + 3600, 10), (began + 7200, 15)]
    clock.step(10 * 3600)
    assert ticking(tmp_path, clock).newest() == 50


def test_a_day_passes_in_a_minute_where_a_trial_asks_for_it(tmp_path: Path, clock: SteppedClock) -> None:
    quick = {"speed": 1440.0, "started": clock.epoch}
    assert ticking(tmp_path, clock, **quick).newest() == 10
    clock.step(2.5)
    assert ticking(tmp_path, clock, **quick).newest() == 20
    clock.step(2.5)
    assert ticking(tmp_path, clock, **quick).newest() == 35
    assert list(tmp_path.iterdir()) == [], "a beginning that is given needs no file"


def test_by_hand_a_piece_comes_before_its_time_and_not_twice(tmp_path: Path, clock: SteppedClock) -> None:
    began = clock.epoch
    assert ticking(tmp_path, clock).newest() == 10
    clock.step(60)
    assert ticking(tmp_path, clock).advance() == (10, 20)
    clock.step(3600)
    assert ticking(tmp_path, clock).newest() == 20
    assert ticking(tmp_path, clock).arrived_at(20) == began + 60
    clock.step(3600)
    there = ticking(tmp_path, clock)
    assert (there.newest(), there.arrived_at(35)) == (35, began + 7200)
    assert there.times(None, 35) == [(began + 60, 10), (began + 7200, 15)]


def test_a_replay_by_hand_goes_on_by_the_clock_from_where_it_was(tmp_path: Path, clock: SteppedClock) -> None:
    file = tmp_path / "mlruns" / "replay" / "set.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"arrived": 20, "at": 5.0}')
    assert ticking(tmp_path, clock).newest() == 20
    clock.step(2 * 3600)
    assert ticking(tmp_path, clock).newest() == 35
    assert source(tmp_path).newest() == 20, "without a clock it is what was let in by hand"


@pytest.mark.parametrize("changed", [{"every_s": 0.0}, {"every_s": 60.0, "speed": -1.0}])
def test_a_clock_that_cannot_run_is_refused(tmp_path: Path, changed: dict[str, object]) -> None:
    with pytest.raises(DataError, match="every_s"):
        source(tmp_path, **changed)

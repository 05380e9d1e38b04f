"""A frontier loses no late row, holds out nothing that was learned, and is read back as it was written."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plaster_ops.domain.durations import Lookback, duration_us, parse_lookback
from plaster_ops.domain.frontier import Frontier, cut_at, is_held_out, is_new, parse_frontier
from plaster_ops.domain.window import Window

TIMES = st.integers(-(10**15), 10**15)
FRONTIERS = st.builds(Frontier, position=st.integers(0, 10**9), at_us=TIMES, dated=st.booleans())


@given(FRONTIERS)
def test_a_frontier_is_read_back_as_it_was_written(frontier: Frontier) -> None:
    assert parse_frontier(frontier.to_text()) == frontier


@pytest.mark.parametrize(
    ("frontier", "text"),
    [
        (Frontier(position=4320, at_us=893_980_800_000_000), "4320@1998-05-01T00:00:00+00:00"),
        (Frontier(position=7, at_us=17_500_000, dated=False), "7@17.5"),
        (Frontier(position=0, at_us=-250_000, dated=False), "0@-0.25"),
    ],
)
def test_its_text_is_a_position_and_a_time(frontier: Frontier, text: str) -> None:
    assert frontier.to_text() == text


@pytest.mark.parametrize("text", ["", "10", "1998-05-01", "x@3", "3@", "3@soon", "-1@5"])
def test_other_text_is_no_frontier(text: str) -> None:
    with pytest.raises(ValueError):
        parse_frontier(text)


@given(
    arrivals=st.lists(st.lists(st.integers(0, 50), max_size=6), min_size=1, max_size=8),
    holdout=st.integers(1, 20),
    promoted=st.lists(st.booleans(), min_size=8, max_size=8),
)
def test_along_any_chain_of_champions_every_row_is_new_once_and_never_held_out_after(
    arrivals: list[list[int]], holdout: int, promoted: list[bool]
) -> None:
    """Rows arrive in batches with any times; after each a retrain, promoted or held. At the end time moves on."""
    rows: list[tuple[int, int]] = []
    learned: Frontier | None = None
    floor: int | None = None
    learnt: list[tuple[int, int]] = []
    cuts: list[int] = []
    for batch, is_promoted in [*zip(arrivals, promoted, strict=False), ([1000], True)]:
        rows += [(len(rows) + number, at) for number, at in enumerate(batch, 1)]
        if not rows:
            continue
        end = Frontier(position=len(rows), at_us=max(at for _, at in rows), dated=False)
        cut = cut_at(end.at_us - holdout, learned=learned, end=end, floor_us=floor)
        floor = cut.at_us
        cuts.append(cut.at_us)
        held = [row for row in rows if is_held_out(*row, cut, end)]
        new = [row for row in rows if is_new(*row, learned, cut)]
        assert not set(held) & {*new, *learnt}
        assert set(held) | {row for row in rows if cut.holds(*row)} == set(rows)
        if is_promoted:
            learnt += new
            learned = cut
    assert all(before <= after for before, after in pairwise(cuts))
    assert sorted(learnt) == sorted(row for row in rows if row[1] < 1000)


def test_a_rollback_does_not_hold_out_what_the_champion_before_had_learned() -> None:
    """The floor is the latest of all cuts, not the champion's: the one that was rolled back had learned up to 9."""
    older, end = Frontier(position=3, at_us=2), Frontier(position=10, at_us=10)
    assert cut_at(5, learned=older, end=end, floor_us=9).at_us == 9
    assert cut_at(5, learned=older, end=end, floor_us=None).at_us == 5
    assert cut_at(1, learned=older, end=end, floor_us=None).at_us == 2
    assert cut_at(5, learned=older, end=end, floor_us=99).at_us == 10


@pytest.mark.parametrize(
    ("text", "seconds"), [("30m", 1800), ("36h", 129_600), ("7d", 604_800), ("1.5 d", 129_600), ("2w", 1_209_600)]
)
def test_durations_have_units(text: str, seconds: float) -> None:
    assert duration_us(text) == seconds * 1_000_000


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "7 days", "last 5", "1e3s"])
def test_a_duration_without_a_unit_is_refused_by_its_text(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        duration_us(text)


def test_a_lookback_is_everything_an_age_or_a_number_of_rows() -> None:
    assert parse_lookback("all") == Lookback()
    assert parse_lookback("90d") == Lookback(age_us=90 * 86_400_000_000)
    assert parse_lookback("last 50000") == Lookback(rows=50_000)
    for text in ("last", "last 0", "last -3", "everything", "90"):
        with pytest.raises(ValueError, match="none of 'all'"):
            parse_lookback(text)


def test_a_window_of_an_earlier_release_is_read_and_a_usual_one_is_written_as_before() -> None:
    old = {"learned": 1, "seen": 2, "cut": 3, "end": 4}
    assert Window.from_json(old).to_json() == old
    new = Window(learned=None, seen=None, cut=3, end=4, lookback="9d", replay_ratio=0.5)
    assert Window.from_json(new.to_json()) == new

"""The timed loop and the order of turns."""

import gc

from plaster_ops.plaster.timing import interleave, no_garbage_collection, process_cpu_s, time_queries
from tests.plaster.doubles import HandClock, KnownEngine


def labels_of(count: str, rounds: int) -> str:
    return "".join(turn.label for number in range(rounds) for turn in interleave(list(count), number))


def test_two_engines_take_turns_a_b_b_a() -> None:
    assert labels_of("AB", 2) == "ABBAABBA"


def test_three_engines_take_turns_a_b_c_c_b_a() -> None:
    assert labels_of("ABC", 1) == "ABCCBA"
    assert labels_of("A", 2) == "AAAA"


def test_equal_indices_are_as_many_turns_from_the_middle_of_their_round() -> None:
    turns = [turn for number in range(3) for turn in interleave(["A", "B", "C"], number)]
    assert [turn.position for turn in turns] == list(range(18))
    for label in "ABC":
        assert [turn.index for turn in turns if turn.label == label] == [0, 1, 2, 3, 4, 5]
    mean_position = {label: sum(turn.position for turn in turns if turn.label == label) / 6 for label in "ABC"}
    assert set(mean_position.values()) == {8.5}


def test_the_loop_times_each_query_and_nothing_else() -> None:
    clock = HandClock()
    engine = KnownEngine(clock, lambda _batch, call: 1000 * call)
    queries = [([number],) for number in range(3)]
    timed = time_queries(
        engine.run, queries, first=1, count=4, limit_ns=10**9, clock_ns=clock, cpu_s=clock.cpu_s, settle=1
    )
    assert timed.latencies_ns == [2000, 3000, 4000, 5000]
    assert timed.window_ns == 14_000
    assert timed.start_ns == 1000
    assert [number for (number,) in engine.seen] == [0, 1, 2, 0, 1]
    assert timed.cpu_s == 14_000e-9


def test_a_block_ends_early_at_its_limit() -> None:
    clock = HandClock()
    engine = KnownEngine(clock, lambda _batch, _call: 100)
    timed = time_queries(engine.run, [([0],)], first=0, count=50, limit_ns=250, clock_ns=clock, cpu_s=clock.cpu_s)
    assert len(timed.latencies_ns) == 3


def test_the_garbage_collector_is_off_inside_and_on_again_after_an_error() -> None:
    assert gc.isenabled()
    try:
        with no_garbage_collection():
            assert not gc.isenabled()
            raise KeyError("anything")
    except KeyError:
        pass
    assert gc.isenabled()


def test_cpu_seconds_of_this_process_only_rise() -> None:
    before = process_cpu_s()
    sum(range(200_000))
    assert process_cpu_s() > before

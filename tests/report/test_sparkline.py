"""Twenty numbers in a line."""

from plaster_ops.report.sparkline import can_show, sparkline


def test_the_smallest_is_lowest_and_the_largest_highest() -> None:
    assert sparkline([1.0, 1.5, 2.0]) == "▁▅█"


def test_without_unicode_the_signs_are_ascii() -> None:
    line = sparkline([1.0, 1.5, 2.0], unicode=False)
    assert line.isascii()
    assert (line[0], line[-1], len(line)) == ("_", "#", 3)


def test_only_the_newest_twenty_are_drawn() -> None:
    assert sparkline([100.0, *([1.0] * 10), *([2.0] * 10)]) == "▁" * 10 + "█" * 10


def test_what_was_not_measured_is_a_gap_and_no_zero() -> None:
    assert sparkline([1.0, None, float("nan"), float("inf"), 2.0]) == "▁   █"
    assert sparkline([None]) == sparkline([]) == ""


def test_a_constant_stands_in_the_middle() -> None:
    assert sparkline([3.0, 3.0]) == "▅▅"


def test_an_ascii_stream_cannot_show_it() -> None:
    assert can_show("utf-8")
    assert not can_show("ascii")
    assert not can_show(None)
    assert not can_show("no such encoding")

"""Crontab lines in the words that every cron knows."""

import pytest

from scheduler.install.lines import listed, read_line


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("0 2 * * MON-FRI", "0 2 * * 1-5"),
        ("0 2 * jan,Jul sun", "0 2 * 1,7 0"),
        ("*/7 1-5/2 * * 7", "*/7 1-5/2 * * 7"),
    ],
)
def test_names_become_numbers(written: str, text: str) -> None:
    assert read_line(written).text == text


def test_sunday_is_zero_however_it_is_written() -> None:
    assert read_line("0 0 * * 7").weekdays == read_line("0 0 * * sun").weekdays == {0}


def test_either_day_is_enough_unless_one_begins_with_a_star() -> None:
    assert read_line("0 0 1 * 1").is_either_day
    assert not read_line("0 0 */2 * 1").is_either_day


def test_numbers_are_a_star_a_step_or_a_list() -> None:
    assert listed(set(range(60)), 60) == "*"
    assert listed({0, 15, 30, 45}, 60) == "*/15"
    assert listed({5, 35}, 60) == "5,35"
    assert listed({0, 30}, 60) == "0,30"

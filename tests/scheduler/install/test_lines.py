"""Crontab lines in the words that every cron knows."""

import pytest

from scheduler.install.lines import listed, read_line


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("0 2 * * MON-FRI", "0 2 * * 1-5"),
        ("0 2 * jan,Jul sun", "0 2 * 1,7 0"),
        ("5/15 2 * * *", "5-59/15 2 * * *"),
        ("*/7 1-5/2 * * 7", "*/7 1-5/2 * * 7"),
        ("0 0 1/10 * *", "0 0 1-31/10 * *"),
    ],
)
def test_names_and_open_steps_become_numbers(written: str, text: str) -> None:
    line = read_line(written)
    assert line.text == text
    assert line.is_whole


@pytest.mark.parametrize("written", ["0 2 L * *", "0 2 LW * *", "0 2 * * 5L", "0 2 * * MON#2", "0 2 1,L * 3"])
def test_days_that_crontabs_have_no_word_for_are_every_day(written: str) -> None:
    line = read_line(written)
    assert (line.text, line.is_whole) == ("0 2 * * *", False)
    assert len(line.days) == 31
    assert len(line.weekdays) == 7


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

"""Spans and instants as a person reads them."""

from datetime import UTC, datetime

import pytest

from plaster_ops.domain.schedule import Cadence
from scheduler.cadence_words import cadence_words
from scheduler.spans import ago, local_text, short_text, show_span

NOW_S = datetime(2026, 11, 27, 12, 40, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (60.0, "1 min"),
        (61.0, "1 min 1 s"),
        (599.0, "9 min 59 s"),
        (629.0, "10 min"),
        (3600.0, "1 h"),
        (3725.0, "1 h 2 min"),
        (86_400.0, "1 d"),
        (90_061.0, "1 d 1 h"),
        (-125.0, "2 min 5 s"),
    ],
)
def test_a_span_has_two_parts_at_most(seconds: float, text: str) -> None:
    assert show_span(seconds) == text


def test_instants_are_told_from_now() -> None:
    assert ago(NOW_S - 90.0, NOW_S) == "1 min 30 s ago"
    assert ago(NOW_S + 3600.0, NOW_S) == "in 1 h"
    assert ago(NOW_S + 0.2, NOW_S) == "now"


@pytest.mark.parametrize(
    ("hours", "text"),
    [(1.0, "14:40 CET"), (12.0, "Sat 01:40 CET"), (-24.0, "Thu 13:40 CET"), (24 * 7.0, "2026-12-04 13:40 CET")],
)
def test_a_short_instant_leaves_out_what_is_known(hours: float, text: str) -> None:
    assert short_text(NOW_S + 3600 * hours, "Europe/Paris", NOW_S) == text


def test_a_long_instant_names_day_and_zone() -> None:
    assert local_text(NOW_S, "America/New_York") == "Fri 2026-11-27 07:40:00 EST"


@pytest.mark.parametrize(
    ("cadence", "words"),
    [
        (Cadence(cron="@daily"), "at 00:00 every day (UTC)"),
        (Cadence(cron="0 9 * * 1-5", timezone="Europe/Paris"), "at 09:00 on Monday through Friday (Europe/Paris)"),
        (Cadence(cron="30 */4 * * mon-wed"), "at minute 30 past every fourth hour on Monday through Wednesday (UTC)"),
        (Cadence(every_s=5400.0), "every 1 h 30 min"),
        (None, "by hand"),
    ],
)
def test_a_cadence_is_a_sentence(cadence: Cadence | None, words: str) -> None:
    assert cadence_words(cadence) == words

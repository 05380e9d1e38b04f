"""When a retrain is due: held against croniter, against every minute of the calendar, and against crontab(5)."""

import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter

from plaster_ops.domain.schedule import MACROS, Cadence, in_numbers, iso
from tests.domain.cron_lines import Matcher, line

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def at(text: str) -> float:
    """Seconds of an instant of UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def told(cadence: Cadence, after: str, count: int) -> list[str]:
    """The next slots as local times with their offset, to the minute."""
    zone = ZoneInfo(cadence.timezone)
    found = (datetime.fromtimestamp(slot_s, zone) for slot_s in islice(cadence.after(at(after)), count))
    return [slot.isoformat(timespec="minutes") for slot in found]


def drawn(draw: random.Random, count: int) -> Iterator[tuple[str, Cadence]]:
    """Random lines that are due at all."""
    while count:
        text = line(draw)
        if Matcher(text).is_ever_due:
            yield text, Cadence(cron=text)
            count -= 1


# ---- against another implementation --------------------------------------------------------------------------------
def test_ten_thousand_next_times_are_those_of_croniter() -> None:
    """In UTC. croniter is told to take a day field that begins with a star as cron does: both fields must then match.

    Left out are lines with a range of one (`5-5`): croniter takes it for all there are, cron for the one.
    """
    draw, compared = random.Random(20261128), 0
    for text, cadence in drawn(draw, 2_900):
        if any(_is_one(term) for field in text.split() for term in field.split(",")):
            continue
        after_s = at("2024-01-01") + draw.randrange(10 * 365 * 86_400)
        other = croniter(text, after_s, ret_type=float, implement_cron_bug=True, max_years_between_matches=60)
        expected = [other.get_next() for _ in range(4)]
        assert list(islice(cadence.after(after_s), 4)) == expected, text
        compared += 4
    assert compared >= 10_000


def _is_one(term: str) -> bool:
    first, _, last = term.partition("/")[0].lower().partition("-")
    return first == last


def test_a_range_of_one_is_that_one() -> None:
    """cronsim alone makes of `5-5/20` what it makes of `5-59/20`."""
    assert told(Cadence(cron="5-5 * * * *"), "2026-01-01", 2) == ["2026-01-01T00:05+00:00", "2026-01-01T01:05+00:00"]
    assert told(Cadence(cron="5-5/20 * * * *"), "2026-01-01", 2) == ["2026-01-01T00:05+00:00", "2026-01-01T01:05+00:00"]
    assert told(Cadence(cron="5-59/20 * * * *"), "2026-01-01", 2) == [
        "2026-01-01T00:05+00:00",
        "2026-01-01T00:25+00:00",
    ]


def test_random_lines_are_due_at_just_the_minutes_that_match_them() -> None:
    draw = random.Random(1)
    for text, cadence in drawn(draw, 40):
        after = EPOCH + timedelta(days=draw.randrange(20_000, 22_000), seconds=draw.randrange(86_400))
        upto = after + timedelta(days=3)
        found = list(_until(cadence, after, upto))
        assert found == Matcher(text).slots(ZoneInfo("UTC"), after, upto), text


def _until(cadence: Cadence, after: datetime, upto: datetime) -> Iterator[float]:
    for slot_s in cadence.after(after.timestamp()):
        if slot_s > upto.timestamp():
            return
        yield slot_s


# ---- summer time ---------------------------------------------------------------------------------------------------
CHANGES = {
    "Europe/Berlin": ("2026-03-29T01:00", "2026-10-25T01:00"),
    "America/New_York": ("2026-03-08T07:00", "2026-11-01T06:00"),
    "Australia/Lord_Howe": ("2026-10-03T15:30", "2026-04-04T15:00"),
}


@pytest.mark.parametrize("zone", CHANGES)
def test_around_the_changes_of_a_zone_lines_are_due_by_the_stated_policy(zone: str) -> None:
    """Lines at the hours that change, some with stars there, asked from instants before, between and after."""
    draw = random.Random(zone)
    for change in CHANGES[zone]:
        middle = datetime.fromisoformat(change).replace(tzinfo=UTC)
        for _ in range(25):
            minute = draw.choice(("*/10", "0", "15,30", "20-40/5", str(draw.randrange(60)), "*"))
            hour = draw.choice(("*", "*/2", "0-23", "1,2,3", "2", "2-3", "1"))
            cadence = Cadence(cron=f"{minute} {hour} * * *", timezone=zone)
            after = middle + timedelta(minutes=draw.choice((-1500, -61, -31, -30, -1, 0, 1, 15, 29, 30, 45, 61)))
            upto = middle + timedelta(hours=30)
            expected = Matcher(str(cadence.cron)).slots(ZoneInfo(zone), after, upto)
            assert list(_until(cadence, after, upto)) == expected, (cadence.cron, iso(after.timestamp(), zone))


@pytest.mark.parametrize(
    ("zone", "cron", "after", "slots"),
    [
        ("Europe/Berlin", "30 2 * * *", "2026-03-28T12:00", ["03-29T03:00+02:00", "03-30T02:30+02:00"]),
        ("Europe/Berlin", "30 2 * * *", "2026-10-24T12:00", ["10-25T02:30+02:00", "10-26T02:30+01:00"]),
        ("Europe/Berlin", "0,30 2 * * *", "2026-03-28T12:00", ["03-29T03:00+02:00", "03-30T02:00+02:00"]),
        ("Europe/Berlin", "30 * * * *", "2026-03-29T00:00", ["03-29T01:30+01:00", "03-29T03:30+02:00"]),
        ("Europe/Berlin", "30 * * * *", "2026-10-25T00:00", ["10-25T02:30+02:00", "10-25T02:30+01:00"]),
        ("Europe/Berlin", "30 * * * *", "2026-10-25T00:31", ["10-25T02:30+01:00"]),
        ("America/New_York", "15 2 * * *", "2026-03-08T05:00", ["03-08T03:00-04:00", "03-09T02:15-04:00"]),
        ("Australia/Lord_Howe", "15,45 2 * * *", "2026-10-03T13:00", ["10-04T02:30+11:00", "10-04T02:45+11:00"]),
        ("Australia/Lord_Howe", "*/10 2 * * *", "2026-04-04T13:00", ["04-05T02:00+10:30", "04-05T02:10+10:30"]),
        ("Australia/Lord_Howe", "45 1 * * *", "2026-04-04T13:00", ["04-05T01:45+11:00", "04-06T01:45+10:30"]),
    ],
)
def test_a_time_that_is_not_there_or_comes_twice(zone: str, cron: str, after: str, slots: list[str]) -> None:
    """By hand. cronsim alone passes over 02:00 to 02:20 of Lord Howe's half hour that comes twice."""
    assert told(Cadence(cron=cron, timezone=zone), after, len(slots)) == [f"2026-{slot}" for slot in slots]


def test_a_day_that_a_zone_passed_over_is_due_when_the_next_one_begins() -> None:
    """Samoa had no 30 December 2011."""
    cadence = Cadence(cron="0 12 30 12 *", timezone="Pacific/Apia")
    assert told(cadence, "2011-12-01", 2) == ["2011-12-31T00:00+14:00", "2012-12-30T12:00+14:00"]


# ---- what a line means ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("cron", "slots"),
    [
        ("0 0 13 * 5", ["2026-02-06", "2026-02-13", "2026-02-20", "2026-02-27", "2026-03-06", "2026-03-13"]),
        ("0 0 */13 * 5", ["2026-02-27", "2026-03-27", "2026-05-01"]),
        ("0 0 13 * */5", ["2026-02-13", "2026-03-13", "2026-09-13"]),
        ("0 0 * * 0", ["2026-02-08", "2026-02-15"]),
        ("0 0 * * 7", ["2026-02-08", "2026-02-15"]),
        ("0 0 * * sun", ["2026-02-08", "2026-02-15"]),
        ("0 0 * * 5-7", ["2026-02-06", "2026-02-07", "2026-02-08", "2026-02-13"]),
        ("0 0 * * 1-7/2", ["2026-02-04", "2026-02-06", "2026-02-08", "2026-02-09"]),
        ("0 0 1 JAN,jun *", ["2026-06-01", "2027-01-01"]),
        ("0 0 29 2 *", ["2028-02-29", "2032-02-29"]),
        ("@weekly", ["2026-02-08"]),
        ("@MONTHLY", ["2026-03-01"]),
        ("@yearly", ["2027-01-01"]),
        ("@annually", ["2027-01-01"]),
        ("@daily", ["2026-02-04", "2026-02-05"]),
        ("@midnight", ["2026-02-04", "2026-02-05"]),
    ],
)
def test_days_are_those_of_crontab_5(cron: str, slots: list[str]) -> None:
    found = islice(Cadence(cron=cron).after(at("2026-02-03T12:00")), len(slots))
    assert [iso(slot_s)[:10] for slot_s in found] == slots


def test_hourly_is_every_hour() -> None:
    assert [b - a for a, b in pairwise(islice(Cadence(cron="@hourly").after(at("2026-02-03")), 5))] == [3600.0] * 4
    assert set(MACROS) == {"@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually"}


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("0 0 L * *", "'l' is no day of the month"),
        ("0 0 LW * *", "'lw' is no day of the month"),
        ("0 0 15W * *", "'15w' is no day of the month"),
        ("0 0 ? * 1", "'?' is no day of the month"),
        ("0 0 * * 5L", "'5l' is no weekday"),
        ("0 0 * * 1#2", "'1#2' is no weekday"),
        ("0 0 * * mon#1", "'mon#1' is no weekday"),
        ("0 0 * * 8", "'8' is no weekday"),
        ("0 0 * * fri-mon", "'fri-mon' is no weekday"),
        ("0 0 * * sat-sun", "'sat-sun' is no weekday"),
        ("60 * * * *", "'60' is no minute"),
        ("*/0 * * * *", "'*/0' is no minute"),
        ("5/20 * * * *", "'5/20' is no minute: a step follows a star or a range"),
        ("* * * * 1,MON/2", "'1,mon/2' is no weekday: a step follows a star or a range"),
        ("10-5 * * * *", "'10-5' is no minute"),
        ("0 0 * january *", "'january' is no month"),
        ("*-5 * * * *", "'*-5' is no minute"),
        ("1,,2 * * * *", "'1,,2' is no minute"),
        ("-1 * * * *", "'-1' is no minute"),
        ("1.5 * * * *", "'1.5' is no minute"),
        ("¹ * * * *", "is no minute"),
        ("* 24 * * *", "'24' is no hour"),
        ("* * 0 * *", "'0' is no day of the month"),
        ("* * * 13 *", "'13' is no month"),
        ("* * * mon *", "'mon' is no month"),
        ("0 0 0 * * *", "five fields"),
        ("* * * *", "five fields"),
        ("", "five fields"),
        ("@reboot", "five fields"),
        ("@every 5m", "five fields"),
        ("0 0 31 2 *", "is never due"),
        ("0 0 30 2 */2", "is never due"),
        ("0 0 31 4,6,9,11 *", "is never due"),
    ],
)
def test_what_cron_does_not_know_is_refused_in_words(cron: str, words: str) -> None:
    """As `crontab -n` of Debian's 3.0pl1 refuses it; but that takes, and never runs, days that do not come and ranges
    that end before they begin, and of `1#2` it reads the 1."""
    with pytest.raises(ValueError, match=r"crontab line|never due") as caught:
        Cadence(cron=cron)
    assert words in str(caught.value)


def test_a_line_in_numbers_is_the_same_line() -> None:
    assert in_numbers("*/5 9-17/2,20 1,15 jan-MAR mon-FRI") == "*/5 9-17/2,20 1,15 1-3 1-5"
    assert Cadence(cron="  0  3 *\t* mon ").line == "0 3 * * mon"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "either cron or every"),
        ({"cron": "@daily", "every_s": 60.0}, "either cron or every"),
        ({"cron": "@daily", "timezone": "Europe/Atlantis"}, "'Europe/Atlantis' is no time zone"),
        ({"cron": "@daily", "timezone": "../etc/passwd"}, "is no time zone"),
        ({"every_s": 0.5}, "at least one second"),
        ({"every_s": 90.5}, "whole seconds"),
        ({"every_s": 60.0, "start_s": 2.0, "end_s": 1.0}, "before it starts"),
    ],
)
def test_a_cadence_that_is_none_is_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Cadence(**given)  # type: ignore[arg-type]


# ---- start, end, intervals, jitter ---------------------------------------------------------------------------------
@pytest.mark.parametrize("start_s", [at("2026-01-05"), at("2026-01-05") - 0.5])
def test_start_and_end_are_slots_themselves(start_s: float) -> None:
    cadence = Cadence(cron="@daily", start_s=start_s, end_s=at("2026-01-07"))
    assert [iso(slot_s)[:10] for slot_s in cadence.after(0.0)] == ["2026-01-05", "2026-01-06", "2026-01-07"]
    assert cadence.next_after(at("2026-01-07") - 1) == at("2026-01-07")
    assert cadence.next_after(at("2026-01-07")) is None
    assert Cadence(cron="@daily", start_s=at("2026-01-05") + 0.5).next_after(0.0) == at("2026-01-06")


def test_an_interval_counts_from_its_start_else_from_1970() -> None:
    assert list(islice(Cadence(every_s=7.0).after(15.0), 3)) == [21.0, 28.0, 35.0]
    assert list(islice(Cadence(every_s=7.0).after(14.0), 1)) == [21.0]
    anchored = Cadence(every_s=3600.0, start_s=1000.0, end_s=8200.0)
    assert list(anchored.after(-1e9)) == [1000.0, 4600.0, 8200.0]
    assert list(anchored.after(4600.0)) == [8200.0]


def test_an_interval_never_stumbles_over_its_own_arithmetic() -> None:
    draw = random.Random(4)
    for _ in range(300):
        every_s, start_s = float(draw.randrange(1, 10**6)), draw.uniform(0, 2e9)
        cadence = Cadence(every_s=every_s, start_s=start_s)
        after_s = start_s + draw.randrange(10**5) * every_s
        after_s = draw.choice((after_s, math.nextafter(after_s, 0), math.nextafter(after_s, 1e12)))
        found = list(islice(cadence.after(after_s), 3))
        assert after_s < found[0] <= after_s + every_s * 1.000001 or after_s < start_s == found[0]
        assert [b - a for a, b in pairwise(found)] == pytest.approx([every_s] * 2, abs=1e-5)


def test_slots_asked_for_one_by_one_are_those_asked_for_at_once() -> None:
    draw = random.Random(9)
    for text, cadence in drawn(draw, 60):
        zoned = Cadence(cron=text, timezone=draw.choice(list(CHANGES)))
        after_s = at("2026-01-01") + draw.random() * 3e7
        at_once = list(islice(zoned.after(after_s), 5))
        one_by_one = [after_s]
        for _ in at_once:
            one_by_one.append(zoned.next_after(one_by_one[-1]) or 0.0)
        assert one_by_one[1:] == at_once, (text, cadence)


def test_jitter_is_the_same_each_time_within_its_bound_and_spread() -> None:
    cadence = Cadence(cron="@hourly", jitter_s=600.0)
    slots = list(islice(cadence.after(at("2026-01-01")), 1000))
    late_s = [cadence.due_s("digits", slot_s) - slot_s for slot_s in slots]
    assert late_s == [Cadence(cron="@hourly", jitter_s=600.0).due_s("digits", slot_s) - slot_s for slot_s in slots]
    assert all(0 <= each < 600 for each in late_s)
    assert [sum(low <= each < low + 100 for each in late_s) for low in range(0, 600, 100)] == pytest.approx(
        [167] * 6, rel=0.3
    )
    others = [cadence.due_s("other", slot_s) - slot_s for slot_s in slots]
    assert sum(abs(a - b) < 10 for a, b in zip(late_s, others, strict=True)) < 100
    assert Cadence(cron="@hourly").due_s("digits", slots[0]) == slots[0]

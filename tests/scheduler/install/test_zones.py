"""Whose clocks agree, and when they are set."""

from pathlib import Path
from zoneinfo import TZPATH, ZoneInfo

import pytest

from scheduler.install.zones import changes, differences_min, machine_zone, utc
from tests.scheduler.install.samples import NOW_S


def test_the_machines_zone_is_that_of_localtime_and_not_the_shells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = next((path for path in TZPATH if Path(path, "Europe/Paris").exists()), None)
    if folder is None:
        pytest.skip("this machine has no zone files")
    monkeypatch.setenv("TZ", "America/New_York")
    link = tmp_path / "localtime"
    link.symlink_to(f"{folder}/Europe/Paris")
    zone, name = machine_zone(link)
    assert name == "Europe/Paris"
    assert differences_min(zone, ZoneInfo("Europe/Paris"), NOW_S) == {0}


def test_a_machine_without_a_zone_goes_by_utc(tmp_path: Path) -> None:
    zone, name = machine_zone(tmp_path / "nothing")
    assert name == "UTC"
    assert differences_min(zone, ZoneInfo("Etc/UTC"), NOW_S) == {0}


def test_zones_agree_only_if_they_do_in_summer_too() -> None:
    assert differences_min(ZoneInfo("Europe/Paris"), ZoneInfo("Europe/Brussels"), NOW_S) == {0}
    assert differences_min(ZoneInfo("Europe/Paris"), ZoneInfo("Africa/Lagos"), NOW_S) == {0, 60}
    assert differences_min(ZoneInfo("Asia/Kathmandu"), ZoneInfo("UTC"), NOW_S) == {345}


def test_changes_are_found_to_the_minute() -> None:
    found = [(utc(each.at_s).isoformat(), each.forward_s) for each in changes(ZoneInfo("Europe/Paris"), NOW_S, 1)]
    assert found == [("2027-03-28T01:00:00+00:00", 3600), ("2027-10-31T01:00:00+00:00", -3600)]
    assert [each.forward_s for each in changes(ZoneInfo("Australia/Lord_Howe"), NOW_S, 1)] == [-1800, 1800]
    assert list(changes(ZoneInfo("Asia/Tokyo"), NOW_S, 10)) == []

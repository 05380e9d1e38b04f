"""What a notebook asks: data frames of the journal."""

from pathlib import Path

import pandas as pd
import pytest

import plaster_ops
from plaster_ops.errors import UsageError
from plaster_ops.tracking.journal import Journal
from tests.report.payloads import ASSESSMENT
from tests.tracking.samples import finish, start

P50 = "latency/e2e_p50_ms"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Three finished retrains and a skip."""
    (tmp_path / "plaster.toml").write_text('[pipelines.digits]\nref = "m:p"\n', encoding="utf-8")
    with Journal.open(tmp_path / "mlruns") as journal:
        for _ in range(3):
            finish(journal, assessment={"alarms": [ASSESSMENT["alarms"][0] | {"raised_index": 3, "index": 2}]})
        journal.record_skip("digits", "nothing new", 5, "cron", None)
    return tmp_path


def test_history_is_a_row_a_retrain_with_the_headlines_as_numbers(project: Path) -> None:
    frame = plaster_ops.history("digits", project=project)
    assert list(frame["verdict"]) == ["promoted"] * 3 + ["skipped"]
    assert frame[P50].tolist()[:3] == pytest.approx([1.01, 1.02, 1.03])
    assert pd.isna(frame[P50].iloc[3])
    assert str(frame["started_at"].dt.tz) == "UTC"
    assert frame["energy/inferences_per_j"].isna().all()


def test_a_series_has_the_retrains_number_as_index(project: Path) -> None:
    frame = plaster_ops.series(P50, project=str(project))
    assert frame.index.tolist() == [1, 2, 3]
    assert list(frame.columns) == ["value", "verdict", "started_at", "fingerprint", "method"]
    assert frame["value"].iloc[-1] == pytest.approx(1.03)
    assert str(frame["started_at"].dt.tz) == "UTC"
    with pytest.raises(UsageError, match="no metric has the key"):
        plaster_ops.series("latency/p50", project=project)


def test_a_series_of_nothing_is_an_empty_frame(project: Path) -> None:
    assert plaster_ops.series("energy/inferences_per_j", project=project).empty


def test_a_project_without_a_retrain_or_an_alarm_has_the_same_columns(project: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    (fresh / "plaster.toml").write_text('[pipelines.digits]\nref = "m:p"\n', encoding="utf-8")
    nothing = plaster_ops.history("digits", project=fresh)
    assert list(nothing.columns) == list(plaster_ops.history("digits", project=project).columns)
    assert nothing[nothing["verdict"] == "promoted"].empty
    with Journal.open(fresh / "mlruns") as journal:
        finish(journal)
    quiet = plaster_ops.alarms("digits", project=fresh)
    assert quiet.empty
    assert set(quiet.columns) == set(plaster_ops.alarms(project=project).columns)


def test_a_record_is_plain_values(project: Path) -> None:
    assert plaster_ops.record(2, project=project)["index"] == 2
    assert plaster_ops.record(project=project)["index"] == 3
    assert plaster_ops.record("last", "digits", project=project)["pipeline"] == "digits"


def test_a_run_that_left_no_record_is_named(project: Path) -> None:
    with Journal.open(project / "mlruns") as journal:
        journal.fail_run(start(journal).uid, "failed", ["no data"], 10)
    with pytest.raises(UsageError, match="run #4 of 'digits' left no record"):
        plaster_ops.record(4, project=project)


def test_only_the_newest_are_asked_for_where_that_is_wanted(project: Path) -> None:
    assert plaster_ops.history(project=project, limit=2)["verdict"].tolist() == ["promoted", "skipped"]


def test_alarms_are_rows(project: Path) -> None:
    frame = plaster_ops.alarms(project=project)
    assert frame["key"].tolist() == [P50]


def test_a_project_without_a_retrain_says_so(tmp_path: Path) -> None:
    (tmp_path / "plaster.toml").write_text('[pipelines.digits]\nref = "m:p"\n', encoding="utf-8")
    assert plaster_ops.history(project=tmp_path).empty
    with pytest.raises(UsageError, match="no retrain yet"):
        plaster_ops.record(project=tmp_path)


def test_the_package_has_no_other_names() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'runs'"):
        plaster_ops.runs  # noqa: B018

"""The page of an experiment: links that are current, views that open, nothing sent twice, a person's words kept."""

import json
from pathlib import Path
from typing import Any

from plaster_ops.domain.metrics import HEADLINES
from plaster_ops.tracking.connection import Location
from plaster_ops.tracking.experiment_note import REMEMBERED, Pages
from plaster_ops.tracking.markers import ALARM_KEYS
from plaster_ops.tracking.mlflow_store import MlflowTracker
from plaster_ops.tracking.page_links import links_of_store
from plaster_ops.tracking.plans import NOTE
from plaster_ops.tracking.views import prepared_views, read_view
from tests.tracking import census
from tests.tracking.samples import make_small_record

FIRST, SECOND = "a" * 32, "b" * 32


def tags_of(tracker: MlflowTracker) -> dict[str, str]:
    return dict(census.client_of(tracker).get_experiment_by_name("plaster/digits").tags)


class Counting:
    """A client that remembers which writing calls were made."""

    def __init__(self, client: Any) -> None:
        self._client, self.calls = client, list[str]()

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("set_", "update_", "create_", "log_", "delete_")):
            self.calls.append(name)
        return getattr(self._client, name)


def test_the_page_leads_to_the_newest_the_champion_and_the_lines(tracker: MlflowTracker, tmp_path: Path) -> None:
    first = tracker.record(make_small_record(FIRST, 1, tmp_path / "1"))
    tracker.point("digits", {"champion": FIRST})
    second = tracker.record(make_small_record(SECOND, 2, tmp_path / "2"))
    note = tags_of(tracker)[NOTE].splitlines()
    assert f"newest [\\#2](#/experiments/1/runs/{second.run_id})" in note[0]
    assert f"champion [version {first.model_version}](#/models/digits/versions/1), made by #1" in note[0]
    (cadence,) = [run for run in census.runs_of(tracker) if run.data.tags["plaster.kind"] == "cadence"]
    assert f"- cadence run: [Test CPU 9000](#/experiments/1/runs/{cadence.info.run_id}/model-metrics)" in note
    tracker.point("digits", {})
    assert "champion" not in tags_of(tracker)[NOTE].splitlines()[0]


def test_the_parent_and_the_version_say_why_and_lead_on(tracker: MlflowTracker, tmp_path: Path) -> None:
    first = tracker.record(make_small_record(FIRST, 1, tmp_path / "1"))
    folder = tmp_path / "2"
    record = make_small_record(SECOND, 2, folder)
    (folder / "artifacts" / "report.html").write_text("<p>")
    record = record.from_json({**record.to_json(), "baseline": {"index": 1, "id": FIRST, "how": "remeasured"}})
    second = tracker.record(record)
    links = census.run_of(tracker, SECOND).data.tags[NOTE].splitlines()[2]
    assert f"[report](#/experiments/1/runs/{second.run_id}/artifacts/report.html)" in links
    assert f"[compared with: \\#1](#/experiments/1/runs/{first.run_id})" in links
    assert "[version 2 of digits](#/models/digits/versions/2)" in links
    tracker.point("digits", {"champion": SECOND})
    client = census.client_of(tracker)
    told = client.get_model_version("digits", "2").description
    assert told.startswith("#2 2026-11-03: **Promoted: this engine became the champion.**\n- accuracy same")
    assert told in client.get_registered_model("digits").description


def test_a_champion_that_its_retrain_held_is_said_to_be_promoted_since(tracker: MlflowTracker, tmp_path: Path) -> None:
    record = make_small_record(FIRST, 1, tmp_path / "1")
    tracker.record(record.from_json({**record.to_json(), "verdict": "held"}))
    tracker.point("digits", {"champion": FIRST})
    told = census.client_of(tracker).get_registered_model("digits").description
    assert "is version 1, promoted by hand since its retrain, which said: #1 2026-11-02: **Held" in told


def test_where_nothing_changed_nothing_is_sent(tracker: MlflowTracker, tmp_path: Path) -> None:
    record = make_small_record(FIRST, 1, tmp_path / "1")
    tracker.record(record)
    tracker.point("digits", {"champion": FIRST})
    tracker.close()
    tracker._client = counting = Counting(tracker._open())
    tracker.record(record)
    tracker.point("digits", {"champion": FIRST})
    assert counting.calls == []


def test_what_a_person_wrote_or_deleted_stays(tracker: MlflowTracker, tmp_path: Path) -> None:
    tracker.record(make_small_record(FIRST, 1, tmp_path / "1"))
    tracker.point("digits", {"champion": FIRST})
    client, (drift, retrains) = census.client_of(tracker), tuple(prepared_views())
    client.set_experiment_tag("1", NOTE, "ours: ask Ada")
    client.delete_experiment_tag("1", drift)
    client.update_registered_model("digits", "ask Ada too")
    tracker.close()
    tracker.record(make_small_record(SECOND, 2, tmp_path / "2"))
    tracker.point("digits", {"champion": SECOND})
    tags = tags_of(tracker)
    assert (tags[NOTE], drift in tags, retrains in tags) == ("ours: ask Ada", False, True)
    assert census.client_of(tracker).get_registered_model("digits").description == "ask Ada too"
    assert Pages.read(tags[REMEMBERED]).newest == (2, census.run_of(tracker, SECOND).info.run_id)


def test_being_cut_off_between_the_tags_is_not_taken_for_a_persons_hand(tracker: MlflowTracker, tmp_path: Path) -> None:
    tracker.record(make_small_record(FIRST, 1, tmp_path / "1"))
    before = tags_of(tracker)[NOTE]
    tracker.record(make_small_record(SECOND, 2, tmp_path / "2"))
    census.client_of(tracker).set_experiment_tag("1", NOTE, before)
    tracker.close()
    tracker.record(make_small_record("c" * 32, 3, tmp_path / "3"))
    assert "newest [\\#3]" in tags_of(tracker)[NOTE]


def test_an_older_record_that_comes_late_is_not_the_newest() -> None:
    pages = Pages(newest=(7, "x"), verdict="held")
    late = pages.after(make_small_record_of(5), "y", "z", has_report=True)
    assert (late.newest, late.verdict, late.has_report) == ((7, "x"), "held", False)
    assert late.cadence == {"Test CPU 9000": "z"}
    assert Pages.read(late.written()) == late
    assert Pages.read("no json") == Pages.read('{"strange": 1}') == Pages()


def make_small_record_of(index: int) -> Any:
    from tests.tracking.samples import make_record

    return make_record(FIRST, index)


def test_the_views_show_every_headline_and_only_what_belongs_there() -> None:
    drift, retrains = (read_view(text) for text in prepared_views().values())
    shown = [chart["metricKey"] for chart in drift["compareRunCharts"] if not chart["deleted"]]
    assert shown[:7] == [metric.key for metric in HEADLINES]
    assert drift["searchFilter"] == "tags.`plaster.kind` = 'cadence'"
    assert {chart["metricSectionId"] for chart in drift["compareRunCharts"]} == {
        section["uuid"] for section in drift["compareRunSections"]
    }
    assert retrains["selectedColumns"][1:8] == [f"metrics.`{metric.key}`" for metric in HEADLINES]
    assert retrains["searchFilter"] == "tags.`plaster.kind` = 'retrain'"
    assert all(len(text) < 5000 for text in prepared_views().values())


def test_alarms_of_all_letters_share_one_chart_and_mlflow_makes_no_other_of_them() -> None:
    """MLflow draws a chart of its own for every line that no chart, shown or deleted, is named for."""
    drift, _ = (read_view(text) for text in prepared_views().values())
    alarms = list(ALARM_KEYS.values())
    charts = {chart["metricKey"]: chart for chart in drift["compareRunCharts"]}
    assert [key for key in alarms if not charts[key]["deleted"]] == alarms[:1]
    assert charts[alarms[0]]["selectedMetricKeys"] == alarms


def test_a_view_says_that_it_is_deflated() -> None:
    """MLflow takes a state without that word for plain JSON, and shows its usual page."""
    assert all(json.loads(text)["state"].startswith("deflate;") for text in prepared_views().values())


def test_the_addresses_are_read_from_the_file_alone(tracker: MlflowTracker, location: Location, tmp_path: Path) -> None:
    tracked = tracker.record(make_small_record(FIRST, 1, tmp_path / "1"))
    tracker.point("digits", {"champion": FIRST})
    (links,) = links_of_store(location)
    rows = dict(links.rows)
    assert rows["newest: #1, promoted"] == f"#/experiments/1/runs/{tracked.run_id}"
    assert rows["champion: version 1, made by #1"] == "#/models/digits/versions/1"
    assert rows["drift over retrains"].endswith("?viewStateShareKey=plaster-drift&compareRunsMode=CHART")
    assert links_of_store(Location(tracking_uri=f"sqlite:///{tmp_path}/none.db")) == []

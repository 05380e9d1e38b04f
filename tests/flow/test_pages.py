"""The page of a retrain: gathered from the journal, drawn in a child, worth no retrain."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plaster_ops.errors import Interrupted, PlasterError, UsageError
from plaster_ops.flow import pages
from plaster_ops.flow.pages import PAGE, alarms_of, chosen_run, report_text, sheet_of
from plaster_ops.flow.stages.page import run as draw
from plaster_ops.settings import Settings
from plaster_ops.settings_sections import PipelineSettings
from plaster_ops.tracking.journal import Journal
from tests.flow.walk import Walk
from tests.report.payloads import ASSESSMENT
from tests.tracking.samples import finish, make_card, make_record, start

Retrain = Callable[..., dict[str, Any]]
ALARM = ASSESSMENT["alarms"][0]


@pytest.fixture
def journal(settings: Settings) -> Any:
    with Journal.open(settings.memory) as opened:
        yield opened


# ---- in a retrain --------------------------------------------------------------------------------------------------
def test_a_retrain_leaves_its_page_among_the_artifacts(retrain: Retrain, walk: Walk, journal: Journal) -> None:
    retrain()
    record = journal.record(journal.history()[0].uid)
    assert record is not None
    assert (Path(record.artifacts or "") / PAGE).is_file()
    sheet = walk.specs["page"]["sheet"]
    assert sheet["payload"]["run"]["index"] == 1
    assert [row["index"] for row in sheet["trends"]["learning/train_to_engine_s"]] == [1]


def test_the_page_is_there_before_the_record_goes_to_the_tracker(
    retrain: Retrain, walk: Walk, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    real = pages.write_page
    monkeypatch.setattr("plaster_ops.flow.session.write_page", lambda ctx, record: (real(ctx, record), seen.append(1)))
    monkeypatch.setattr("plaster_ops.flow.session.publish", lambda *_: seen.append(2) or {"spooled": "x"})
    retrain()
    assert seen == [1, 2]
    assert walk.calls["page"] == 1


def test_a_page_that_cannot_be_drawn_is_a_note_and_fails_nothing(
    retrain: Retrain, walk: Walk, events: list[dict[str, Any]]
) -> None:
    walk.errors["page"] = PlasterError("page: no room left")
    assert retrain()["verdict"] == "baseline"
    notes = [event["text"] for event in events if event["event"] == "note"]
    assert f"{PAGE} was not written (page: no room left); try: plaster-ops report 1" in notes


def test_what_nobody_foresaw_fails_nothing_either(
    retrain: Retrain, events: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> dict[str, Any]:
        raise KeyError("sheet")

    monkeypatch.setattr(pages, "sheet_of", broken)
    assert retrain()["exit_code"] == 0
    assert any("was not written (KeyError" in event.get("text", "") for event in events)


def test_a_signal_while_it_is_drawn_stops_the_command_and_keeps_the_record(
    retrain: Retrain, walk: Walk, journal: Journal
) -> None:
    walk.errors["page"] = Interrupted(15)
    with pytest.raises(Interrupted):
        retrain()
    assert journal.history()[0].state == "finished"


def test_it_can_be_switched_off(retrain: Retrain, walk: Walk, settings: Settings) -> None:
    off = PipelineSettings.model_validate(settings.pipelines["digits"].model_dump() | {"report": False})
    retrain(project=settings.model_copy(update={"pipelines": {"digits": off}}))
    assert walk.calls["page"] == 0


def test_the_stage_writes_the_whole_page_or_nothing(journal: Journal, tmp_path: Path) -> None:
    row = finish(journal)
    record = journal.record(row.uid)
    assert record is not None
    target = tmp_path / PAGE
    told = draw({"sheet": sheet_of(journal, record, {}), "target": str(target)}, tmp_path, lambda _: None)
    assert told == {"page_bytes": target.stat().st_size}
    with pytest.raises(KeyError):
        draw({"sheet": {}, "target": str(tmp_path / "other.html")}, tmp_path, lambda _: None)
    assert [file.name for file in tmp_path.iterdir() if file.suffix in (".html", ".draft")] == [PAGE]


# ---- what it shows -------------------------------------------------------------------------------------------------
def test_the_page_of_a_run_knows_nothing_of_later_ones(journal: Journal) -> None:
    rows = [finish(journal) for _ in range(3)]
    record = journal.record(rows[1].uid)
    assert record is not None
    assert [row["index"] for row in sheet_of(journal, record, {})["trends"]["latency/e2e_p50_ms"]] == [1, 2]


def test_a_value_that_did_not_settle_is_in_the_trend_and_marked(journal: Journal) -> None:
    card = [
        row | ({"status": "unstable"} if row["key"] == "latency/e2e_p50_ms" else {}) for row in make_card(1.5).to_json()
    ]
    finish(journal)
    row = finish(journal, card=tuple(card))
    record = journal.record(row.uid)
    assert record is not None
    trend = sheet_of(journal, record, {})["trends"]["latency/e2e_p50_ms"]
    assert [(point["value"], point["is_settled"]) for point in trend] == [(1.01, True), (1.5, False)]


def test_a_guess_is_in_the_trend_and_neither_measured_nor_settled(journal: Journal) -> None:
    rows = make_card(1.5).to_json()
    card = [row | ({"status": "estimated"} if row["key"] == "latency/e2e_p50_ms" else {}) for row in rows]
    record = journal.record(finish(journal, card=tuple(card)).uid)
    assert record is not None
    (point,) = sheet_of(journal, record, {})["trends"]["latency/e2e_p50_ms"]
    assert (point["value"], point["is_measured"], point["is_settled"], point["regime"]) == (1.5, False, False, "")


def test_a_retrain_that_failed_is_in_no_trend(journal: Journal) -> None:
    failed = start(journal)
    journal.fail_run(failed.uid, "failed", ["parity"], 11, make_record(failed.uid, 1, verdict="failed"))
    record = journal.record(finish(journal).uid)
    assert record is not None
    assert [row["index"] for row in sheet_of(journal, record, {})["trends"]["latency/e2e_p50_ms"]] == [2]


def test_alarms_of_the_record_are_shown_and_later_ones_are_not(journal: Journal) -> None:
    row = finish(
        journal, assessment={"alarms": [ALARM | {"raised_index": 1}, ALARM | {"index": 30, "raised_index": 31}]}
    )
    record = journal.record(row.uid)
    assert record is not None
    assert [alarm["raised_index"] for alarm in alarms_of(journal, record)] == [1]


# ---- the command ---------------------------------------------------------------------------------------------------
def test_the_newest_that_ended_is_shown_where_none_is_named(journal: Journal, settings: Settings) -> None:
    finish(journal)
    failed = start(journal)
    journal.fail_run(failed.uid, "failed", ["loss is NaN in epoch 2"], 10)
    text, name, index = report_text(settings, None, None)
    assert (name, index) == ("digits", 2)
    assert "loss is NaN in epoch 2" in text


def test_a_run_that_still_goes_on_has_a_page(journal: Journal, settings: Settings) -> None:
    row = start(journal)
    text, _, index = report_text(settings, None, str(row.index))
    assert index == 1
    assert "running" in text


@pytest.mark.parametrize("word", ["last", "champion", "best", "1"])
def test_runs_have_names(journal: Journal, word: str) -> None:
    row = finish(journal)
    with journal.file.write() as db:
        db.execute(
            "INSERT INTO promotions (pipeline, uid, previous, at, by, reason, forced) VALUES (?, ?, NULL, ?, ?, ?, 0)",
            ("digits", row.uid, "2026-11-23T02:00:00+00:00", "test", "first"),
        )
    assert chosen_run(journal, "digits", word).uid == row.uid


def test_a_pipeline_without_runs_says_how_to_begin(settings: Settings) -> None:
    with pytest.raises(UsageError, match="no retrain yet"):
        report_text(settings, None, None)
    with Journal.open(settings.memory) as journal:
        journal.record_skip("digits", "nothing new", 5, "cron", None)
        with pytest.raises(UsageError, match="has ended yet"):
            chosen_run(journal, "digits", None)
        with pytest.raises(UsageError, match="no champion"):
            chosen_run(journal, "digits", "champion")

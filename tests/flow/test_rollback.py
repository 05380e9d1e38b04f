"""`rollback`: one champion back, twice is twice back, and never to an engine that is not what was measured."""

import shutil
from pathlib import Path

import pytest

from plaster_ops.errors import BuildFailed, ExitCode, UsageError
from plaster_ops.flow.champion import Changed
from plaster_ops.flow.promotions import promotions
from plaster_ops.flow.rollback import rollback
from plaster_ops.settings import Settings
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_rows import RunRow
from tests.flow.champions import add_run, champions, ledger, make_project


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr("plaster_ops.flow.rollback.tell_tracker", lambda *_, **__: None)
    return make_project(tmp_path / "project")


def back(settings: Settings, to: str | None = None, reason: str = "") -> Changed:
    return rollback(settings, None, to=to, reason=reason, canary=False, tell=lambda _: None)


def engine_of(settings: Settings, row: RunRow) -> Path:
    with Journal.open(settings.memory) as journal:
        record = journal.record(row.uid)
    assert record is not None
    return Path(record.engine_folder or "")


def test_twice_goes_back_twice_and_a_third_time_there_is_nothing(settings: Settings) -> None:
    champions(settings, 3)
    first = back(settings, reason="p99 doubled")
    assert (first.verdict, first.run.index) == ("rolled_back", 2)
    assert first.next_back is not None
    assert first.next_back.index == 1
    second = back(settings)
    assert (second.run.index, second.next_back) == (1, None)
    with pytest.raises(UsageError, match="first champion"):
        back(settings)
    assert [(line["index"], line["kind"], line["reason"]) for line in ledger(settings)[3:]] == [
        (2, "rollback", "p99 doubled"),
        (1, "rollback", "rolled back by hand"),
    ]


def test_a_retrain_after_a_rollback_comes_on_top_of_what_was_gone_back_to(settings: Settings) -> None:
    first, second = champions(settings, 2)
    back(settings)
    third = add_run(settings, against=first, promoted=True)
    assert back(settings).run.uid == first.uid
    with Journal.open(settings.memory) as journal:
        assert second.uid not in journal.standing("digits")
        assert third.uid not in journal.standing("digits")
        assert journal.watermarks("digits")[1] == first.learned


def test_an_earlier_champion_can_be_named_also_one_that_was_left(settings: Settings) -> None:
    champions(settings, 3)
    assert back(settings, "1").run.index == 1
    assert back(settings, "#3").run.index == 3
    assert promotions(settings, None, 10)["rollbacks"][0]["index"] == 1


def test_only_a_champion_of_before_can_be_gone_back_to(settings: Settings) -> None:
    _, second = champions(settings, 2)
    held = add_run(settings, against=second)
    with pytest.raises(UsageError, match="never champion"):
        back(settings, str(held.index))
    with pytest.raises(UsageError, match="is champion now"):
        back(settings, str(second.index))


def test_without_a_champion_there_is_nothing_to_go_back_from(settings: Settings) -> None:
    add_run(settings)
    with pytest.raises(UsageError, match="no champion"):
        back(settings)


@pytest.mark.parametrize("harm", ["changed", "gone"])
def test_an_engine_that_is_not_what_was_measured_is_not_gone_back_to(settings: Settings, harm: str) -> None:
    first, _ = champions(settings, 2)
    folder = engine_of(settings, first)
    if harm == "gone":
        shutil.rmtree(folder)
    else:
        (folder / "model.bin").write_text("3")
    with pytest.raises(BuildFailed, match=r"was changed|not there any more"):
        back(settings)
    assert len(ledger(settings)) == 2


def test_the_ledger_is_shown_with_where_a_rollback_would_go(settings: Settings) -> None:
    assert promotions(settings, None, 10)["champion"] is None
    champions(settings, 3)
    back(settings)
    shown = promotions(settings, None, 2)
    assert shown["champion"]["index"] == 2
    assert [row["index"] for row in shown["rollbacks"]] == [1]
    assert [line["index"] for line in shown["promotions"]] == [3, 2]


def test_the_canary_comes_before_the_champion_is_changed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    champions(settings, 2)
    tried: list[int] = []

    def fails(*_: object) -> None:
        tried.append(len(ledger(settings)))
        raise BuildFailed("canary failed")

    monkeypatch.setattr("plaster_ops.flow.rollback.try_engine", fails)
    with pytest.raises(BuildFailed, match="canary failed"):
        rollback(settings, None, to=None, reason="", canary=True, tell=lambda _: None)
    assert tried == [2]
    assert len(ledger(settings)) == 2
    assert back(settings).canary is None, "without it, it is not asked"


def test_a_champion_that_changed_while_the_canary_ran_is_left(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who rolls back from #2 has not seen #3."""
    _, second = champions(settings, 2)

    def slow(*_: object) -> None:
        add_run(settings, against=second, promoted=True)

    monkeypatch.setattr("plaster_ops.flow.rollback.try_engine", slow)
    changed = rollback(settings, None, to=None, reason="", canary=True, tell=lambda _: None)
    assert (changed.verdict, changed.exit_code) == ("held", ExitCode.HELD)
    assert [line["index"] for line in ledger(settings)] == [1, 2, 3]

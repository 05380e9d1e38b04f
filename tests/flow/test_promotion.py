"""`promote`: by the recorded gates against today's champion, past them only by force with a reason."""

import sqlite3
from pathlib import Path

import pytest

from plaster_ops.errors import BuildFailed, ExitCode, UsageError
from plaster_ops.flow import champion as champion_module
from plaster_ops.flow.canary import Canary
from plaster_ops.flow.champion import Changed
from plaster_ops.flow.promotion import Wish, promote
from plaster_ops.settings import Settings
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_rows import RunRow
from plaster_ops.tracking.memory_store import MemoryTracker
from tests.flow.champions import add_run, champions, ledger, make_project, outcome


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_project(tmp_path / "project")


@pytest.fixture(autouse=True)
def no_mlflow(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whom the tracker was told of; what it would take is another test's."""
    told: list[str] = []
    monkeypatch.setattr(
        "plaster_ops.flow.promotion.tell_tracker", lambda _, name, *, send: told.append(f"{name} {send}")
    )
    return told


def asked(settings: Settings, run: RunRow | str, **wish: object) -> Changed:
    text = run if isinstance(run, str) else str(run.index)
    return promote(settings, None, Wish(run=text, canary=False, **wish), tell=lambda _: None)  # type: ignore[arg-type]


def test_a_held_run_whose_gates_passed_against_this_champion_is_promoted(settings: Settings) -> None:
    (first,) = champions(settings, 1)
    held = add_run(settings, against=first)
    changed = asked(settings, held, reason="release of Monday")
    assert (changed.verdict, changed.exit_code, changed.forced) == ("promoted", ExitCode.DONE, False)
    line = ledger(settings)[-1]
    assert (line["index"], line["from"]["index"], line["kind"]) == (2, 1, "promote")
    assert (line["reason"], line["forced"]) == ("release of Monday", False)
    assert line["by"]
    assert changed.next_back is not None
    assert changed.next_back.uid == first.uid


def test_the_reason_without_one_is_what_the_gates_said(settings: Settings) -> None:
    (first,) = champions(settings, 1)
    asked(settings, add_run(settings, against=first))
    assert ledger(settings)[-1]["reason"] == "no gate failed"


def test_without_gates_that_is_said(settings: Settings) -> None:
    (first,) = champions(settings, 1)
    asked(settings, add_run(settings, against=first, outcomes=()))
    assert ledger(settings)[-1]["reason"] == "no gates are declared"


@pytest.mark.parametrize(
    ("row", "holds"),
    [
        (outcome("failed"), True),
        (outcome("waived", required=True), True),
        (outcome("waived"), False),
        (outcome("undecided"), False),
    ],
)
def test_a_gate_that_failed_holds_and_is_named(settings: Settings, row: dict[str, object], holds: bool) -> None:
    (first,) = champions(settings, 1)
    held = add_run(settings, against=first, outcomes=(outcome("passed", "latency"), row))
    changed = asked(settings, held)
    assert (changed.exit_code is ExitCode.HELD) is holds
    assert len(ledger(settings)) == (1 if holds else 2)
    if holds:
        assert changed.reasons == (row["sentence"],)
        assert "--force --reason TEXT" in changed.next_step


def test_force_needs_a_reason_and_the_ledger_keeps_it_with_the_gates_it_went_past(settings: Settings) -> None:
    (first,) = champions(settings, 1)
    held = add_run(settings, against=first, outcomes=(outcome("failed"),))
    with pytest.raises(UsageError, match="needs a reason"):
        asked(settings, held, force=True, reason="  ")
    changed = asked(settings, held, force=True, reason="new terms")
    assert (changed.verdict, changed.forced) == ("promoted", True)
    line = ledger(settings)[-1]
    assert line["forced"]
    assert line["reason"] == "new terms (forced over: accuracy gate failed: so it was)"


def test_a_run_that_was_gated_against_another_champion_is_held_whatever_its_gates_said(settings: Settings) -> None:
    first, _ = champions(settings, 2)
    changed = asked(settings, add_run(settings, against=first))
    assert changed.exit_code is ExitCode.HELD
    assert changed.reasons == ("#3 was never compared with this champion: #2 is champion now, it was gated against #1",)
    assert changed.next_step.startswith("plaster-ops compare 3 2; ")


def test_a_record_of_before_the_gates_were_kept_is_held(settings: Settings) -> None:
    champions(settings, 1)
    with Journal.open(settings.memory) as journal:
        held = add_run(settings)
        with journal.file.write() as db:
            db.execute("UPDATE records SET record = json_remove(record, '$.gates') WHERE uid = ?", (held.uid,))
    assert "does not say which champion" in asked(settings, held).reasons[0]


def test_a_first_engine_below_its_floor_is_promoted_by_force_only(settings: Settings) -> None:
    held = add_run(settings, outcomes=(outcome("failed"),))
    assert asked(settings, held).exit_code is ExitCode.HELD
    assert ledger(settings) == []
    assert asked(settings, held, force=True, reason="better than nothing").verdict == "promoted"


def test_the_champion_is_champion_already(settings: Settings, no_mlflow: list[str]) -> None:
    _, second = champions(settings, 2)
    changed = asked(settings, second)
    assert (changed.verdict, changed.exit_code) == ("unchanged", ExitCode.DONE)
    assert len(ledger(settings)) == 2
    assert no_mlflow == ["digits True"]


def test_a_changed_engine_file_is_never_promoted(settings: Settings) -> None:
    (first,) = champions(settings, 1)
    held = add_run(settings, against=first)
    with Journal.open(settings.memory) as journal:
        record = journal.record(held.uid)
    assert record is not None
    assert record.engine_folder is not None
    (Path(record.engine_folder) / "model.bin").write_text("3")
    with pytest.raises(BuildFailed, match="was changed"):
        asked(settings, held, force=True, reason="must")
    assert len(ledger(settings)) == 1


def test_a_run_without_an_engine_is_refused(settings: Settings) -> None:
    champions(settings, 1)
    with Journal.open(settings.memory) as journal:
        from tests.tracking.samples import start

        failed = start(journal)
        journal.fail_run(failed.uid, "failed", ["no"], 11)
    with pytest.raises(UsageError, match="no engine to promote"):
        asked(settings, failed)
    with pytest.raises(UsageError, match="has no run"):
        asked(settings, "77")


def test_a_champion_that_changed_meanwhile_is_not_replaced(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    (first,) = champions(settings, 1)
    mine, theirs = add_run(settings, against=first), add_run(settings, against=first)
    real = champion_module.crown

    def late(ports: object, row: RunRow, *args: object, **more: object) -> bool:
        with Journal.open(settings.memory) as journal:
            journal.promote("digits", theirs.uid, expected=first.uid, by="cron", reason="no gate failed")
        return real(ports, row, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("plaster_ops.flow.promotion.crown", late)
    changed = asked(settings, mine, force=True, reason="must")
    assert changed.exit_code is ExitCode.HELD
    assert changed.reasons == ("the champion was changed meanwhile: #3 is champion now; nothing was done",)
    assert [line["index"] for line in ledger(settings)] == [1, 3]


def test_the_ledger_stands_though_the_tracker_is_away(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from plaster_ops.errors import TrackingUnavailable
    from plaster_ops.flow.wiring import Ports

    (first,) = champions(settings, 1)
    held = add_run(settings, against=first)
    away = MemoryTracker(fail_with=TrackingUnavailable("nobody answers", ""))
    monkeypatch.setattr(MemoryTracker, "__enter__", lambda self: self, raising=False)
    monkeypatch.setattr(MemoryTracker, "__exit__", lambda *_: None, raising=False)
    monkeypatch.setattr(Ports, "tracker", lambda _: away)
    monkeypatch.setattr("plaster_ops.flow.promotion.tell_tracker", champion_module.tell_tracker)
    changed = asked(settings, held)
    assert (changed.verdict, changed.waits) == ("promoted", "nobody answers")
    assert ledger(settings)[-1]["index"] == 2
    away.fail_with = None
    with Journal.open(settings.memory) as journal:
        from plaster_ops.tracking.outbox import sync

        assert sync(journal, away).left == 0
    assert away.aliases["digits"] == {"champion": 2, "previous": 1}
    assert [line["index"] for line in away.ledgers["digits"]] == [1, 2]


def test_the_ledger_keeps_its_lines(settings: Settings) -> None:
    champions(settings, 2)
    with (
        Journal.open(settings.memory) as journal,
        pytest.raises(sqlite3.IntegrityError, match="append only"),
        journal.file.write() as db,
    ):
        db.execute("UPDATE promotions SET kind = 'rollback'")


def test_force_where_no_force_was_needed_is_not_written_down_as_force(settings: Settings) -> None:
    (first,) = champions(settings, 1)
    changed = asked(settings, add_run(settings, against=first), force=True, reason="to be sure")
    assert (changed.verdict, changed.forced) == ("promoted", False)
    assert (ledger(settings)[-1]["forced"], ledger(settings)[-1]["reason"]) == (False, "to be sure")


def test_a_champion_that_changed_while_the_canary_ran_is_not_replaced(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gates were looked at against the champion of before the canary."""
    (first,) = champions(settings, 1)
    mine, theirs = add_run(settings, against=first), add_run(settings, against=first)

    def slow(*_: object) -> Canary:
        with Journal.open(settings.memory) as journal:
            assert journal.promote("digits", theirs.uid, expected=first.uid, by="cron", reason="no gate failed")
        return Canary(source="registered", why="", samples=8)

    monkeypatch.setattr("plaster_ops.flow.promotion.try_engine", slow)
    changed = promote(settings, None, Wish(run=str(mine.index)), tell=lambda _: None)
    assert (changed.verdict, changed.exit_code) == ("held", ExitCode.HELD)
    assert changed.canary is not None
    assert [line["index"] for line in ledger(settings)] == [1, 3]


def test_last_is_the_newest_finished_run_and_not_the_champion(settings: Settings) -> None:
    (first,) = champions(settings, 1)
    held = add_run(settings, against=first)
    changed = asked(settings, "last")
    assert (changed.verdict, changed.run.uid) == ("promoted", held.uid)

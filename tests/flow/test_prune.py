"""`prune`: what nothing will ask for again goes, and nothing else; never while a retrain is going on."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from plaster_ops.domain.slots import Cause, Slot, SlotState
from plaster_ops.errors import Busy, UsageError
from plaster_ops.flow import prune as prune_module
from plaster_ops.flow.lock import pipeline_lock
from plaster_ops.flow.prunable import Piece, kept_engines, plan_pruning, run_folder
from plaster_ops.flow.prune import Pruned, Request, freed_bytes, prune, remove
from plaster_ops.flow.wiring import Ports
from plaster_ops.settings import Settings
from plaster_ops.settings_sections import Retention
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_rows import RunRow
from plaster_ops.tracking.memory_store import MemoryTracker
from plaster_ops.tracking.outbox import sync
from plaster_ops.tracking.slots import SlotLedger
from tests.flow.champions import add_run, champions, ledger, make_project
from tests.tracking.samples import finish, make_small_record, start


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = make_project(tmp_path / "project")
    return made.model_copy(update={"retention": Retention(keep_engines=1, keep_samples=2)})


def send(settings: Settings) -> None:
    with Journal.open(settings.memory) as journal:
        assert sync(journal, MemoryTracker()).left == 0


def folder_of(settings: Settings, row: RunRow) -> Path:
    return next((settings.memory / "runs" / "digits").glob(f"*-{row.uid[:8]}"))


def leave(settings: Settings, row: RunRow) -> None:
    """What a retrain leaves in its folder."""
    folder = folder_of(settings, row)
    for name in ("artifacts/samples/p0/raw.npz", "measure/p0/raw.npz", "artifacts/answers.npz", "export/program.pt2"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * 100)


def history(settings: Settings) -> list[RunRow]:
    """#1 champion, then baseline of #2; #3 and #4 held; #5 champion; #6 held, the challenger; #7 held, the newest."""
    rows = champions(settings, 2)
    rows += [add_run(settings, against=rows[-1]) for _ in range(2)]
    rows.append(add_run(settings, against=rows[1], promoted=True))
    rows += [add_run(settings, against=rows[-1]) for _ in range(2)]
    for row in rows:
        leave(settings, row)
    send(settings)
    return rows


def run(settings: Settings, **asked: object) -> Pruned:
    return prune(settings, None, Request(**asked))  # type: ignore[arg-type]


def engines(settings: Settings) -> set[int]:
    return {int(path.parent.name[:4]) for path in (settings.memory / "runs" / "digits").glob("*/engine-*")}


def test_champions_of_all_times_and_the_newest_engines_stay(settings: Settings) -> None:
    history(settings)
    found = run(settings)
    assert engines(settings) == {1, 2, 5, 7}
    assert dict(found.kept) == {
        1: "was champion",
        2: "the champion before",
        5: "the champion",
        7: "the challenger",
    }
    assert {piece.run.index for piece, _ in found.removed if piece.what == "engine"} == {3, 4, 6}


def test_raw_samples_stay_of_the_newest_runs_and_artifacts_weights_and_records_of_all(settings: Settings) -> None:
    rows = history(settings)
    before = ledger(settings)
    run(settings)
    for row in rows:
        folder = folder_of(settings, row)
        is_new = (row.index or 0) > 5
        assert (folder / "artifacts" / "samples").exists() is is_new
        assert (folder / "artifacts" / "answers.npz").exists() is is_new
        assert (folder / "artifacts" / "compare.md").exists()
        assert (folder / "weights.safetensors").exists()
        assert (folder / "export").exists() is (row.index in (1, 2, 5, 7))
    with Journal.open(settings.memory) as journal:
        assert all(journal.record(row.uid) is not None for row in rows)
    assert ledger(settings) == before


def test_a_dry_run_says_the_same_and_removes_nothing(settings: Settings) -> None:
    history(settings)
    said = run(settings, dry_run=True)
    assert engines(settings) == {1, 2, 3, 4, 5, 6, 7}
    done = run(settings)
    assert done.removed == said.removed
    assert done.total_bytes == said.total_bytes > 700
    assert run(settings).removed == ()


def test_more_engines_are_kept_where_that_is_asked_for(settings: Settings) -> None:
    history(settings)
    run(settings, keep=4)
    assert engines(settings) == {1, 2, 4, 5, 6, 7}


def test_none_of_the_newest_is_kept_where_that_is_asked_for(settings: Settings) -> None:
    history(settings)
    many = settings.model_copy(update={"retention": Retention(keep_engines=7, keep_samples=2)})
    run(many)
    assert len(engines(settings)) == 7
    run(many, keep=0)
    assert engines(settings) == {1, 2, 5, 7}


def test_what_mlflow_does_not_have_yet_and_what_is_unfinished_stays_whole(settings: Settings) -> None:
    rows = history(settings)
    waiting = add_run(settings, against=rows[4])
    with Journal.open(settings.memory) as journal:
        interrupted = start(journal)
        journal.interrupt_run(interrupted.uid, "SIGTERM")
    folder = settings.memory / "runs" / "digits" / f"0009-{interrupted.uid[:8]}" / "checkpoints"
    folder.mkdir(parents=True)
    for _ in range(3):
        add_run(settings, against=rows[4])
    run(settings)
    assert waiting.index in engines(settings)
    assert folder.exists()


@pytest.mark.parametrize("state", ["running", "interrupted"])
def test_a_run_that_has_not_ended_keeps_its_checkpoints_also_where_it_is_old(settings: Settings, state: str) -> None:
    rows = champions(settings, 1)
    with Journal.open(settings.memory) as journal:
        open_run = start(journal)
        if state == "interrupted":
            journal.interrupt_run(open_run.uid, "SIGTERM")
    folder = settings.memory / "runs" / "digits" / f"0002-{open_run.uid[:8]}" / "checkpoints"
    folder.mkdir(parents=True)
    for _ in range(3):
        add_run(settings, against=rows[0])
    send(settings)
    with Journal.open(settings.memory) as journal:
        pieces = plan_pruning(journal, "digits", settings.retention).pieces
    assert {piece.run.index for piece in pieces} == {3, 4}


def test_while_a_retrain_is_going_on_nothing_is_removed(settings: Settings) -> None:
    history(settings)
    with pipeline_lock(settings.memory / "locks", "digits", "digits"):
        with pytest.raises(Busy):
            run(settings)
        assert run(settings, dry_run=True).removed != ()
    assert len(engines(settings)) == 7


def test_bytes_that_something_kept_shares_are_not_counted(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "x").write_bytes(b"1" * 10)
    os.link(tmp_path / "a" / "x", tmp_path / "b" / "x")
    assert freed_bytes([tmp_path / "a"]) == [0]
    assert freed_bytes([tmp_path / "a", tmp_path / "b"]) == [0, 10]


def test_what_a_kill_left_on_its_way_out_goes_the_next_time(settings: Settings) -> None:
    rows = history(settings)
    folder = folder_of(settings, rows[2])
    (folder / "engine-doubling-fp32").rename(folder / ".pruned-engine-doubling-fp32")
    run(settings)
    assert not list(folder.glob(".pruned-*"))
    remove(folder / "never-there")


def test_old_leftovers_of_killed_commands_go_and_new_ones_stay(settings: Settings) -> None:
    champions(settings, 1)
    work = settings.memory / "work"
    for name, age_s in (("old", 200_000), ("new", 10)):
        (work / name).mkdir(parents=True)
        (work / name / "f").write_bytes(b"12345")
        at_s = (work / name).stat().st_mtime - age_s
        os.utime(work / name, (at_s, at_s))
    assert run(settings, dry_run=True).left_over_bytes == 5
    assert sorted(path.name for path in work.iterdir()) == ["new", "old"]
    found = run(settings)
    assert [path.name for path in work.iterdir()] == ["new"]
    assert found.left_over_bytes == 5


def test_old_slots_go_when_asked_but_for_the_newest_of_each_cause(settings: Settings) -> None:
    champions(settings, 1)

    def slot(planned_s: float, cause: Cause, state: SlotState = SlotState.RAN) -> Slot:
        return Slot(pipeline="digits", cause=cause, planned_s=planned_s, due_s=planned_s, state=state)

    slots = [
        slot(1.0, Cause.CLOCK),
        slot(2.0, Cause.CLOCK),
        slot(1.5, Cause.DATA),
        slot(0.5, Cause.CLOCK, SlotState.DUE),
    ]
    with Journal.open(settings.memory) as journal:
        ledger_ = SlotLedger(journal.file)
        with ledger_.write() as write:
            write.add(slots)
    assert run(settings).slots == 0
    assert run(settings, dry_run=True, slots_older_than_days=1.0).slots == 1
    assert run(settings, slots_older_than_days=1.0).slots == 1
    with Journal.open(settings.memory) as journal:
        left = SlotLedger(journal.file).newest("digits")
    assert sorted(slot.planned_s for slot in left) == [0.5, 1.5, 2.0]


def test_a_slot_of_an_hour_ago_is_no_day_old(settings: Settings) -> None:
    champions(settings, 1)
    now_s = time.time()
    old, young, newest = (
        Slot(pipeline="digits", cause=Cause.CLOCK, planned_s=at_s, due_s=at_s, state=SlotState.RAN)
        for at_s in (now_s - 90_000.0, now_s - 3_600.0, now_s)
    )
    with Journal.open(settings.memory) as journal, SlotLedger(journal.file).write() as write:
        write.add([old, young, newest])
    assert run(settings, slots_older_than_days=1.0).slots == 1
    assert run(settings, slots_older_than_days=0.01).slots == 1


def test_a_server_of_mlflow_prunes_by_its_own_rules(settings: Settings) -> None:
    champions(settings, 1)
    served = settings.model_copy(update={"tracking_uri": "http://mlflow:5000"})
    with pytest.raises(UsageError, match="embedded store only"):
        run(served, mlflow=True)


def test_the_answer_in_words_names_runs_and_megabytes(settings: Settings) -> None:
    history(settings)
    lines = run(settings, dry_run=True).lines()
    assert lines[0] == "would remove engines of #3, #4, #6: 0.0 MB"
    row = add_run(settings)
    pieces = [(Piece(run=replace(row, index=at), what="engine", path=Path()), 250_000) for at in range(1, 11)]
    told = Pruned(pipeline="digits", dry_run=False, kept=(), removed=tuple(pieces))
    assert told.lines()[0] == "removed engines of #1, #2, #3, #4, #5, #6, #7, #8 and 2 more: 2.5 MB"
    assert told.lines()[1] == "kept: no engine"
    assert lines[-1].startswith("kept: #1 was champion; #2 the champion before")
    assert run(settings, dry_run=True).to_json()["dry_run"] is True


def test_no_piece_lies_inside_another(settings: Settings) -> None:
    """`measure` goes as a folder of a stage; the raw samples in it are not told, or counted, once more."""
    history(settings)
    paths = {piece.path for piece, _ in run(settings, dry_run=True).removed}
    assert paths
    assert not [path for path in paths if paths.intersection(path.parents)]


def test_a_baseline_stays_whatever_the_ledger_says(settings: Settings) -> None:
    with Journal.open(settings.memory) as journal:
        baseline = finish(journal, verdict="baseline")
        rows = [finish(journal, verdict="held"), baseline]
        assert kept_engines(journal, "digits", rows, 0)[baseline.uid] == "a baseline"


def test_runs_that_failed_take_no_place_among_the_newest_engines(settings: Settings) -> None:
    (first,) = champions(settings, 1)
    older, newer = add_run(settings, against=first), add_run(settings, against=first)
    with Journal.open(settings.memory) as journal:
        for _ in range(3):
            journal.fail_run(start(journal).uid, "failed", ["no"], 10)
        rows = [row for row in journal.history("digits", 100) if row.index is not None][::-1]
        kept = kept_engines(journal, "digits", rows, 2)
    assert (kept[older.uid], kept[newer.uid]) == ("one of the newest 2", "the challenger")


def test_files_outside_the_projects_own_runs_are_never_removed(settings: Settings, tmp_path: Path) -> None:
    with Journal.open(settings.memory) as journal:
        elsewhere = finish(journal, folder=tmp_path / "elsewhere")
        assert run_folder(journal, elsewhere) is None


def test_of_two_folders_that_may_be_the_runs_neither_is_taken(settings: Settings) -> None:
    with Journal.open(settings.memory) as journal:
        failed = start(journal)
        journal.fail_run(failed.uid, "failed", ["no"], 10)
        mine = settings.memory / "runs" / "digits" / f"0001-{failed.uid[:8]}"
        mine.mkdir(parents=True)
        assert run_folder(journal, failed) == mine
        (settings.memory / "runs" / "other" / f"0007-{failed.uid[:8]}").mkdir(parents=True)
        assert run_folder(journal, failed) is None


def test_the_weights_stay_wherever_the_record_says_that_they_are(settings: Settings) -> None:
    with Journal.open(settings.memory) as journal:
        row = start(journal)
        folder = settings.memory / "runs" / "digits" / f"0001-{row.uid[:8]}"
        for name in ("checkpoints", "export"):
            (folder / name).mkdir(parents=True)
            (folder / name / "file").write_text("x")
        weights = str(folder / "checkpoints" / "file")
        journal.finish_run(
            row.uid, replace(make_small_record(row.uid, 1, folder), verdict="held", weights_file=weights)
        )
        for _ in range(2):
            finish(journal, verdict="held")
    send(settings)
    run(settings)
    assert (folder / "checkpoints" / "file").exists()
    assert not (folder / "export").exists()


def test_nothing_is_removed_while_a_champion_is_being_changed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    history(settings)

    def taken(*_: object) -> None:
        raise Busy("the champion is being changed", "try again")

    monkeypatch.setattr(prune_module, "promotion_lock", taken)
    with pytest.raises(Busy):
        run(settings)
    assert len(engines(settings)) == 7


def test_an_engine_whose_removal_is_cut_off_is_found_by_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = tmp_path / "engine-doubling-fp32"
    engine.mkdir()
    (engine / "model.bin").write_text("2")

    def cut_off(path: Path, *, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise KeyboardInterrupt(path)

    monkeypatch.setattr(prune_module.shutil, "rmtree", cut_off)
    with pytest.raises(KeyboardInterrupt):
        remove(engine)
    assert [path.name for path in tmp_path.iterdir()] == [".pruned-engine-doubling-fp32"]


def test_of_a_link_to_a_folder_only_the_link_goes(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    remove(tmp_path / "link")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert (tmp_path / "data" / "rows").exists()


@pytest.mark.parametrize("dry_run", [True, False])
def test_registered_engines_go_only_of_runs_whose_engine_goes_and_not_on_a_dry_run(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, dry_run: bool
) -> None:
    asked: list[tuple[str, bool]] = []

    class Registry(MemoryTracker):
        def __enter__(self) -> "Registry":
            return self

        def __exit__(self, *_: object) -> None:
            return None

        def prune_engine(self, _: str, uid: str, __: str, *, dry_run: bool) -> int:
            asked.append((uid, dry_run))
            return 50

    rows = history(settings)
    monkeypatch.setattr(Ports, "tracker", lambda _: Registry())
    found = run(settings, mlflow=True, dry_run=dry_run)
    assert {index for index, _ in found.registered} == {3, 4, 6}
    assert sorted(asked) == sorted((rows[index - 1].uid, dry_run) for index in (3, 4, 6))

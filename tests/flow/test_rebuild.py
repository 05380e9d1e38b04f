"""A journal that was lost is made anew from MLflow, the same but for what only the machine knew."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from plaster_ops.domain.compact import CompactKind, CompactRow, pack, to_document
from plaster_ops.domain.metrics import E2E_P50_MS
from plaster_ops.domain.run import RunRecord
from plaster_ops.errors import TrackingUnavailable, UsageError
from plaster_ops.flow.history import history_rows
from plaster_ops.flow.rebuild import Rebuilt, rebuild
from plaster_ops.settings import Settings
from plaster_ops.tracking.connection import Location, resolve_uri
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_rows import Promotion
from plaster_ops.tracking.journal_runs import PATHS
from plaster_ops.tracking.mlflow_store import MlflowTracker
from plaster_ops.tracking.moved import detect_move, repair_move
from plaster_ops.tracking.outbox import sync
from plaster_ops.tracking.plans import LEDGER
from plaster_ops.tracking.store_file import StoreFile
from plaster_ops.tracking.store_pages import StorePages
from plaster_ops.tracking.store_reader import record_from_tags
from tests.tracking.samples import make_small_record, start

ROW = CompactRow(kind=CompactKind.CURVE, label="curve", process=0, body=pack({"points": [1]}))
URI = "sqlite:///mlruns/mlflow.db"


def retrain(journal: Journal, pipeline: str, project: Path, *, verdict: str, kept: bool = True) -> RunRecord:
    """One retrain as the flow records it, its artifacts written; promoted where the verdict says so."""
    row = start(journal, pipeline)
    record = make_small_record(row.uid, row.index or 0, project / "mlruns" / "runs" / row.uid)
    record = replace(
        record, pipeline=pipeline, verdict=verdict, started_at=row.started_at, exit_code=10 * (verdict == "failed")
    )
    if kept:
        plain = record.to_json()
        plain |= {name: journal.file.relative(plain[name]) for name in PATHS}
        artifacts = Path(record.artifacts or "")
        (artifacts / "record.json").write_text(json.dumps(plain))
        (artifacts / "compact.json").write_text(json.dumps(to_document([ROW])))
    champion = journal.champion(pipeline)
    expected = None if champion is None else champion.uid
    wanted = Promotion(expected=expected, by="me", reason="better") if verdict in ("promoted", "baseline") else None
    if verdict == "failed":
        journal.fail_run(row.uid, verdict, record.reasons, 10, record)
    else:
        assert journal.finish_run(row.uid, record, wanted, evidence=[ROW])
    return record


def of(project: Path) -> tuple[Settings, Location]:
    settings = Settings(project=project, file=None, tracking_uri=URI, default="digits", pipelines={})
    return settings, resolve_uri(URI, project)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, template_store: Path) -> Path:
    """Two pipelines in turn, in the journal and in MLflow; the second run of `digits` has no `record.json`."""
    project = tmp_path_factory.mktemp("template") / "project"
    (project / "mlruns").mkdir(parents=True)
    shutil.copyfile(template_store, project / "mlruns" / "mlflow.db")
    settings, location = of(project)
    with Journal.open(settings.memory) as journal, MlflowTracker(location) as tracker:
        for pipeline, verdict, kept in (
            ("digits", "baseline", True),
            ("other", "held", True),
            ("digits", "promoted", False),
            ("digits", "failed", True),
            ("digits", "held", True),
        ):
            retrain(journal, pipeline, project, verdict=verdict, kept=kept)
        assert sync(journal, tracker).left == 0
    return project


@pytest.fixture
def settings(template: Path, tmp_path: Path) -> Settings:
    """A copy of it that lies elsewhere, its paths mended."""
    found, location = of(Path(shutil.copytree(template, tmp_path / "project")))
    with Journal.open(found.memory) as journal:
        moved = detect_move(journal, location.database or Path())
        assert moved is not None
        repair_move(moved, journal, location.database or Path())
        with journal.file.write() as db:
            db.execute("UPDATE runs SET tracking_uri = ? WHERE tracking_uri IS NOT NULL", (location.tracking_uri,))
    return found


@pytest.fixture
def location(settings: Settings) -> Location:
    return resolve_uri(URI, settings.project)


def lose(settings: Settings) -> None:
    for file in settings.memory.glob("plaster.db*"):
        file.unlink()


def again(settings: Settings, *, force: bool = False) -> Rebuilt:
    return rebuild(settings, force=force, tell=lambda _: None)


def told(settings: Settings) -> list[dict[str, Any]]:
    return history_rows(settings, None, 100)


def dump(settings: Settings) -> dict[str, Any]:
    """All that the journal says of its runs, but for what is known to differ without `record.json`."""
    with Journal.open(settings.memory) as journal:
        whole = [row for row in journal.history(None, 100) if row.index != 2]
        return {
            "points": [
                (p.index, p.uid, p.value, p.verdict, p.fingerprint, p.method)
                for p in journal.points("digits", E2E_P50_MS.key)
            ],
            "records": [journal.record(row.uid) for row in whole],
            "evidence": [journal.evidence(row.uid) for row in whole if row.state == "finished"],
            "rows": [(row.mlflow_run_id, row.model_version, row.experiment, row.tracking_uri) for row in whole],
            "ledger": [(line.pipeline, line.uid, line.previous) for line in journal.promotions("digits")],
            "aliases": journal.aliases("digits"),
            "pending": journal.pending(),
        }


def test_history_and_everything_behind_it_is_the_same_afterwards(settings: Settings) -> None:
    before, whole = told(settings), dump(settings)
    lose(settings)
    found = again(settings)
    assert (found.runs, found.from_metrics, found.promotions, found.unreadable) == (5, 1, 2, [])
    assert told(settings) == before
    assert dump(settings) == whole


def test_a_store_that_cannot_be_read_leaves_the_journal_as_it_was(settings: Settings) -> None:
    before = told(settings)
    (settings.memory / "mlflow.db").unlink()
    with pytest.raises(TrackingUnavailable, match="tracking store"):
        again(settings, force=True)
    assert told(settings) == before
    assert not list(settings.memory.glob("plaster.db.backup*"))


def test_the_next_retrain_has_the_next_number_and_sync_has_nothing_to_say(
    settings: Settings, location: Location
) -> None:
    lose(settings)
    again(settings)
    with Journal.open(settings.memory) as journal, MlflowTracker(location) as tracker:
        assert start(journal).index == 5
        assert journal.pointed("digits") == journal.aliases("digits")
        assert sync(journal, tracker).sent == ()


def test_a_journal_with_runs_is_kept_unless_forced_and_then_kept_beside(settings: Settings) -> None:
    before = told(settings)
    with pytest.raises(UsageError, match="has 5 runs"):
        again(settings)
    found = again(settings, force=True)
    assert found.backup is not None
    assert found.backup.is_file()
    assert told(settings) == before
    with pytest.raises(UsageError, match="has 5 runs"):
        again(settings)


def test_a_rebuild_that_was_cut_off_goes_on_where_it_was(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    before = told(settings)
    lose(settings)
    pages = StoreFile.pages

    def breaks(self: StoreFile) -> Iterator[Any]:
        for page in pages(self):
            yield page[:3]
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(StoreFile, "pages", breaks)
        with pytest.raises(KeyboardInterrupt):
            again(settings)
    found = again(settings)
    assert (found.known_before, found.runs) == (3, 2)
    assert told(settings) == before


def test_where_the_registry_points_elsewhere_it_has_the_last_word(settings: Settings, location: Location) -> None:
    with Journal.open(settings.memory) as journal, MlflowTracker(location) as tracker:
        first = journal.find_run("digits", "1").uid
        tracker.point("digits", {"champion": first})
    lose(settings)
    assert again(settings).promotions == 3
    with Journal.open(settings.memory) as journal:
        champion = journal.champion("digits")
        assert champion is not None
        assert champion.uid == first
        assert journal.promotions("digits")[-1].by == "rebuild"


def test_a_ledger_that_mlflow_keeps_is_taken_as_it_is(settings: Settings) -> None:
    with Journal.open(settings.memory) as journal:
        uids = [journal.find_run("digits", number).uid for number in ("1", "2")]
    lines = [
        {"at": "2026-11-01T00:00:00.000+00:00", "kind": "retrain", "uid": uids[0], "from": None, "by": "a"},
        {"at": "2026-11-02T00:00:00.000+00:00", "kind": "promote", "uid": uids[1], "from": {"uid": uids[0]}, "by": "b"},
    ]
    text = "".join(json.dumps(line | {"reason": "r", "forced": True}) + "\n" for line in lines) + "no line\n"
    (kept,) = (file for file in settings.memory.glob(f"artifacts/*/artifacts/{LEDGER}") if uids[0] in file.read_text())
    kept.write_text(text)
    lose(settings)
    again(settings)
    with Journal.open(settings.memory) as journal:
        ledger = journal.promotions("digits")
        assert [(line.uid, line.at, line.by, line.forced, line.kind) for line in ledger] == [
            (uids[0], lines[0]["at"], "a", True, "retrain"),
            (uids[1], lines[1]["at"], "b", True, "promote"),
        ]


def test_a_server_s_pages_tell_what_the_file_tells(settings: Settings, location: Location) -> None:
    with StoreFile(location.database or Path()) as file, StorePages(location) as pages:
        mine, theirs = ([run for page in reader.pages() for run in page] for reader in (file, pages))
        assert [run.run_id for run in mine] == [run.run_id for run in theirs]
        assert [(run.tags, run.params, run.start_ms) for run in mine] == [
            (run.tags, run.params, run.start_ms) for run in theirs
        ]
        assert [file.metrics(run) for run in mine] == [pages.metrics(run) for run in theirs]
        assert file.texts(mine, "record.json") == pages.texts(theirs, "record.json")
        assert (file.versions(), file.aliases()) == (pages.versions(), pages.aliases())
        assert file.ledgers() == pages.ledgers() == {"digits": "", "other": ""} or file.ledgers() == pages.ledgers()
        record = record_from_tags(mine[2], file.metrics(mine[2]))
    with Journal.open(settings.memory) as journal:
        kept = journal.record(mine[2].uid)
    assert kept is not None
    assert (record.seen, record.learned, record.reasons) == (kept.seen, kept.learned, kept.reasons)
    card = {row["key"]: row for row in record.card}
    assert [card[row["key"]]["ci95"] for row in kept.card] == [row["ci95"] for row in kept.card]


def test_two_runs_of_one_number_are_told_and_the_first_is_kept(settings: Settings, location: Location) -> None:
    lose(settings)
    with Journal.open(settings.memory) as journal, MlflowTracker(location) as tracker:
        retrain(journal, "digits", settings.project, verdict="held")  # number 1 again, without a rebuild before
        assert sync(journal, tracker).left == 0
    found = again(settings, force=True)
    assert found.runs == 5
    assert len(found.unreadable) == 1
    assert "#1 of digits" in found.unreadable[0]


def test_without_a_store_the_command_says_so(settings: Settings) -> None:
    lose(settings)
    (settings.memory / "mlflow.db").write_bytes(b"no database at all, but long enough to be looked at")
    with pytest.raises(TrackingUnavailable, match="cannot be read"):
        again(settings)

"""What a run is compared with, and that a file which is not what was written is never used."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from plaster_ops.domain.card import Card, Reading
from plaster_ops.domain.metrics import ENGINE_SCORE, Better
from plaster_ops.errors import ArtifactTampered, UsageError
from plaster_ops.flow.baseline import choose_baseline
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_rows import RunRow
from plaster_ops.tracking.liveness import this_host
from tests.flow.walk import make_engine
from tests.tracking.samples import finish, make_record, start


def finished(journal: Journal, score: float = 0.9, better: Better = Better.HIGHER, **more: Any) -> RunRow:
    """A finished run with an engine on disk and that headline score."""
    row = start(journal)
    folder = journal.folder / "runs" / row.uid / "engine"
    digest = make_engine(folder)["digest"]
    card = Card((Reading(metric=ENGINE_SCORE, value=score, better=better),))
    record = make_record(row.uid, row.index or 0, card=tuple(card.to_json()), engine_folder=str(folder), **more)
    journal.remember_engine(row.uid, digest, folder)
    assert journal.finish_run(row.uid, record)
    return journal.run(row.uid)


def promote(journal: Journal, row: RunRow) -> None:
    champion = journal.champion("digits")
    assert journal.promote("digits", row.uid, expected=champion.uid if champion else None, by="me", reason="test")


def index_of(journal: Journal, which: str) -> int | None:
    baseline = choose_baseline(journal, "digits", which)
    return baseline.record.index if baseline else None


@pytest.mark.parametrize("which", ["last", "champion", "best"])
def test_before_the_first_run_there_is_nothing_to_compare_with(journal: Journal, which: str) -> None:
    assert choose_baseline(journal, "digits", which) is None


def test_last_is_the_newest_finished_run_promoted_or_held(journal: Journal) -> None:
    first, _ = finished(journal), finished(journal)
    promote(journal, first)
    failed = start(journal)
    journal.fail_run(failed.uid, "failed", ["it broke"], 10)
    journal.record_skip("digits", "nothing new", 5, "cron", None)
    start(journal)
    assert index_of(journal, "last") == 2
    assert index_of(journal, "champion") == 1


def test_the_runs_of_another_pipeline_are_nobodys_baseline(journal: Journal) -> None:
    finish(journal, "power")
    assert index_of(journal, "last") is None


@pytest.mark.parametrize(("better", "index"), [(Better.HIGHER, 2), (Better.LOWER, 1)])
def test_best_goes_by_the_direction_that_the_pipeline_declares(journal: Journal, better: Better, index: int) -> None:
    for score in (0.90, 0.95, 0.92):
        finished(journal, score, better)
    assert index_of(journal, "best") == index


@pytest.mark.parametrize("which", ["1", "#1"])
def test_a_run_is_named_by_its_number(journal: Journal, which: str) -> None:
    finished(journal)
    finished(journal)
    assert index_of(journal, which) == 1


def test_a_run_is_named_by_its_uid(journal: Journal) -> None:
    row = finished(journal)
    finished(journal)
    assert index_of(journal, row.uid) == index_of(journal, row.uid[:8]) == 1


def test_a_run_that_is_not_there_lists_those_that_are(journal: Journal) -> None:
    finished(journal)
    with pytest.raises(UsageError, match="no run '7'") as caught:
        choose_baseline(journal, "digits", "7")
    assert "#1" in caught.value.next_step


def test_a_run_without_an_engine_cannot_be_a_baseline(journal: Journal) -> None:
    row = start(journal)
    journal.fail_run(row.uid, "failed", ["it broke"], 10)
    with pytest.raises(UsageError, match=r"run '1' of 'digits' ended without an engine \(failed\)") as caught:
        choose_baseline(journal, "digits", "1")
    assert caught.value.next_step == "name a finished one: plaster-ops history digits"


def test_a_run_that_can_go_on_is_resumed_before_anything_is_compared_with_it(journal: Journal) -> None:
    journal.interrupt_run(start(journal).uid, "stopped by SIGINT")
    start(journal, host=this_host())
    for which in ("1", "2"):
        with pytest.raises(UsageError, match=rf"run '{which}' of 'digits' is unfinished \(interrupted\)") as caught:
            choose_baseline(journal, "digits", which)
        assert caught.value.next_step == f"continue it with: plaster-ops retrain digits --resume {which}"


def test_a_run_that_still_works_is_waited_for(journal: Journal) -> None:
    start(journal, host=this_host(), pid=os.getpid())
    with pytest.raises(UsageError, match=r"is unfinished \(running\)") as caught:
        choose_baseline(journal, "digits", "1")
    assert caught.value.next_step == "wait until it has ended"


def test_an_engine_as_it_was_built_is_trusted(journal: Journal) -> None:
    row = finished(journal)
    baseline = choose_baseline(journal, "digits", "last")
    assert baseline is not None
    assert baseline.engine_folder == journal.folder / "runs" / row.uid / "engine"
    assert (baseline.label, baseline.card.value(ENGINE_SCORE)) == ("run1", 0.9)
    assert baseline.to_json("stored") == {"index": 1, "id": row.uid, "which": "last", "how": "stored"}


def engine_of(journal: Journal, row: RunRow) -> Path:
    return journal.folder / "runs" / row.uid / "engine"


def test_an_engine_that_is_gone_is_no_error_for_it_can_be_rebuilt(journal: Journal) -> None:
    row = finished(journal)
    engine_of(journal, row).rename(journal.folder / "elsewhere")
    baseline = choose_baseline(journal, "digits", "last")
    assert baseline is not None
    assert baseline.engine_folder is None


def test_a_changed_engine_file_is_refused_by_name(journal: Journal) -> None:
    file = engine_of(journal, finished(journal)) / "model.bin"
    file.write_bytes(b"\x02" * 1000)
    with pytest.raises(ArtifactTampered) as caught:
        choose_baseline(journal, "digits", "last")
    assert str(file) in caught.value.message
    assert "rebuilt" in caught.value.next_step


def test_a_manifest_that_was_changed_with_its_file_is_refused_by_the_journal(journal: Journal) -> None:
    folder = engine_of(journal, finished(journal))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["effective_precision"] = "int8"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactTampered, match="is not the recorded"):
        choose_baseline(journal, "digits", "last")


def test_a_project_that_was_moved_finds_its_engines_again(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "here" / "mlruns") as journal:
        row = finished(journal)
    (tmp_path / "here").rename(tmp_path / "there")
    with Journal.open(tmp_path / "there" / "mlruns") as journal:
        baseline = choose_baseline(journal, "digits", "last")
    assert baseline is not None
    assert baseline.engine_folder == tmp_path / "there" / "mlruns" / "runs" / row.uid / "engine"

"""What a rebuild makes of a store that is incomplete, double or damaged: read through the seam, without MLflow."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from plaster_ops.domain.run import RunRecord
from plaster_ops.flow import rebuild as rebuild_module
from plaster_ops.flow.compact_record import RECORD
from plaster_ops.flow.rebuild import Rebuilt, rebuild
from plaster_ops.settings import Settings
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.plans import UID
from plaster_ops.tracking.store_reader import FoundRun
from tests.flow.champions import make_project, write_engine
from tests.tracking.samples import make_record

A, B, C = "a" * 32, "b" * 32, "c" * 32


@dataclass
class Store:
    """Runs page by page, each with its artifacts; aliases and the text of the ledger of `digits`."""

    listed: Sequence[Sequence[FoundRun]]
    files: Mapping[tuple[str, str], str] = field(default_factory=dict)
    champion: str | None = None
    ledger: str = ""

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def pages(self) -> Iterator[Sequence[FoundRun]]:
        return iter(self.listed)

    def metrics(self, found: FoundRun) -> Mapping[str, float]:
        return found.metrics or {}

    def texts(self, found: Sequence[FoundRun], name: str) -> list[str | None]:
        return [self.files.get((each.uid, name)) for each in found]

    def versions(self) -> Mapping[str, int]:
        return {}

    def aliases(self) -> Mapping[str, Mapping[str, str]]:
        return {} if self.champion is None else {"digits": {"champion": self.champion}}

    def ledgers(self) -> Mapping[str, str]:
        return {"digits": self.ledger}


def found(uid: str, index: str = "1", verdict: str = "promoted") -> FoundRun:
    tags = {UID: uid, "plaster.pipeline": "digits", "plaster.index": index, "plaster.verdict": verdict}
    return FoundRun(
        run_id=f"r-{uid[:1]}", experiment="plaster/digits", start_ms=0, end_ms=1, artifact_uri="", tags=tags
    )


def line(uid: str, previous: str | None = None) -> str:
    fields = {"uid": uid, "at": "2026-11-01T00:00:00.000+00:00", "by": "kim", "reason": "r", "kind": "promote"}
    return json.dumps(fields | {"from": previous and {"uid": previous}, "forced": False}) + "\n"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_project(tmp_path / "project")


def again(settings: Settings, monkeypatch: pytest.MonkeyPatch, store: Store) -> Rebuilt:
    monkeypatch.setattr(rebuild_module, "_reader", lambda _: store)
    return rebuild(settings, force=False, tell=lambda _: None)


def champions_of(settings: Settings) -> list[tuple[str, str | None, str]]:
    with Journal.open(settings.memory) as journal:
        return [(row.uid, row.previous, row.by) for row in journal.promotions("digits")]


def test_a_run_that_is_listed_twice_is_restored_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that was written to between two pages lists a run again."""
    made = again(settings, monkeypatch, Store([[found(A)], [found(A), found(B, "2")]]))
    assert (made.runs, made.from_metrics, made.unreadable) == (2, 2, [])


def test_a_run_that_makes_no_sense_is_named_and_the_next_one_is_restored(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store([[found(A, "first"), found(B, "2")]], {(B, "compact.json"): "{"})
    made = again(settings, monkeypatch, store)
    assert made.runs == 1
    assert [told.partition(":")[0] for told in made.unreadable] == ["MLflow run r-a", "compact.json of MLflow run r-b"]


def test_a_ledger_line_of_a_run_that_mlflow_has_no_more_is_left_out(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store([[found(A), found(B, "2")]], champion=B, ledger=line(A) + line(C, A) + line(B, C))
    assert again(settings, monkeypatch, store).promotions == 2
    assert [uid for uid, _, _ in champions_of(settings)] == [A, B]


def test_an_alias_of_a_run_that_mlflow_has_no_more_makes_nobody_champion(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert again(settings, monkeypatch, Store([[found(A)]], champion=C, ledger=line(A))).promotions == 1
    assert champions_of(settings) == [(A, None, "kim")]


def test_without_a_ledger_the_verdicts_say_who_was_champion(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [found(A, "1", "baseline"), found(B, "2", "held"), found(C, "3")]
    again(settings, monkeypatch, Store([runs]))
    assert champions_of(settings) == [(A, None, "unknown"), (C, A, "unknown")]


@pytest.mark.parametrize(("champion", "is_told"), [(A, True), (B, False)])
def test_a_ledger_that_grew_by_the_alias_is_told_to_mlflow_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, champion: str, is_told: bool
) -> None:
    again(settings, monkeypatch, Store([[found(A), found(B, "2")]], champion=champion, ledger=line(A)))
    with Journal.open(settings.memory) as journal:
        newest = journal.newest_promotion("digits")
        assert journal.told_ledger("digits") == (newest if is_told else 0)
        assert journal.pointed("digits") == {"champion": champion}
        assert journal.promotions("digits")[-1].kind == "promote"
    assert champions_of(settings) == [(A, None, "kim"), *([] if is_told else [(B, A, "rebuild")])]


def test_an_engine_that_is_still_there_can_be_promoted_after_a_rebuild(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths in `record.json` are relative to the project, wherever the command was started."""
    place = settings.memory / "runs" / "digits" / "0001-aaaaaaaa"
    manifest = write_engine(place / "engine-doubling-fp32")
    record: RunRecord = replace(make_record(A), engine_folder="mlruns/runs/digits/0001-aaaaaaaa/engine-doubling-fp32")
    again(settings, monkeypatch, Store([[found(A)]], {(A, RECORD): json.dumps(record.to_json())}))
    with Journal.open(settings.memory) as journal:
        kept, known = journal.record(A), journal.engine_digest(A)
    assert kept is not None
    assert kept.engine_folder == str(place / "engine-doubling-fp32")
    assert known is not None
    assert known.manifest_digest == manifest.digest


def test_a_ledger_of_as_many_but_other_lines_is_told_to_mlflow_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line was of a run that is gone, and the alias brought another."""
    again(settings, monkeypatch, Store([[found(A), found(B, "2")]], champion=B, ledger=line(A) + line(C, A)))
    assert [uid for uid, _, _ in champions_of(settings)] == [A, B]
    with Journal.open(settings.memory) as journal:
        assert journal.told_ledger("digits") == 0

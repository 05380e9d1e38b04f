"""The stage that waits for data: what it tells, and that no pipeline keeps another from being looked at."""

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plaster_ops.errors import DataError, PipelineError
from plaster_ops.flow.stages import watch
from plaster_ops.flow.stages.watch import STUCK_S, Watch, Watched
from plaster_ops.tracking.journal import Journal
from tests.data.doubles import CountedSource
from tests.tracking.samples import finish, make_record, start

POLL_S = 10.0
MODULE = """
class Pipeline:
    score = None
    def model(self): ...
    def data(self, window): ...
    def sample_batch(self, n): ...
"""
SOURCE = """
class Source:
    def newest(self): return 7
    def count(self, after, upto): return upto - (after or 0)
Pipeline.source = Source()
"""


class Broken(CountedSource):
    """Fails while `trouble` holds a text."""

    trouble = "no such bucket"

    def newest(self) -> Any:
        if self.trouble:
            raise OSError(self.trouble)
        return super().newest()


class Silent(CountedSource):
    """Does not answer before it is let."""

    def __init__(self, arrived: int) -> None:
        super().__init__(arrived)
        self.may_answer = threading.Event()

    def newest(self) -> Any:
        self.may_answer.wait(60.0)
        return super().newest()


@pytest.fixture
def events() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """An import path and a list of modules that are as they were before afterwards."""
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path / "project"
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def watched(project: Path, name: str, source: Any = None, **given: Any) -> Watched:
    return Watched(name=name, project=project, reference=f"{name}:Pipeline", poll_s=POLL_S, lookout=source, **given)


def put(project: Path, name: str, text: str) -> None:
    project.mkdir(exist_ok=True)
    (project / f"{name}.py").write_text(text)


def watching(journal: Journal, events: list[dict[str, Any]], *each: Watched, patience_s: float = 60.0) -> Watch:
    return Watch(list(each), journal.folder, events.append, patience_s=patience_s)


def test_what_no_retrain_has_taken_is_told_once_and_again_when_it_changes(
    journal: Journal, project: Path, events: list[dict[str, Any]]
) -> None:
    source = CountedSource(40)
    there = watching(journal, events, watched(project, "digits", source))
    assert there.round(0.0) == POLL_S
    there.round(POLL_S)
    told = {"event": "new_data", "pipeline": "digits"}
    assert events == [{**told, "samples": 40, "newest": 40, "since": None}]
    finish(journal, seen=40)
    there.round(2 * POLL_S)
    source.arrived = 45
    there.round(2.5 * POLL_S)
    there.round(3 * POLL_S)
    assert events[1:] == [
        {**told, "samples": 0, "newest": 40, "since": 40},
        {**told, "samples": 5, "newest": 45, "since": 40},
    ]


def test_the_data_of_a_failed_retrain_counts_as_taken_only_where_it_was_read(journal: Journal) -> None:
    assert journal.taken("digits") is None
    finish(journal, seen="10@2026-11-01T00:00:00+00:00")
    early = start(journal)
    journal.fail_run(early.uid, "failed", ["no import"], 2)
    assert journal.taken("digits") == "10@2026-11-01T00:00:00+00:00"
    late = start(journal)
    journal.fail_run(late.uid, "failed", ["nan"], 10, make_record(late.uid, 3, data={"to": "25@2026-11-02"}, seen=None))
    assert journal.taken("digits") == "25@2026-11-02"
    assert journal.taken("other") is None
    finish(journal, seen="30@2026-11-03")
    assert journal.taken("digits") == "30@2026-11-03"


def test_a_source_that_fails_is_told_once_and_tried_less_often_while_the_others_go_on(
    journal: Journal, project: Path, events: list[dict[str, Any]]
) -> None:
    broken, good = Broken(7), CountedSource(3)
    each = [watched(project, "a", broken), watched(project, "b", good)]
    there = watching(journal, events, *each)
    now_s = 0.0
    waits = []
    for _ in range(7):
        there.round(now_s)
        waits.append(each[0].due_s - now_s)
        now_s = each[0].due_s
        good.arrived = (good.arrived or 0) + 1
    assert waits == [20.0, 40.0, 80.0, 160.0, 160.0, 160.0, 160.0]
    assert [e for e in events if e["pipeline"] == "a"] == [
        {"event": "unreadable", "pipeline": "a", "reason": "OSError: no such bucket"}
    ]
    assert [e["samples"] for e in events if e["pipeline"] == "b"] == list(range(3, 10))
    broken.trouble = ""
    there.round(now_s)
    assert events[-2] == {"event": "new_data", "pipeline": "a", "samples": 7, "newest": 7, "since": None}
    assert each[0].due_s - now_s == POLL_S


def test_a_source_that_does_not_answer_keeps_nobody_waiting_and_is_told_of(
    journal: Journal, project: Path, events: list[dict[str, Any]]
) -> None:
    silent = Silent(7)
    each = [watched(project, "a", silent), watched(project, "b", CountedSource(3))]
    there = watching(journal, events, *each, patience_s=0.05)
    there.round(0.0)
    assert [e["pipeline"] for e in events] == ["b"]
    at_work = each[0].at_work
    there.round(POLL_S)
    assert each[0].at_work is at_work
    there.round(STUCK_S)
    there.round(STUCK_S + POLL_S)
    reason = "its source has not answered for over 600 s"
    assert events[1:] == [{"event": "unreadable", "pipeline": "a", "reason": reason}]
    silent.may_answer.set()
    assert at_work is not None
    at_work.join(60.0)
    assert events[2:] == [{"event": "new_data", "pipeline": "a", "samples": 7, "newest": 7, "since": None}]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import nowhere_at_all\n" + MODULE, "does not import: ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("raise SystemExit('not today')", "SystemExit: not today"),
        ("def broken(:", "does not import: SyntaxError"),
        (MODULE, "has no source, so nobody knows when data arrives"),
    ],
)
def test_a_pipeline_that_does_not_load_is_told_and_looked_at_once_it_does(
    journal: Journal, project: Path, events: list[dict[str, Any]], text: str, told: str
) -> None:
    put(project, "mine_to_watch", text)
    each = [watched(project, "mine_to_watch"), watched(project, "b", CountedSource(3))]
    there = watching(journal, events, *each)
    there.round(0.0)
    assert told in events[0]["reason"]
    assert (events[0]["event"], events[1]["pipeline"]) == ("unreadable", "b")
    sys.modules.pop("mine_to_watch", None)  # what had loaded is noticed by ProjectCode
    put(project, "mine_to_watch", f"# mended, and of another length\n{MODULE}{SOURCE}")
    there.round(each[0].due_s)
    found = {"event": "new_data", "pipeline": "mine_to_watch", "samples": 7, "newest": 7, "since": None}
    assert events[2:] == [found]


def test_a_pipeline_that_needs_no_source_has_data_that_nobody_counts(
    journal: Journal, project: Path, events: list[dict[str, Any]]
) -> None:
    put(project, "without_one", MODULE)
    there = watching(journal, events, watched(project, "without_one", needs_source=False))
    there.round(0.0)
    there.round(POLL_S)
    uncounted = {"samples": None, "newest": None, "since": None}
    assert events == [{"event": "new_data", "pipeline": "without_one", **uncounted}]


def test_an_adapter_runs_once_before_the_pipelines_that_need_it(
    journal: Journal, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.adaptations", 0, raising=False)
    put(project, "adapter", "import builtins\nbuiltins.adaptations += 1\n")
    adapted = set[str]()
    for name in ("needs_it", "needs_it_too"):
        put(project, name, f"assert adaptations == 1\n{MODULE}{SOURCE}")
        there = watched(project, name, adapters=[str(project / "adapter.py")], adapted=adapted)
        assert there.look(journal)["samples"] == 7


def test_a_journal_that_cannot_be_opened_is_told_of_each_pipeline(
    tmp_path: Path, project: Path, events: list[dict[str, Any]]
) -> None:
    (tmp_path / "mlruns").write_text("no folder")
    there = Watch([watched(project, "a", CountedSource(1))], tmp_path / "mlruns", events.append)
    there.round(0.0)
    assert events[0]["event"] == "unreadable"
    assert "the journal" in events[0]["reason"]


def spec(journal: Journal, project: Path, **given: Any) -> dict[str, Any]:
    pipelines = {"p": {"reference": "once_looked_at:Pipeline", "adapters": [], "poll_s": POLL_S}}
    return {"project": str(project), "memory": str(journal.folder), "pipelines": pipelines, **given}


def test_one_look_gives_what_it_found_or_raises_what_prevents_it(journal: Journal, project: Path) -> None:
    put(project, "once_looked_at", MODULE)
    with pytest.raises(DataError, match="'p' has no source"):
        watch.run(spec(journal, project, once="p"), project, lambda _event: None)
    del sys.modules["once_looked_at"]
    put(project, "once_looked_at", "def broken(:")
    with pytest.raises(PipelineError, match="does not import"):
        watch.run(spec(journal, project, once="p"), project, lambda _event: None)
    put(project, "once_looked_at", f"{MODULE}{SOURCE} # now with one")
    found = watch.run(spec(journal, project, once="p"), project, lambda _event: None)
    assert found == {"event": "new_data", "pipeline": "p", "samples": 7, "newest": 7, "since": None}


def test_it_ends_where_code_that_it_has_loaded_was_changed(
    journal: Journal, project: Path, events: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(project, "once_looked_at", f"{MODULE}{SOURCE}")

    def edited(_seconds: float) -> None:
        put(project, "once_looked_at", "def broken(:")

    monkeypatch.setattr(watch.time, "sleep", edited)
    later_s = time.time() + 60
    monkeypatch.setattr(watch.time, "time", lambda: later_s)
    found = watch.run(spec(journal, project), project, events.append)
    assert found == {"changed": str(project / "once_looked_at.py")}
    assert [e["event"] for e in events] == ["new_data"]

"""The watcher as a service keeps it: real children, a real folder into which files land."""

import os
import queue
import signal
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from plaster_ops.domain.slots import Cause
from plaster_ops.errors import PipelineError
from plaster_ops.settings import Settings
from plaster_ops.settings_sections import PipelineSettings
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.slots import SlotLedger
from scheduler.triggers import Triggers
from scheduler.watcher import Watcher, data_due, wait_s, watch_spec
from tests.processes.test_gang import is_gone

WITHIN_S = 60.0
PIPELINE = """
from plaster_ops.data.folder import FolderSource

class Pipeline:
    score = None
    source = FolderSource("in", name="{name}", holdout=1, settle_s=0.0, schema={{"n": "int64"}})
    def model(self): ...
    def data(self, window): ...
    def sample_batch(self, n): ...
"""


def put(project: Path, name: str) -> Path:
    file = project / f"{name}.py"
    file.write_text(textwrap.dedent(PIPELINE.format(name=name)))
    return file


def land(project: Path, number: int) -> None:
    """A file of ten rows, whole."""
    draft = project / "in" / f".{number}"
    draft.write_text("n\n" + "".join(f"{10 * number + row}\n" for row in range(10)))
    draft.rename(project / "in" / f"{number:03d}.csv")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two pipelines that look at one folder; nothing has landed."""
    folder = tmp_path / "project"
    (folder / "in").mkdir(parents=True)
    for name in ("one", "two"):
        put(folder, name)
    return folder


def settings_of(project: Path, *names: str, **trigger: Any) -> Settings:
    plain = {"on_data": True, "poll_s": 1, "debounce_s": 2, "min_new_samples": 10, **trigger}
    pipelines = {name: PipelineSettings.model_validate({"ref": f"{name}:Pipeline", "trigger": plain}) for name in names}
    return Settings(project=project, file=None, tracking_uri="", default=None, pipelines=pipelines)


class Heard:
    """What the watcher told, in order; `until` waits for it."""

    def __init__(self) -> None:
        self.queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.all: list[Any] = []

    def until(self, is_it: Callable[[Any], bool]) -> Any:
        while True:
            event = self.queue.get(timeout=WITHIN_S)
            self.all.append(event)
            if is_it(event):
                return event


@contextmanager
def watching(settings: Settings) -> Iterator[tuple[Watcher, Heard]]:
    heard = Heard()
    watcher = Watcher(settings, heard.queue.put, backoff_s=0.01)
    watcher.start()
    try:
        yield watcher, heard
    finally:
        watcher.stop()


def is_of(name: str, **wanted: Any) -> Callable[[Any], bool]:
    return lambda event: event.get("pipeline") == name and wanted.items() <= event.items()


def has_state(state: str) -> Callable[[Any], bool]:
    return lambda event: event.get("state") == state


def test_twenty_files_that_land_one_by_one_are_one_ask(project: Path) -> None:
    """The clock of the trigger is ours: a second for each finding, so that the files come a second apart."""
    settings, now_s = settings_of(project, "one"), 1_795_000_000.0
    with Journal.open(settings.memory) as journal, watching(settings) as (_, heard):
        triggers, asks = Triggers(settings, SlotLedger(journal.file), journal), []
        for number in range(20):
            land(project, number)
            if number % 5 == 4:
                event = heard.until(is_of("one", samples=10 * (number + 1)))
                now_s += 1.0
                triggers.heard(event, now_s)
                asks += triggers.asks(now_s)
        assert asks == []
        wake_s = triggers.next_wake_s(now_s)
        assert wake_s == now_s + 2.0
        asks = triggers.asks(wake_s)
        assert [(ask.pipeline, ask.cause) for ask in asks] == [("one", Cause.DATA)]
        assert asks[0].reason == "200 new samples, min_new_samples is 10; none came for 2 s"
    assert not (settings.memory / "sources" / "one.db").exists()


def test_a_watcher_that_is_killed_is_started_again_and_one_that_is_stopped_is_gone(project: Path) -> None:
    land(project, 1)
    with watching(settings_of(project, "one")) as (_, heard):
        first = heard.until(has_state("started"))["pid"]
        heard.until(is_of("one", samples=10))
        os.kill(first, signal.SIGKILL)
        ended = heard.until(has_state("ended"))
        assert (ended["reason"], ended["again_s"]) == ("was killed by SIGKILL", 0.01)
        second = heard.until(has_state("started"))["pid"]
        heard.until(is_of("one", samples=10))
    assert first != second
    assert is_gone(first)
    assert is_gone(second)
    assert heard.queue.empty()


def test_a_pipeline_that_stops_importing_is_told_and_the_others_go_on(project: Path) -> None:
    land(project, 1)
    with watching(settings_of(project, "one", "two")) as (_, heard):
        heard.until(is_of("two", samples=10))
        (project / "one.py").write_text("def broken(:\n")
        ended = heard.until(has_state("ended"))
        assert ended["reason"] == f"begins anew, because {project / 'one.py'} has changed"
        assert "does not import: SyntaxError" in heard.until(is_of("one", event="unreadable"))["reason"]
        land(project, 2)
        heard.until(is_of("two", samples=20))
        put(project, "one")
        heard.until(is_of("one", samples=20))


def test_new_settings_begin_anew_only_where_other_looks_are_meant(project: Path) -> None:
    settings = settings_of(project, "one")
    with watching(settings) as (watcher, heard):
        first = heard.until(has_state("started"))["pid"]
        watcher.load(settings_of(project, "one", debounce_s=90, min_new_samples=7))
        assert not is_gone(first, within_s=0.0)
        watcher.load(settings_of(project, "one", "two"))
        assert is_gone(first)
        heard.until(is_of("two"))
        watcher.load(settings_of(project, "one", on_data=False))
    assert [e["state"] for e in heard.all if e["event"] == "watcher"] == ["started", "started"]


def test_without_a_pipeline_that_waits_for_data_there_is_no_child(project: Path) -> None:
    with watching(settings_of(project, "one", on_data=False)) as (watcher, heard):
        pass
    watcher.stop()
    assert heard.queue.empty()
    assert not (project / "mlruns").exists()


def test_a_child_that_keeps_ending_is_started_less_and_less_often() -> None:
    waits = [wait_s(ended, 1.0, 300.0) for ended in (1, 2, 3, 8, 9, 10, 2_000)]
    assert waits == [1.0, 2.0, 4.0, 128.0, 256.0, 300.0, 300.0]


def test_what_the_child_is_asked_follows_the_settings(project: Path) -> None:
    asked = {"reference": "one:Pipeline", "adapters": [], "poll_s": 7.0, "needs_source": True}
    assert watch_spec(settings_of(project, "one", poll_s=7))["pipelines"] == {"one": asked}
    for_drift = settings_of(project, "one", poll_s=7, on_data=False, on_drift=["inputs"])
    assert watch_spec(for_drift)["pipelines"] == {"one": {**asked, "needs_source": False}}


def test_one_look_says_whether_enough_is_there_and_leaves_nothing(project: Path) -> None:
    settings = settings_of(project, "one", min_new_samples=15)
    land(project, 1)
    assert data_due(settings, "one") is None
    land(project, 2)
    assert data_due(settings, "one") == "20 new samples, min_new_samples is 15"
    assert list((settings.memory / "work").iterdir()) == []
    (project / "one.py").write_text("def broken(:\n")
    with pytest.raises(PipelineError, match="does not import"):
        data_due(settings, "one")

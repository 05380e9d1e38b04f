"""A canary: the registered engine answers as it was recorded, in a process of its own, or nothing is promoted."""

import shutil
from pathlib import Path

import pytest
import torch

from plaster_ops.errors import ArtifactTampered, BuildFailed, ChildFailed, TimedOut, TrackingUnavailable
from plaster_ops.flow import canary
from plaster_ops.flow.canary import CANARY, Canary, try_engine
from plaster_ops.flow.promotion import Wish, promote
from plaster_ops.flow.stages import canary as stage
from plaster_ops.flow.stages.examiner import Loaded
from plaster_ops.flow.wiring import Ports, open_ports
from plaster_ops.processes.gang import Limits
from plaster_ops.settings import Settings
from tests.flow.champions import add_run, champions, ledger, make_project, write_engine

INPUTS = (torch.arange(24.0).reshape(8, 3),)


class Shelf:
    """A tracker that has one engine folder registered, or is away."""

    def __init__(self, folder: Path | None, error: TrackingUnavailable | None = None) -> None:
        self._folder, self._error = folder, error

    def __enter__(self) -> "Shelf":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def fetch_engine(self, _: str, __: str, place: Path) -> Path | None:
        if self._error is not None:
            raise self._error
        return None if self._folder is None else Path(shutil.copytree(self._folder, place / "copy"))


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    made = make_project(tmp_path / "project")
    monkeypatch.syspath_prepend(str(made.project))
    return made


def record_answers(engine: Path) -> Path:
    loaded = Loaded(engine)
    stage.keep_answers(loaded, [INPUTS], engine.parent / CANARY)
    return engine.parent / CANARY


def ask(engine: Path, answers: Path | None) -> dict[str, object]:
    spec = {"engine": str(engine), "answers": None if answers is None else str(answers)}
    return stage.run(spec, engine.parent, lambda _: None)


def test_an_engine_that_answers_as_recorded_agrees(settings: Settings) -> None:
    write_engine(settings.project / "run" / "engine")
    found = ask(settings.project / "run" / "engine", record_answers(settings.project / "run" / "engine"))
    assert (found["samples"], found["reason"]) == (8, "")


def test_an_engine_that_answers_otherwise_is_told_by_how_much(settings: Settings) -> None:
    write_engine(settings.project / "run" / "engine")
    kept = record_answers(settings.project / "run" / "engine")
    write_engine(settings.project / "other" / "engine", "2.5")
    found = ask(settings.project / "other" / "engine", kept)
    assert "output 'y' differs from its recorded answer by 2.50e-01" in str(found["reason"])


def test_without_recorded_answers_the_engine_is_only_loaded(settings: Settings) -> None:
    write_engine(settings.project / "run" / "engine")
    assert ask(settings.project / "run" / "engine", None) == {"samples": 0, "reason": "", "parity": None}


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child's work without a child."""

    def run_stage(_: str, spec: dict[str, object], *, folder: Path, **__: object) -> dict[str, object]:
        return stage.run(spec, folder, lambda _: None)

    monkeypatch.setattr(canary, "run_stage", run_stage)


def tried(settings: Settings, monkeypatch: pytest.MonkeyPatch, shelf: Shelf) -> Canary:
    (first,) = champions(settings, 1)
    monkeypatch.setattr(Ports, "tracker", lambda _: shelf)
    with open_ports(settings) as ports:
        record = ports.journal.record(first.uid)
        assert record is not None
        engine = Path(record.engine_folder or "")
        record_answers(engine)
        if shelf._folder is not None:
            for path in engine.iterdir():
                if not (shelf._folder / path.name).exists():
                    shutil.copy(path, shelf._folder)
        return try_engine(ports, "digits", settings.pipelines["digits"], record, engine, lambda _: None)


@pytest.mark.usefixtures("in_process")
def test_the_registered_copy_is_tried_and_what_lies_beside_it_is_no_part_of_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    (shelf / "weights.safetensors").write_bytes(b"weights")
    found = tried(settings, monkeypatch, Shelf(shelf))
    assert (found.source, found.samples) == ("registered", 8)
    assert "answered 8 recorded samples" in found.told


@pytest.mark.usefixtures("in_process")
def test_a_registered_file_that_was_changed_fails_the_canary(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    (shelf / "model.bin").write_text("3")
    with pytest.raises(ArtifactTampered, match="was changed"):
        tried(settings, monkeypatch, Shelf(shelf))


@pytest.mark.usefixtures("in_process")
def test_another_engine_under_that_name_fails_the_canary(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_engine(tmp_path / "shelf", "3")
    with pytest.raises(ArtifactTampered, match="registered manifest has digest"):
        tried(settings, monkeypatch, Shelf(tmp_path / "shelf"))


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("error", [None, TrackingUnavailable("nobody answers", "")])
def test_where_nothing_is_registered_the_runs_own_files_are_tried_and_that_is_said(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, error: TrackingUnavailable | None
) -> None:
    found = tried(settings, monkeypatch, Shelf(None, error))
    assert (found.source, found.why) == ("local", "nobody answers" if error else "MLflow does not have it yet")


def test_a_canary_that_fails_in_its_own_process_leaves_the_ledger_alone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one test with a real child: its code is found in the project folder, and its answers are another engine's."""
    (first,) = champions(settings, 1)
    held = add_run(settings, against=first)
    monkeypatch.setattr(Ports, "tracker", lambda _: Shelf(None))
    folder = next((settings.memory / "runs" / "digits").glob(f"0002-{held.uid[:8]}"))
    write_engine(settings.project / "other" / "engine", "2.5")
    shutil.copy(record_answers(settings.project / "other" / "engine"), folder / CANARY)
    with pytest.raises(BuildFailed, match="answers otherwise than recorded"):
        promote(settings, None, Wish(run="2"), tell=lambda _: None)
    assert len(ledger(settings)) == 1


@pytest.mark.parametrize(
    "error", [ChildFailed("canary", ending="no such operator", log_tail=""), TimedOut("after 3600 s")]
)
def test_an_engine_that_does_not_load_or_does_not_end_fails_the_canary(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, error: ChildFailed | TimedOut
) -> None:
    def run_stage(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(canary, "run_stage", run_stage)
    with pytest.raises(BuildFailed, match=f"the engine of #1 does not load: {error.message}"):
        tried(settings, monkeypatch, Shelf(None))


def test_no_process_is_started_with_a_registered_file_that_was_changed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run_stage(*_: object, **__: object) -> None:
        raise AssertionError("it must not be loaded")

    monkeypatch.setattr(canary, "run_stage", run_stage)
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / "model.bin").write_text("3")
    with pytest.raises(ArtifactTampered, match="was changed"):
        tried(settings, monkeypatch, Shelf(tmp_path / "shelf"))


@pytest.mark.parametrize("is_registered", [True, False])
def test_it_is_the_registered_copy_that_is_loaded_where_there_is_one(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, is_registered: bool
) -> None:
    loaded: list[Path] = []

    def run_stage(_: str, spec: dict[str, str], *, limits: Limits, **__: object) -> dict[str, object]:
        assert limits.timeout_s == settings.pipelines["digits"].engine.timeout_s
        loaded.append(Path(spec["engine"]))
        return {"samples": 8, "reason": ""}

    monkeypatch.setattr(canary, "run_stage", run_stage)
    (tmp_path / "shelf").mkdir()
    tried(settings, monkeypatch, Shelf(tmp_path / "shelf" if is_registered else None))
    assert loaded[0].is_relative_to(settings.memory / "work") is is_registered
    assert loaded[0].is_relative_to(settings.memory / "runs") is not is_registered

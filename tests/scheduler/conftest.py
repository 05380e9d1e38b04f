"""A project with pipelines that are never imported, and a planner on its ledger."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from plaster_ops.settings import Settings, load_settings
from plaster_ops.tracking.journal_file import JournalFile
from plaster_ops.tracking.slots import SlotLedger

MakeProject = Callable[..., Settings]


@pytest.fixture
def make_project(tmp_path: Path) -> MakeProject:
    """`make_project(scheduler, name=cadence)`: settings of a project with these pipelines."""

    def make(scheduler: str = "", **pipelines: str) -> Settings:
        folder = tmp_path / "project"
        folder.mkdir(exist_ok=True)
        sections = [f"[scheduler]\nlisten = ''\n{scheduler}"]
        sections += [f'[pipelines.{name}]\nref = "nowhere:pipeline"\n{text}' for name, text in pipelines.items()]
        (folder / "plaster.toml").write_text("\n".join(sections), encoding="utf-8")
        return load_settings(folder)

    return make


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SlotLedger]:
    """The ledger of that project."""
    file = JournalFile(tmp_path / "project" / "mlruns")
    yield SlotLedger(file)
    file.close()

"""Code that was changed since a process has loaded it is noticed; what is none of the project's is not looked at."""

import importlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from plaster_ops.flow.stages.project_code import ProjectCode

LATER_S = time.time() + 3_600.0


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    modules = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def load(folder: Path, name: str) -> Path:
    file = folder / f"{name}.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("VALUE = 1\n")
    os.utime(file, (1_795_000_000, 1_795_000_000))
    importlib.invalidate_caches()
    importlib.import_module(name)
    return file


def test_a_changed_and_a_removed_module_are_noticed(project: Path) -> None:
    code, file = ProjectCode(project, LATER_S), load(project, "one_that_changes")
    assert code.changed() is None
    os.utime(file, (1_795_000_001, 1_795_000_001))
    assert code.changed() == file
    code = ProjectCode(project, LATER_S)
    assert code.changed() is None
    file.unlink()
    assert code.changed() == file


def test_a_module_that_is_loaded_later_is_looked_at_too(project: Path) -> None:
    code = ProjectCode(project, LATER_S)
    assert code.changed() is None
    file = load(project, "one_that_comes_later")
    assert code.changed() is None
    os.utime(file, (1_795_000_001, 1_795_000_001))
    assert code.changed() == file


def test_a_file_that_was_written_after_the_process_began_may_have_been_loaded_before(project: Path) -> None:
    file = load(project, "one_that_was_just_written")
    assert ProjectCode(project, 1_794_999_999.0).changed() == file


def test_a_clock_that_is_behind_the_files_is_no_reason_to_begin_anew_for_ever(project: Path) -> None:
    file = load(project, "one_of_the_future")
    os.utime(file, (LATER_S, LATER_S))
    assert ProjectCode(project, 1_794_999_999.0).changed() is None


def test_installed_packages_and_files_elsewhere_are_not_looked_at(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, files = ProjectCode(project, LATER_S), []
    installed = project / ".venv" / "lib" / "site-packages"
    for folder, name in ((installed, "an_installed_one"), (tmp_path_factory.mktemp("elsewhere"), "one_elsewhere")):
        monkeypatch.syspath_prepend(str(folder))
        files.append(load(folder, name))
    assert code.changed() is None
    for file in files:
        file.unlink()
    assert code.changed() is None

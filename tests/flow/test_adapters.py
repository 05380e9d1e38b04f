"""Code of the user's own in every child: adapter files that run first, and backends that lie in the project."""

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from plaster_ops.domain.timeline import Timeline
from plaster_ops.engines.artifact import tensor_spec_to_json
from plaster_ops.engines.export import export_program, input_specs, load_program, save_program
from plaster_ops.engines.registry import find_backend
from plaster_ops.errors import BuildFailed, ExitCode, PipelineError, SettingsError
from plaster_ops.flow.context import Context
from plaster_ops.flow.loading import load_adapters
from plaster_ops.settings import Settings
from plaster_ops.settings_sections import PipelineSettings
from plaster_ops.tracking.journal import Journal
from tests.conftest import SteppedClock

OPERATOR = """
import torch

@torch.library.custom_op("plaster_adapter_test::twist", mutates_args=())
def twist(x: torch.Tensor) -> torch.Tensor:
    return x * 2 + 1

@twist.register_fake
def _(x):
    return torch.empty_like(x)
"""
BACKEND = """
from plaster_ops.engines.eager import EagerBackend

class MineBackend(EagerBackend):
    name = "mine"

HALF = "no backend"
"""


# ---- the files themselves ------------------------------------------------------------------------------------------
@pytest.fixture
def run_adapters() -> Iterator[Callable[..., None]]:
    """Runs them in this process, and forgets their modules afterwards."""
    modules = set(sys.modules)
    yield lambda *files: load_adapters(os.pathsep.join(str(file) for file in files))
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def refused(run_adapters: Callable[..., None], *files: Path) -> PipelineError:
    with pytest.raises(PipelineError) as caught:
        run_adapters(*files)
    return caught.value


def test_each_file_is_run_once_in_the_order_given(run_adapters: Callable[..., None], tmp_path: Path) -> None:
    log = tmp_path / "log"
    files = [
        write(tmp_path / name, f"with open({str(log)!r}, 'a') as log: log.write({name!r} + ' ')\n")
        for name in ("second.py", "first.py", "elsewhere/first.py")
    ]
    run_adapters(files[1], files[0], files[2])
    assert log.read_text() == "first.py second.py elsewhere/first.py "


def test_a_dataclass_in_an_adapter_finds_its_module(run_adapters: Callable[..., None], tmp_path: Path) -> None:
    text = "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass Row:\n    n: int\n"
    run_adapters(write(tmp_path / "rows.py", text))


def test_without_adapters_nothing_is_run(run_adapters: Callable[..., None]) -> None:
    modules = set(sys.modules)
    run_adapters()
    assert set(sys.modules) == modules


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\nraise RuntimeError('no converter')\n", "RuntimeError: no converter (mine.py:2)"),
        ("import no_such_package_at_all\n", "No module named 'no_such_package_at_all' (mine.py:1)"),
        ("def broken(:\n", "SyntaxError"),
    ],
)
def test_a_file_that_fails_is_named_with_its_reason_and_a_way_to_see_it(
    run_adapters: Callable[..., None], tmp_path: Path, text: str, words: str
) -> None:
    file = write(tmp_path / "mine.py", text)
    error = refused(run_adapters, file)
    assert f"adapter {file} of engine.adapters fails" in error.message
    assert words in error.message
    assert error.next_step == f"try: python {file}"


@pytest.mark.parametrize("name", ["nowhere.py", "nowhere", "nowhere.txt"])
def test_a_file_that_is_not_there_is_named(run_adapters: Callable[..., None], tmp_path: Path, name: str) -> None:
    error = refused(run_adapters, tmp_path / name)
    assert str(tmp_path / name) in error.message
    assert "no such Python file" in error.message


def test_after_a_file_that_fails_no_other_is_run(run_adapters: Callable[..., None], tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    later = write(tmp_path / "later.py", f"open({str(trace)!r}, 'w').close()\n")
    refused(run_adapters, write(tmp_path / "bad.py", "raise ValueError\n"), later)
    assert not trace.exists()


# ---- in the children -----------------------------------------------------------------------------------------------
class Twisted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.plaster_adapter_test.twist(x)


@dataclass(frozen=True)
class Project:
    """A project folder with its settings, and the stage `build` in a child of its own."""

    ctx: Callable[..., Context]
    folder: Path
    tmp_path: Path

    def build(self, *adapters: str, program: Path | None = None, backend: str = "eager") -> dict[str, Any]:
        """The manifest of an engine, built by a child."""
        spec = {
            "program": str(program or self.tmp_path / "no-program.pt2"),
            "spec": {
                "backend": backend,
                "precision": "fp32",
                "device": "cpu",
                "batch": [1, 2, 4],
                "threads": 1,
                "options": {},
                "inputs": [tensor_spec_to_json(spec) for spec in INPUTS],
            },
            "weights_digest": "w" * 64,
            "graph_digest": "g" * 64,
            "out": str(self.tmp_path / "engine"),
        }
        return self.ctx(adapters).child("build", spec, timeout_s=60.0)


EXAMPLE = torch.ones(3, 4)
INPUTS = input_specs([(EXAMPLE,)], None, ["x"])


@pytest.fixture
def project(journal: Journal, clock: SteppedClock, tmp_path: Path) -> Project:
    folder = tmp_path / "project"

    def context(adapters: tuple[str, ...]) -> Context:
        settings = Settings(project=folder, file=None, tracking_uri="sqlite:///x.db", default=None, pipelines={})
        return Context(
            settings=settings,
            name="mine",
            pipeline=PipelineSettings.model_validate({"ref": "m:p", "engine": {"adapters": adapters}}),
            journal=journal,
            clock=clock,
            timeline=Timeline(clock.monotonic_s, clock.monotonic_s()),
            tell=lambda _: None,
            folder=tmp_path / "run",
        )

    return Project(context, folder, tmp_path)


@pytest.fixture(scope="module")
def twisted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stored program that holds an operator which only the adapter brings."""
    file = tmp_path_factory.mktemp("twisted") / "program.pt2"
    with torch.library._scoped_library("plaster_adapter_test", "DEF") as library:
        library.define("twist(Tensor x) -> Tensor")
        library.impl("twist", lambda x: x * 2 + 1, "CompositeExplicitAutograd")
        library._register_fake("twist", torch.empty_like)
        program = export_program(Twisted(), EXAMPLE, INPUTS, 4)
        save_program(program, file)
    return file


def test_the_files_of_the_setting_are_found_from_the_project_folder(project: Project) -> None:
    files = project.ctx(("adapters/one.py", "/opt/two.py")).stage_env()["PLASTER_ADAPTERS"].split(os.pathsep)
    assert files == [str(project.folder / "adapters" / "one.py"), "/opt/two.py"]
    assert "PLASTER_ADAPTERS" not in project.ctx(()).stage_env()


def test_operators_and_a_backend_of_the_users_own_are_known_to_the_child_that_builds(
    project: Project, twisted: Path
) -> None:
    write(project.folder / "adapters" / "operator.py", OPERATOR)
    write(project.folder / "mine_backend.py", BACKEND)
    with pytest.raises(BuildFailed, match="twist"):
        load_program(twisted)
    manifest = project.build("adapters/operator.py", program=twisted, backend="mine_backend:MineBackend")
    assert manifest["spec"]["backend"] == "mine_backend:MineBackend"
    assert manifest["effective_precision"] == "fp32"
    assert (project.tmp_path / "engine" / "manifest.json").is_file()


@pytest.mark.parametrize(
    ("name", "words"), [("adapters/bad.py", "no module named 'no_such_package_at_all'"), ("none.py", "no such python")]
)
def test_an_adapter_that_fails_ends_the_child_with_a_usage_error(project: Project, name: str, words: str) -> None:
    write(project.folder / "adapters" / "bad.py", "import no_such_package_at_all\n")
    with pytest.raises(PipelineError) as caught:
        project.build(name)
    assert str(project.folder / name) in caught.value.message
    assert words in caught.value.message.lower()
    assert caught.value.exit_code == ExitCode.USAGE


# ---- backends that cannot be used ----------------------------------------------------------------------------------
@pytest.fixture
def reason_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., SettingsError]]:
    """What a child says of a backend in a module of the project with that text."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def look(reference: str, text: str = BACKEND) -> SettingsError:
        write(tmp_path / "unusable_backend.py", text)
        with pytest.raises(SettingsError) as caught:
            find_backend(reference)
        return caught.value

    yield look
    sys.modules.pop("unusable_backend", None)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("nowhere_to_be_found:Backend", "No module named 'nowhere_to_be_found'"),
        ("unusable_backend:Nothing", "has no attribute 'Nothing'"),
        ("unusable_backend:HALF", "lacks name, probe"),
    ],
)
def test_a_backend_that_cannot_be_used_is_a_clear_error(
    reason_for: Callable[..., SettingsError], reference: str, words: str
) -> None:
    error = reason_for(reference)
    assert repr(reference) in error.message
    assert words in error.message
    assert error.next_step


@pytest.mark.parametrize(
    "text",
    [
        "raise OSError('libmine.so: cannot be opened')\n",
        "class Backend:\n    def __init__(self):\n        raise OSError('libmine.so: cannot be opened')\n",
    ],
    ids=["as it is imported", "as it is made"],
)
def test_a_backend_whose_library_is_broken_is_a_clear_error(
    reason_for: Callable[..., SettingsError], text: str
) -> None:
    error = reason_for("unusable_backend:Backend", text)
    assert "'unusable_backend:Backend'" in error.message
    assert "libmine.so: cannot be opened" in error.message

"""A project folder with settings, and the command line run in this process."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from plaster_ops.cli import app

TOML = (
    'default = "digits"\n[pipelines.digits]\nref = "m.digits:pipeline"\n[pipelines.power]\nref = "m.power:pipeline"\n'
)


@dataclass(frozen=True)
class Ended:
    """How a command line ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Ended]


def plain(text: str) -> str:
    """Without the colours that a build server may ask for."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "plaster.toml").write_text(TOML, encoding="utf-8")
    return folder


@pytest.fixture
def command(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `plaster-ops <arguments>` in the project's folder."""
    monkeypatch.chdir(project)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments: str) -> Ended:
        capsys.readouterr()
        code = app.run(arguments)
        captured = capsys.readouterr()
        return Ended(code=code, out=captured.out, err=captured.err)

    return run

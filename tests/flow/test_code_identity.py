"""Which code ran: the project's own modules, and the commit where there is one."""

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from plaster_ops.flow import code_identity
from plaster_ops.flow.code_identity import code_digest, code_of, git_state, loaded_code


def load(monkeypatch: pytest.MonkeyPatch, name: str, file: Path) -> None:
    module = types.ModuleType(name)
    module.__file__ = str(file)
    monkeypatch.setitem(sys.modules, name, module)


def test_only_loaded_modules_of_the_project_itself_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "project"
    inside = project / "nets" / "small.py"
    installed = project / ".venv" / "lib" / "site-packages" / "other.py"
    for file in (inside, installed, project / "never.py", tmp_path / "outside.py", project / "plaster_ops" / "x.py"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x = 1\n")
    load(monkeypatch, "nets.small", inside)
    load(monkeypatch, "other", installed)
    load(monkeypatch, "outside", tmp_path / "outside.py")
    load(monkeypatch, "plaster_ops.x", project / "plaster_ops" / "x.py")
    assert list(loaded_code(project)) == ["nets/small.py"]


def test_the_digest_changes_with_the_code_and_not_with_who_loaded_it(tmp_path: Path) -> None:
    one, other = tmp_path / "one.py", tmp_path / "other.py"
    one.write_text("x = 1\n")
    other.write_text("y = 1\n")
    first, second = code_of([one], tmp_path), code_of([other], tmp_path)
    before = code_digest(first, second)
    assert len(before) == 64
    assert before == code_digest(second, first) == code_digest(first | second, second)
    one.write_text("x = 2\n")
    assert code_digest(code_of([one], tmp_path), second) != before
    assert code_digest() == code_digest({}, code_of([tmp_path / "gone.py"], tmp_path)) == ""


def git(folder: Path, *words: str) -> str:
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    done = subprocess.run(["git", *words], cwd=folder, env=os.environ | who, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_is_named_and_edits_make_it_dirty(tmp_path: Path) -> None:
    project = tmp_path / "repository" / "project"
    project.mkdir(parents=True)
    git(tmp_path / "repository", "init", "-q")
    assert git_state(project) == "", "no commit yet"
    (project / "m.py").write_text("x = 1\n")
    git(project, "add", ".")
    git(project, "commit", "-qm", "first")
    commit = git(project, "rev-parse", "HEAD")
    assert git_state(project) == commit
    (project / "m.py").write_text("x = 2\n")
    assert git_state(project) == f"{commit}-dirty"


def test_git_is_not_started_where_there_is_no_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: object, **__: object) -> None:
        raise AssertionError("git was started")

    monkeypatch.setattr(code_identity.subprocess, "run", start)
    assert git_state(tmp_path) == ""


def test_a_git_that_hangs_or_is_missing_leaves_the_commit_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".git").mkdir()
    refused = subprocess.CompletedProcess([], 128, stdout="fatal: unsafe repository")
    monkeypatch.setattr(code_identity.subprocess, "run", lambda *_, **__: refused)
    assert git_state(tmp_path) == ""
    for trouble in (subprocess.TimeoutExpired("git", 5), FileNotFoundError("git")):

        def fail(*_: object, trouble: Exception = trouble, **__: object) -> None:
            raise trouble

        monkeypatch.setattr(code_identity.subprocess, "run", fail)
        assert git_state(tmp_path) == ""

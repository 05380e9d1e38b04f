"""Which code a retrain ran: a digest of the project's own modules that its stages loaded, and their commit."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

CODE_DIGEST, GIT = "plaster.code_digest", "plaster.git"
"""Tags of a run; empty where nothing is known."""

_OURS = "plaster_ops"
_TIMEOUT_S = 5.0


def is_of_project(file: Path, project: Path) -> bool:
    """Whether a module's file is the project's own: inside it, and not of an environment that lies inside it."""
    return file.is_relative_to(project) and "site-packages" not in file.parts


def loaded_code(project: Path) -> dict[str, str]:
    """Path inside the project -> SHA-256 of every source file of its own that this process has loaded as a module.

    plaster_ops itself is left out, where it lies inside: its version is recorded.
    """
    project = project.resolve()
    found: dict[str, str] = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(file, str) and name.partition(".")[0] != _OURS and is_of_project(Path(file), project):
            found |= code_of([Path(file)], project)
    return dict(sorted(found.items()))


def code_of(files: Iterable[Path], project: Path) -> dict[str, str]:
    """The same of files that are named; one that cannot be read is left out."""
    found = {}
    for file in files:
        try:
            found[os.path.relpath(file, project)] = hashlib.sha256(file.read_bytes()).hexdigest()
        except OSError:
            continue
    return found


def code_digest(*found: Mapping[str, str]) -> str:
    """64 hex digits over what several stages have loaded, whichever of them did; empty for nothing at all."""
    files = {name: digest for part in found for name, digest in part.items()}
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest() if files else ""


def git_state(project: Path) -> str:
    """`<commit>` or `<commit>-dirty` of the work tree that the project lies in; empty where there is none to ask.

    Git is only started where a `.git` is found, and given five seconds.
    """
    project = project.resolve()
    if not any((folder / ".git").exists() for folder in (project, *project.parents)):
        return ""
    asked = ["git", "-C", str(project), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    quiet = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(asked, env=quiet, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""

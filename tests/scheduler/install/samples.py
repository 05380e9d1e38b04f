"""A project with cadences, and what stands on the machine that a test runs on."""

import shutil
from pathlib import Path

import pytest

from plaster_ops.settings import Settings, load_settings

NOW_S = 1_795_867_200.0
"""2026-11-28 12:00 UTC."""

NIGHTLY = """
[pipelines.churn]
ref = "m:p"
cadence = { cron = "0 2 * * *", timezone = "Europe/Paris" }
"""


def settings_of(folder: Path, text: str = NIGHTLY) -> Settings:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plaster.toml").write_text(text, encoding="utf-8")
    return load_settings(folder)


def tool(name: str) -> str:
    """The path of a program of this machine, or beside the interpreter; the test is skipped where it is not here."""
    import sys

    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name} here to check with")
    return found

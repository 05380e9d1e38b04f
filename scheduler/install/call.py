"""What a timer calls: one visit to the schedule of one pipeline, by absolute paths."""

import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from plaster_ops.domain.schedule import Cadence
from plaster_ops.errors import UsageError
from plaster_ops.settings import Settings

LOGS = "mlruns/scheduler/logs"
_UNSPEAKABLE = re.compile(r"[\x00-\x1f\x7f\\]")


def own_program() -> tuple[str, ...]:
    """How this program is started from anywhere: its script beside the interpreter, else the interpreter itself."""
    script = Path(sys.executable).with_name("plaster-ops")
    return (str(script),) if os.access(script, os.X_OK) else (sys.executable, "-m", "plaster_ops")


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """The project whose schedule is visited, as a path that is good where the timer runs, and the program there.

    Raises `UsageError` for a path with a backslash or a control character: crontabs have no way to quote them.
    """

    project: str
    program: tuple[str, ...] = field(default_factory=own_program)

    def __post_init__(self) -> None:
        for word in (self.project, *self.program):
            speakable(word)

    def once(self, name: str, *, quiet: bool) -> list[str]:
        """The words of the command."""
        words = ["schedule", "once", speakable(name), "--trigger", "cron", "--project", self.project]
        return [*self.program, *words, *(["--quiet"] if quiet else [])]


def speakable(word: str) -> str:
    """The word, if it can stand in a crontab and in a unit; `UsageError` else."""
    if _UNSPEAKABLE.search(word):
        raise UsageError(f"{word!r} cannot be written into a timer", "rename it without backslashes and line ends")
    return word


def cadences(settings: Settings) -> dict[str, Cadence]:
    """Every pipeline that is due by the clock."""
    found = {name: pipeline.cadence.cadence() for name, pipeline in settings.pipelines.items()}
    return {name: cadence for name, cadence in found.items() if cadence is not None}


def needs_service(settings: Settings) -> list[str]:
    """Pipelines that data or drift make due: only a service looks for those."""
    return [name for name, each in settings.pipelines.items() if each.trigger.on_data or each.trigger.on_drift]


def alert_variables(settings: Settings) -> list[str]:
    """Environment variables that hold the addresses of alerts: whatever wakes the schedule must have them."""
    return sorted({target.url_env for each in settings.pipelines.values() for target in each.alerts})


def cadence_text(cadence: Cadence) -> str:
    """A cadence in a few words, for a comment."""
    if cadence.cron is not None:
        return f"{cadence.line} {cadence.timezone}"
    return f"every {cadence.every_s:.0f} s"


def slug_of(name: str) -> str:
    """A name in small letters, digits and dashes, as units and DNS take it."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "x"


def slugs_of(names: Iterable[str], limit: int) -> dict[str, str]:
    """A slug for each name, no two alike, none longer than `limit`: with a part of the name's digest where needed."""
    plain = {name: slug_of(name) for name in names}
    taken = list(plain.values())
    return {
        name: slug if len(slug) <= limit and (taken.count(slug) == 1 or slug == name) else _marked(name, slug, limit)
        for name, slug in plain.items()
    }


def _marked(name: str, slug: str, limit: int) -> str:
    mark = blake2b(name.encode(), digest_size=3).hexdigest()
    return f"{slug[: limit - 7].rstrip('-')}-{mark}"


def log_file(name: str) -> str:
    """Where cron's line keeps what a visit says, from the project folder."""
    file = re.sub(r"[^\w.-]", "_", name).lstrip(".") or "_"
    return f"{LOGS}/{file}.cron.log"

"""Where timers stand: files of a folder, or the crontab. What is there, what shall be, and how it comes to be.

Nothing of others is touched: in a crontab what stands outside of our block, in a folder what does not begin with our
mark.
"""

import difflib
import os
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from plaster_ops.errors import PlasterError, UsageError


class Place(Protocol):
    """One text that can be read and replaced."""

    @property
    def title(self) -> str:
        """What people call it."""
        ...

    def read(self) -> str | None:
        """The text; None where there is none."""
        ...

    def write(self, text: str | None) -> None:
        """From now on it is this one; None: there is none."""
        ...


@dataclass(frozen=True, slots=True)
class TextFile:
    """A file, replaced as a whole. Raises `UsageError` where it cannot be read or written."""

    path: Path

    @property
    def title(self) -> str:
        return str(self.path)

    def read(self) -> str | None:
        try:
            return self.path.read_text(encoding="utf-8") if self.path.exists() else None
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{self.path} cannot be read: {error}", "check the file and its permissions") from None

    def write(self, text: str | None) -> None:
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            if text is None:
                self.path.unlink(missing_ok=True)
                return
            self.path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(text, encoding="utf-8")
            draft.chmod(self.path.stat().st_mode & 0o777 if self.path.exists() else 0o644)
            draft.replace(self.path)
        except OSError as error:
            with suppress(OSError):
                draft.unlink()
            raise UsageError(
                f"{self.path} cannot be written: {error.strerror}", "choose another folder, or ask for the right to it"
            ) from None


@dataclass(frozen=True, slots=True)
class UsersCrontab:
    """The crontab of the user who asks, by the program `crontab`. Raises `UsageError` where that does not work."""

    program: str = "crontab"

    @property
    def title(self) -> str:
        return "crontab"

    def read(self) -> str | None:
        done = self._run("-l")
        if done.returncode == 0:
            return done.stdout
        if "no crontab for" in done.stderr:
            return None
        raise UsageError(f"crontab -l: {done.stderr.strip()}", "ask who may use cron here, or write --output FILE")

    def write(self, text: str | None) -> None:
        done = self._run("-r") if text is None else self._run("-", text=text)
        if done.returncode != 0:
            raise UsageError(f"crontab refused the new lines: {done.stderr.strip()}", "nothing was changed")
        if (self.read() or "") != (text or ""):
            raise PlasterError("the crontab is not what was just written: somebody else changes it", "try again")

    def _run(self, *arguments: str, text: str | None = None) -> "subprocess.CompletedProcess[str]":
        try:
            return subprocess.run(
                [self.program, *arguments],
                input=text,
                stdin=subprocess.DEVNULL if text is None else None,
                capture_output=True,
                text=True,
                encoding="utf-8",
                env=os.environ | {"LC_ALL": "C"},
                check=False,
            )
        except FileNotFoundError:
            raise UsageError(
                "there is no program crontab here", "install cron, write --output FILE, or take --systemd"
            ) from None


@dataclass(frozen=True, kw_only=True, slots=True)
class Edit:
    """One text as it is and as it shall be; None where there is none."""

    place: Place
    before: str | None
    after: str | None

    def diff(self) -> str:
        """Both against each other, as a unified diff; empty where they are the same."""
        old, new = ((text or "").splitlines(keepends=True) for text in (self.before, self.after))
        title = self.place.title
        lines = difflib.unified_diff(old, new, f"{title} (as it is)", f"{title} (as it shall be)")
        return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)

    def tell(self) -> str:
        """In a few words what making it does."""
        if self.after is None:
            return f"removed {self.place.title}"
        return f"{'wrote' if self.before is None else 'changed'} {self.place.title}"


def edits_of_folder(folder: Path, mark: str, wanted: Mapping[str, str]) -> list[Edit]:
    """What makes the files of that folder that begin with the line `mark` be the wanted ones, and no others.

    Raises `UsageError` where a wanted name is taken by a file without the mark.
    """
    edits = []
    for name, text in sorted(wanted.items()):
        place = TextFile(folder / name)
        before = place.read()
        if before is not None and not before.startswith(f"{mark}\n"):
            raise UsageError(
                f"{place.title} is there already and is not of this project", "give --slug another name, or remove it"
            )
        if before != text:
            edits.append(Edit(place=place, before=before, after=text))
    for place in _marked(folder, mark):
        if place.path.name not in wanted:
            edits.append(Edit(place=place, before=place.read(), after=None))
    return edits


def _marked(folder: Path, mark: str) -> Iterable[TextFile]:
    for file in sorted(folder.glob("plaster-ops-*")):
        if file.suffix in (".service", ".timer", ".yaml") and file.is_file():
            place = TextFile(file)
            if (place.read() or "").startswith(f"{mark}\n"):
                yield place

"""A section more in the settings of a project: appended, never rewritten, and read back before it counts."""

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

from plaster_ops.errors import SettingsError
from plaster_ops.settings import Settings

_PREFIX = "tool.plaster-ops."


@dataclass(frozen=True, kw_only=True, slots=True)
class Addition:
    """Where a section goes: `before` is the file's text, None where there is none yet."""

    file: Path
    before: str | None
    prefix: str

    def write(self, section: str, name: str) -> str:
        """Puts the section there and says how. What stood there is byte for byte the beginning of the new file.

        Raises `SettingsError`, and changes nothing, where the file changed meanwhile or the two do not go together.
        """
        if self.before is None:
            head = f'# Settings of this project; plaster-ops\' docs/settings.md has every key.\ndefault = "{name}"\n\n'
            with self.file.open("x", encoding="utf-8") as out:
                out.write(head + section)
            return "made, with this pipeline as its default"
        text = self.before + ("" if self.before.endswith("\n") or not self.before else "\n") + "\n" + section
        self._require_addition(text, name)
        if self.file.read_text(encoding="utf-8") != self.before:
            raise SettingsError(f"{self.file.name} changed meanwhile", "run the command again")
        draft = self.file.with_name(f".{self.file.name}.{os.getpid()}.tmp")
        draft.write_text(text, encoding="utf-8")
        draft.chmod(self.file.stat().st_mode & 0o777)
        draft.replace(self.file)
        return f"section [{self.prefix}pipelines.{name}] added at its end"

    def _require_addition(self, text: str, name: str) -> None:
        """What the new text means is what the old one meant, and this pipeline."""
        try:
            old, new = tomllib.loads(self.before or ""), tomllib.loads(text)
            table = new
            for key in filter(None, self.prefix.rstrip(".").split(".")):
                table = table[key]
            del table["pipelines"][name]
            if not table["pipelines"]:
                table.pop("pipelines")
        except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
            raise SettingsError(
                f"a section cannot be added to {self.file.name}: {error}",
                f"add it by hand:\n{text[len(self.before or '') :]}",
            ) from None
        table_before = old
        for key in filter(None, self.prefix.rstrip(".").split(".")):
            table_before = table_before[key]
        if table_before.get("pipelines") == {}:
            table_before.pop("pipelines")
        if old != new:
            raise SettingsError(f"a section would change the meaning of {self.file.name}", "add it by hand")


def plan_addition(settings: Settings) -> Addition:
    """Where a section of this project goes: its settings file, or a new plaster.toml."""
    if settings.file is None:
        return Addition(file=settings.project / "plaster.toml", before=None, prefix="")
    prefix = "" if settings.file.name == "plaster.toml" else _PREFIX
    return Addition(file=settings.file, before=settings.file.read_text(encoding="utf-8"), prefix=prefix)

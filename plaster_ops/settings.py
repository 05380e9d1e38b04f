"""plaster.toml (or `[tool.plaster-ops]` in pyproject.toml), parsed once into frozen settings.

An unknown key is an error that names the nearest known one. Relative paths are relative to the settings file, never to
the working directory. Secrets never stand here, only the names of environment variables that hold them.
"""

import stat
import tomllib
from collections.abc import Container, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from plaster_ops.errors import SettingsError
from plaster_ops.settings_base import Section, nearest
from plaster_ops.settings_schedule import Alert, CadenceSettings, SchedulerSettings, TriggerSettings
from plaster_ops.settings_sections import (
    Budgets,
    DataSettings,
    EngineSettings,
    GateSettings,
    Measure,
    PipelineSettings,
    Retention,
    Train,
)

_SHARED = stat.S_ISVTX | stat.S_IWOTH
"""Anyone may write there, and nobody may remove what others wrote: a folder for temporary files."""


class _File(Section):
    default: str | None = None
    tracking_uri: str = "sqlite:///mlruns/mlflow.db"
    scheduler: SchedulerSettings = SchedulerSettings()
    retention: Retention = Retention()
    pipelines: Annotated[dict[str, PipelineSettings], BeforeValidator(lambda v: v or {})] = Field(default_factory=dict)


class Settings(BaseModel):
    """Everything a command needs to know of a project. `file` is None where the project has no settings file."""

    model_config = ConfigDict(frozen=True)

    project: Path
    file: Path | None
    tracking_uri: str
    default: str | None
    pipelines: dict[str, PipelineSettings]
    scheduler: SchedulerSettings = SchedulerSettings()
    retention: Retention = Retention()

    @property
    def memory(self) -> Path:
        """The folder `mlruns` of the project."""
        return self.project / "mlruns"

    def pipeline(self, name: str | None) -> tuple[str, PipelineSettings]:
        """`(name, settings)` of a pipeline by its name in the settings or by module:attribute; None: the default."""
        wanted = name or self.default or (next(iter(self.pipelines)) if len(self.pipelines) == 1 else None)
        if wanted is None:
            raise SettingsError(
                "no pipeline named and no default set",
                f"name one of: {', '.join(self.pipelines) or 'none is declared'}; or give module:attribute",
            )
        if wanted in self.pipelines:
            return wanted, self.pipelines[wanted]
        if ":" in wanted:
            known = next(((n, p) for n, p in self.pipelines.items() if p.ref == wanted), None)
            return known or (_name_of(wanted, self.pipelines), PipelineSettings(ref=wanted))
        known_names = ", ".join(self.pipelines) or "none"
        where = f" in {self.file.name}" if self.file else ""
        raise SettingsError(
            f"unknown pipeline {wanted!r}{where}{nearest(wanted, self.pipelines)}",
            f"known pipelines: {known_names}; a new one can be given as module:attribute",
        )


def load_settings(project: Path | None = None) -> Settings:
    """Reads the settings of `project`, or of the nearest folder upwards that has any; none anywhere: defaults here.

    A folder above that all users share (`/tmp`) ends the search: a file there is anyone's, and names what to import.
    """
    if project is not None and not project.is_dir():
        raise SettingsError(f"project folder {project} does not exist", "give --project an existing folder")
    found = _find_file((project or Path.cwd()).resolve(), upwards=project is None)
    if found is None:
        folder = (project or Path.cwd()).resolve()
        return Settings(project=folder, file=None, tracking_uri=_File().tracking_uri, default=None, pipelines={})
    return _settings_of(*found)


def read_settings(file: Path, text: str) -> Settings:
    """The settings of the project as they are with that text in its plaster.toml. Raises `SettingsError`."""
    return _settings_of(file, _parse_toml(file, text))


def _settings_of(file: Path, content: Mapping[str, Any]) -> Settings:
    try:
        parsed = _File.model_validate(content)
    except ValidationError as error:
        raise _explain(error, file) from None
    if parsed.default and parsed.default not in parsed.pipelines:
        raise SettingsError(
            f"{file.name}: default = {parsed.default!r} is not a pipeline{nearest(parsed.default, parsed.pipelines)}",
            f"known pipelines: {', '.join(parsed.pipelines) or 'none'}",
        )
    return Settings(
        project=file.parent,
        file=file,
        tracking_uri=parsed.tracking_uri,
        default=parsed.default,
        pipelines=parsed.pipelines,
        scheduler=parsed.scheduler,
        retention=parsed.retention,
    )


def _find_file(folder: Path, *, upwards: bool) -> tuple[Path, Mapping[str, Any]] | None:
    for candidate in (folder, *takewhile(_is_own, folder.parents)) if upwards else (folder,):
        file = candidate / "plaster.toml"
        if file.is_file():
            return file, _read_toml(file)
        pyproject = candidate / "pyproject.toml"
        if pyproject.is_file():
            table = _read_toml(pyproject).get("tool", {}).get("plaster-ops")
            if table is not None:
                return pyproject, table
    return None


def _is_own(folder: Path) -> bool:
    return folder.stat().st_mode & _SHARED != _SHARED


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: cannot be read: {error}", "check the file and its permissions") from None
    return _parse_toml(file, text)


def _parse_toml(file: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file}: not valid TOML: {error}", "mend that line") from None


def _explain(error: ValidationError, file: Path) -> SettingsError:
    lines = []
    for found in error.errors():
        if found["type"] == "extra_forbidden":
            hint = nearest(str(found["loc"][-1]), _keys_at(found["loc"][:-1]))
            lines.append(f"unknown key {_dotted(found)!r}{hint}")
        else:
            lines.append(_wrong_value(found))
    return SettingsError(f"{file.name}: " + "; ".join(lines), f"mend {file} and run the command again")


def explain_values(error: ValueError) -> str:
    """What pydantic found wrong, value by value, in one line."""
    return "; ".join(map(_wrong_value, error.errors())) if isinstance(error, ValidationError) else str(error)


def _wrong_value(found: Mapping[str, Any]) -> str:
    given = "..." if _dotted(found).endswith("url_env") else repr(found.get("input"))
    return f"{_dotted(found)} = {given}: {found['msg'].removeprefix('Value error, ')}"


def _dotted(found: Mapping[str, Any]) -> str:
    return ".".join(str(part) for part in found["loc"])


def _keys_at(path: tuple[int | str, ...]) -> list[str]:
    """Known keys of the section that `path` leads to, for the nearest-key hint."""
    model: type[BaseModel] | None = _File
    for part in path:
        model = {
            "pipelines": None,
            "scheduler": SchedulerSettings,
            "retention": Retention,
            "data": DataSettings,
            "train": Train,
            "trigger": TriggerSettings,
            "cadence": CadenceSettings,
            "budgets": Budgets,
            "alerts": Alert,
            "engine": EngineSettings,
            "measure": Measure,
            "gates": GateSettings,
        }.get(str(part), PipelineSettings if model is None else model)
    return list(model.model_fields) if model else []


def _name_of(reference: str, taken: Container[str]) -> str:
    """What a pipeline given by reference is called: after its module, in full where that name is a declared one's."""
    module, _, attribute = reference.partition(":")
    last = module.rpartition(".")[2]
    name = last if attribute == "pipeline" else f"{last}.{attribute}"
    return f"{module}.{attribute}" if name in taken else name

"""The documents name what the code has, and the code's files name no machine."""

import re
from pathlib import Path

import pytest
import typer

from plaster_ops.cli.app import app
from plaster_ops.domain.metrics import CATALOGUE, HEADLINES
from plaster_ops.errors import ExitCode
from plaster_ops.settings_sections import PipelineSettings
from scheduler.cli import app as schedule
from tests.architecture.sources import ROOT, name_of, texts

MACHINE = re.compile(r"(?<![\w.-])/(?:work|home|root|Users|tmp)/[A-Za-z0-9_.-]+")
HERE = re.compile(r"(?<![\w.-])/(?:work|root|tmp/v)/[A-Za-z0-9_.-]+")
"""In tests a made-up home or temporary folder is an example."""
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)


def read(name: str) -> str:
    file = ROOT / name
    if not file.is_file():
        pytest.skip(f"{name} is not written yet")
    return file.read_text(encoding="utf-8")


def prose() -> str:
    return "\n".join(
        [read("README.md"), *(file.read_text(encoding="utf-8") for file in sorted(ROOT.glob("docs/*.md")))]
    )


def commands() -> dict[str, set[str]]:
    """Every visible command with its visible long options; those of a group are the group's."""
    own = _options_of(app)
    return own | {"schedule": set().union(*_options_of(schedule).values())}


def _options_of(group: typer.Typer) -> dict[str, set[str]]:
    made = typer.main.get_command(group)
    assert hasattr(made, "commands")
    return {
        name: {
            option
            for parameter in command.params
            if not getattr(parameter, "hidden", False)
            for option in parameter.opts
            if option.startswith("--") and option != "--help"
        }
        for name, command in made.commands.items()
    }


def test_every_metric_is_documented() -> None:
    text = read("docs/metrics.md")
    assert [key for key in CATALOGUE if f"`{key}`" not in text] == []


def test_no_metric_is_documented_that_is_not_there() -> None:
    axes = "|".join(sorted({key.partition("/")[0] for key in CATALOGUE}))
    named = set(re.findall(rf"`((?:{axes})/[a-z0-9_]+)`", read("docs/metrics.md")))
    assert named - CATALOGUE.keys() == set()


def test_every_method_id_is_documented() -> None:
    text = read("docs/metrics.md")
    assert sorted({m.method for m in CATALOGUE.values() if f"`{m.method}`" not in text}) == []


def test_every_exit_code_has_a_row_in_the_readme() -> None:
    rows = {int(code) for code in re.findall(r"^\| (\d+) \|", read("README.md"), re.MULTILINE)}
    assert rows == {int(code) for code in ExitCode}


def test_every_command_is_in_the_readme() -> None:
    text = read("README.md")
    assert [name for name in commands() if f"`{name}" not in text and f"plaster-ops {name}" not in text] == []


def test_every_command_of_the_schedule_is_in_its_document() -> None:
    text = read("docs/scheduler.md")
    assert [name for name in _options_of(schedule) if f"schedule {name}" not in text] == []


def test_every_option_is_in_the_documents() -> None:
    text = prose()
    options = sorted({option for options in commands().values() for option in options})
    assert len(options) > 15
    assert [option for option in options if option not in text] == []


def test_no_command_or_option_is_documented_that_is_not_there() -> None:
    code = "\n".join(CODE.findall(prose()))
    lines = re.findall(r"plaster-ops ([a-z]+)\b([^`\n|]*)", code)
    assert len(lines) > 5
    known = commands()
    assert {name for name, _ in lines} - known.keys() == set()
    for name, rest in lines:
        assert set(re.findall(r"--[a-z-]+", rest)) - known[name] == set(), f"plaster-ops {name}{rest}"


def test_every_setting_is_in_the_documents() -> None:
    text = prose()
    names = {name for section in _sections(PipelineSettings) for name in section}
    assert sorted(name for name in names if name not in text) == []


def _sections(model: type[PipelineSettings]) -> list[list[str]]:
    fields = model.model_fields
    inner = [field.annotation for field in fields.values() if hasattr(field.annotation, "model_fields")]
    return [list(fields), *(list(section.model_fields) for section in inner if section is not None)]


def test_every_key_of_the_json_answer_is_documented() -> None:
    from plaster_ops.report.json_text import bare_payload

    text = read("docs/json.md")
    payload = bare_payload("p", verdict="skipped", exit_code=0, reasons=[], mlflow={}, trigger="manual")
    assert [key for key in payload if f"`{key}`" not in text] == []


def test_the_seven_headlines_are_in_the_readme() -> None:
    text = read("README.md")
    assert [m.key for m in HEADLINES if m.key.partition("/")[2] not in text] == []


def test_no_file_names_a_machine() -> None:
    """Paths of the machine a text was written on mean nothing to its reader."""
    files = [file for file in texts() if file != Path(__file__)]
    assert len(files) > 150
    found = {name_of(file): _machine_paths(file) for file in files}
    assert {name: paths for name, paths in found.items() if paths} == {}


def _machine_paths(file: Path) -> list[str]:
    pattern = HERE if name_of(file).startswith("tests/") else MACHINE
    return sorted(set(pattern.findall(_text(file))))


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")
